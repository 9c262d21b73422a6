//! The Tensor class: what Python holds of a node or of a leaf.

use crate::call_site::alone;
use crate::convert::{self, Dt};
use crate::custom::replayed;
use crate::error::{core, detached};
use crate::history::{self, History, late};
use fluxrs::evaluate::Handle;
use fluxrs::leaf::Leaf;
use fluxrs::{DType, Tensor};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyWeakrefReference};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// The thing that a Tensor object stands for.
pub enum Inner {
    /// A result.
    Node(Handle),
    /// A parameter or a piece of optimiser state: whatever its value is now.
    Leaf(Arc<Leaf>),
    /// A leaf's storage, as `p.data` shows it.
    Data(Arc<Leaf>),
    /// A leaf's accumulated gradient, as `p.grad` shows it.
    Grad(Arc<Leaf>),
}

/// An array of numbers, computed when its value is needed.
#[pyclass(frozen, subclass, weakref, name = "Tensor", module = "fluxrs")]
pub struct PyTensor {
    pub inner: Inner,
    /// For the garbage collector.
    history: Option<Py<History>>,
}

/// A tensor whose value changes: a parameter, or a view of its storage or gradient. Only these have in-place operators.
#[pyclass(frozen, extends = PyTensor, name = "Leaf", module = "fluxrs")]
pub struct PyLeaf;

/// A tensor as the operand of a call. The value of a leaf is held until the call has made of it what it makes: no update of another
/// thread overwrites it before, nor one of this thread, whose other operands may be made by Python.
pub enum Value<'a> {
    Borrowed(&'a Tensor),
    Owned(Tensor),
    Held(Handle),
}

impl Deref for Value<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Value::Borrowed(x) => x,
            Value::Owned(x) => x,
            Value::Held(handle) => handle.tensor(),
        }
    }
}

impl Value<'_> {
    /// The same value for an operand that is the same object: a parameter that a call names twice may not change in between.
    pub fn again(&self) -> Self {
        match self {
            Value::Borrowed(x) => Value::Borrowed(x),
            Value::Owned(x) => Value::Owned(x.clone()),
            Value::Held(x) => Value::Held(x.clone()),
        }
    }

    /// The tensor without the hold on it.
    pub fn into_owned(self) -> Tensor {
        match self {
            Value::Owned(x) => x,
            other => (*other).clone(),
        }
    }
}

/// Several operands of a call, held as one is.
pub struct Values {
    tensors: Vec<Tensor>,
    _held: Vec<Handle>,
}

impl Deref for Values {
    type Target = [Tensor];

    fn deref(&self) -> &[Tensor] {
        &self.tensors
    }
}

impl<'a> FromIterator<Value<'a>> for Values {
    fn from_iter<I: IntoIterator<Item = Value<'a>>>(values: I) -> Values {
        let mut out = Values { tensors: Vec::new(), _held: Vec::new() };
        for value in values {
            out.tensors.push((*value).clone());
            if let Value::Held(handle) = value {
                out._held.push(handle);
            }
        }
        out
    }
}

impl PyTensor {
    pub fn new(tensor: Tensor) -> PyTensor {
        // A bare number has no place among tensors: its weak type would spread.
        let tensor = if tensor.is_number() { tensor.cast(fluxrs::ops::apply::common_dtype(&[&tensor])) } else { tensor };
        let history = history::of(&tensor);
        PyTensor { inner: Inner::Node(Handle::new(tensor)), history }
    }

    /// The node of the present value. Updates that wait are committed first.
    pub fn value(&self, py: Python<'_>) -> PyResult<Value<'_>> {
        let leaf = match &self.inner {
            Inner::Node(handle) => return Ok(Value::Borrowed(handle.tensor())),
            Inner::Leaf(leaf) | Inner::Data(leaf) | Inner::Grad(leaf) => leaf,
        };
        if let Inner::Grad(_) = self.inner {
            let grad = leaf.grad().unwrap_or_else(|| zeros_of(&leaf.peek()));
            return Ok(Value::Held(Handle::new(grad)));
        }
        if let Some(value) = replayed(leaf) {
            return Ok(Value::Owned(if matches!(self.inner, Inner::Data(_)) { value.detached() } else { value }));
        }
        // Alone under the GIL, no lock is needed to get hold of the value.
        if let (Inner::Leaf(_), true) = (&self.inner, alone()) {
            // SAFETY: other threads evaluate only after they were counted, which takes the GIL.
            if let Some(now) = unsafe { leaf.held_alone() } {
                return Ok(Value::Held(now));
            }
        }
        let now = match leaf.try_held() {
            Some(now) => now,
            None => detached(py, || leaf.held())?,
        };
        Ok(if matches!(self.inner, Inner::Data(_)) && leaf.is_tracked() {
            Value::Owned(now.tensor().detached())
        } else {
            Value::Held(now)
        })
    }

    /// A node of the same shape and type, for questions that need no value.
    pub fn like(&self) -> Value<'_> {
        match &self.inner {
            Inner::Node(handle) => Value::Borrowed(handle.tensor()),
            Inner::Leaf(leaf) | Inner::Data(leaf) | Inner::Grad(leaf) => Value::Owned(leaf.peek()),
        }
    }

    pub fn leaf(&self) -> Option<&Arc<Leaf>> {
        match &self.inner {
            Inner::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    pub fn is_tracked(&self) -> bool {
        match &self.inner {
            Inner::Node(handle) => handle.tensor().is_tracked(),
            Inner::Leaf(leaf) => leaf.is_tracked(),
            Inner::Data(_) | Inner::Grad(_) => false,
        }
    }
}

impl PyTensor {
    /// True if the collector has to ask what it keeps.
    fn keeps_late(&self) -> bool {
        matches!(&self.inner, Inner::Node(handle) if handle.tensor().is_late())
    }

    /// The tensors that it keeps without a history of its own: an untracked value until it is computed, a parameter its gradient.
    pub fn kept_late(&self) -> Vec<Tensor> {
        match &self.inner {
            Inner::Node(handle) if handle.tensor().is_late() => vec![handle.tensor().clone()],
            Inner::Leaf(leaf) => leaf.kept_by_grad(),
            _ => vec![],
        }
    }
}

/// The objects of all leaves.
pub fn leaf_objects(py: Python<'_>) -> Vec<Bound<'_, PyAny>> {
    let objects = OBJECTS.lock().unwrap_or_else(|e| e.into_inner());
    let references: Vec<_> = objects.iter().flatten().map(|(_, r)| r.clone_ref(py)).collect();
    drop(objects);
    references.iter().filter_map(|r| r.bind(py).upgrade()).collect()
}

/// The node behind an object, if it is the result of an op.
pub fn result<'a>(x: &'a Bound<'_, PyAny>) -> Option<&'a Tensor> {
    match &x.cast::<PyTensor>().ok()?.get().inner {
        Inner::Node(handle) => Some(handle.tensor()),
        _ => None,
    }
}

/// Zeros of a tensor's shape, type and device.
pub fn zeros_of(x: &Tensor) -> Tensor {
    Tensor::filled(x, 0.0)
}

/// The Python object of a result. Without a gradient that Python defines in its history it refers to no Python object that could
/// refer back, so that the garbage collector need not look at it.
pub fn object_of(py: Python<'_>, tensor: PyTensor) -> PyResult<Bound<'_, PyAny>> {
    let has_history = tensor.history.is_some() || tensor.keeps_late();
    let object = Bound::new(py, tensor)?.into_any();
    if has_history {
        return Ok(object);
    }
    // SAFETY: an object of a class that the collector knows, made just now; untracking it twice, as its end does, is allowed.
    unsafe { pyo3::ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
    Ok(object)
}

/// The result of an op as a Tensor, or the exception it raises.
pub fn made(op: impl FnOnce() -> fluxrs::Result<Tensor>) -> PyResult<PyTensor> {
    core(|| op().and_then(crate::debug::inspect)).map(PyTensor::new)
}

/// The same of an op that may leave its operands to others.
pub fn made_or_none(op: impl FnOnce() -> fluxrs::Result<Option<Tensor>>) -> PyResult<Option<PyTensor>> {
    let made = core(|| op()?.map(crate::debug::inspect).transpose())?;
    Ok(made.map(PyTensor::new))
}

/// The objects of leaves that Python holds, by the leaf's number: a leaf has one object.
static OBJECTS: Mutex<Option<HashMap<u64, Py<PyWeakrefReference>>>> = Mutex::new(None);

fn object(py: Python<'_>, inner: Inner) -> PyResult<Py<PyTensor>> {
    let init = PyClassInitializer::from(PyTensor { inner, history: None }).add_subclass(PyLeaf);
    Ok(Bound::new(py, init)?.into_super().unbind())
}

/// The one object of a leaf.
pub fn leaf_object(py: Python<'_>, leaf: &Arc<Leaf>) -> PyResult<Py<PyTensor>> {
    let known = {
        let objects = OBJECTS.lock().unwrap_or_else(|e| e.into_inner());
        objects.as_ref().and_then(|map| map.get(&leaf.number()).map(|r| r.clone_ref(py)))
    };
    if let Some(found) = known.and_then(|r| r.bind(py).upgrade()) {
        return Ok(found.cast_into::<PyTensor>()?.unbind());
    }
    let object = object(py, Inner::Leaf(leaf.clone()))?;
    let reference = PyWeakrefReference::new(object.bind(py).as_any())?.unbind();
    let old = OBJECTS.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert_default().insert(leaf.number(), reference);
    drop(old);
    Ok(object)
}

pub fn data_object(py: Python<'_>, leaf: &Arc<Leaf>) -> PyResult<Py<PyTensor>> {
    object(py, Inner::Data(leaf.clone()))
}

pub fn grad_object(py: Python<'_>, leaf: &Arc<Leaf>) -> PyResult<Py<PyTensor>> {
    object(py, Inner::Grad(leaf.clone()))
}

impl Drop for PyTensor {
    fn drop(&mut self) {
        if let Inner::Leaf(leaf) = &self.inner {
            let mut objects = OBJECTS.lock().unwrap_or_else(|e| e.into_inner());
            let old = objects.as_mut().and_then(|map| map.remove(&leaf.number()));
            drop(objects);
            drop(old);
        }
    }
}

/// NumPy's dtype objects, in the order of `DType::ALL`.
pub fn numpy_dtype<'py>(py: Python<'py>, dtype: DType) -> PyResult<Bound<'py, PyAny>> {
    static ALL: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let all = ALL.get_or_try_init(py, || {
        let make = convert::numpy(py)?.getattr("dtype")?;
        DType::ALL.iter().map(|d| Ok(make.call1((d.name(),))?.unbind())).collect::<PyResult<_>>()
    })?;
    Ok(all[dtype as usize].bind(py).clone())
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    #[new]
    #[pyo3(signature = (x, dtype=None))]
    fn py_new(x: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<PyTensor> {
        crate::create::tensor(x, dtype)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.history)?;
        late::visit(self, &visit)
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.like().shape())
    }

    #[getter]
    fn ndim(&self) -> usize {
        self.like().ndim()
    }

    #[getter]
    fn size(&self) -> usize {
        self.like().size()
    }

    /// The element type, as NumPy's dtype.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        numpy_dtype(py, self.like().dtype())
    }

    /// Where the elements live: `cpu` or `gpu:0`.
    #[getter]
    fn device(&self) -> String {
        self.like().device().to_string()
    }

    /// The axes in reverse order.
    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<PyTensor> {
        let x = self.value(py)?;
        made(|| x.transpose(None))
    }

    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }
}
