//! Tensors as NumPy arrays, Python numbers and lists.

use crate::convert::Dt;
use crate::cut::warn_of_cut;
use crate::error::detached;
use crate::tensor::{Inner, PyTensor, leaf_object, numpy_dtype};
use fluxrs::buffer::{Buffer, HostBuffer};
use fluxrs::shape::{Map, show};
use fluxrs::{DType, Leaf, Tensor, evaluate, transfer};
use numpy::npyffi::{self, PY_ARRAY_API};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The constructor that pickle calls, and its arguments.
type Rebuilt<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyAny>));

/// Keeps the memory alive that a NumPy array shows.
#[pyclass(frozen, module = "fluxrs")]
struct Memory {
    _buffer: Arc<HostBuffer>,
}

/// The elements in host memory, computed if they are not yet.
pub fn host(py: Python<'_>, t: &Tensor) -> PyResult<(Arc<HostBuffer>, Map)> {
    detached(py, || match evaluate::read(t)? {
        (Buffer::Host(buffer), map) => Ok((buffer, map)),
        (Buffer::Device(_), _) => Ok((transfer::to_host(t)?, Map::contiguous(t.shape()))),
    })
}

/// A read-only NumPy array of the tensor's memory.
pub fn to_numpy<'py>(py: Python<'py>, t: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let (buffer, map) = host(py, t)?;
    let width = t.dtype().bytes();
    let mut dims: Vec<npyffi::npy_intp> = t.shape().iter().map(|&n| n as npyffi::npy_intp).collect();
    let mut strides: Vec<npyffi::npy_intp> = map.strides.iter().map(|&s| (s * width as i64) as npyffi::npy_intp).collect();
    let descr = numpy_dtype(py, t.dtype())?;
    let offset = if t.size() == 0 { 0 } else { map.offset as usize * width };
    let data = buffer.as_ptr().wrapping_add(offset);
    let owner = Bound::new(py, Memory { _buffer: buffer })?;
    // SAFETY: shape and strides stay within the buffer, which the array's base object keeps alive; without the
    // writeable flag NumPy refuses writes. Both calls steal the reference that `into_ptr` gives them.
    unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, npyffi::NpyTypes::PyArray_Type),
            descr.into_ptr().cast(),
            dims.len() as _,
            dims.as_mut_ptr(),
            strides.as_mut_ptr(),
            data.cast(),
            0,
            std::ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        if PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.into_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(array)
    }
}

/// The only element of a tensor.
#[derive(Clone, Copy)]
pub enum Item {
    Bool(bool),
    Int(i64),
    Float(f64),
}

pub fn item(py: Python<'_>, t: &Tensor, what: &str) -> PyResult<Item> {
    if t.size() != 1 {
        return Err(PyTypeError::new_err(format!(
            "{what}: only a tensor of one element is a number, this one has shape {}",
            show(t.shape())
        )));
    }
    let (buffer, map) = host(py, t)?;
    let at = map.offset as usize;
    Ok(match t.dtype() {
        DType::Bool => Item::Bool(buffer.as_slice::<u8>()[at] != 0),
        DType::I32 => Item::Int(buffer.as_slice::<i32>()[at] as i64),
        DType::I64 => Item::Int(buffer.as_slice::<i64>()[at]),
        DType::F32 => Item::Float(buffer.as_slice::<f32>()[at] as f64),
        DType::F64 => Item::Float(buffer.as_slice::<f64>()[at]),
    })
}

impl Item {
    pub fn as_f64(self) -> f64 {
        match self {
            Item::Bool(b) => b as u8 as f64,
            Item::Int(i) => i as f64,
            Item::Float(x) => x,
        }
    }

    pub fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Item::Bool(b) => b.into_bound_py_any(py),
            Item::Int(i) => i.into_bound_py_any(py),
            Item::Float(x) => x.into_bound_py_any(py),
        }
    }
}

impl PyTensor {
    fn number(&self, py: Python<'_>, what: &str) -> PyResult<Item> {
        warn_of_cut(py, self.is_tracked())?;
        item(py, &*self.value(py)?, what)
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// A read-only NumPy array of the value, without a copy; `np.array(t)` copies.
    pub fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        warn_of_cut(py, self.is_tracked())?;
        to_numpy(py, &*self.value(py)?)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = self.numpy(py)?;
        let options = PyDict::new(py);
        if let Some(dtype) = dtype {
            options.set_item("copy", copy.unwrap_or(false))?;
            return array.call_method("astype", (dtype,), Some(&options));
        }
        if copy == Some(true) { array.call_method0("copy") } else { Ok(array) }
    }

    /// The only element as a Python number.
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.number(py, "item")?.object(py)
    }

    /// The elements as a nest of lists; a number for a 0-d tensor.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        warn_of_cut(py, self.is_tracked())?;
        to_numpy(py, &*self.value(py)?)?.call_method0("tolist")
    }

    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.number(py, "float")?.as_f64())
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let x = self.number(py, "int")?.object(py)?;
        py.get_type::<pyo3::types::PyInt>().call1((x,))
    }

    #[pyo3(signature = (digits=None))]
    fn __round__<'py>(&self, py: Python<'py>, digits: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        self.number(py, "round")?.object(py)?.call_method1("__round__", (digits,))
    }

    fn __index__(&self, py: Python<'_>) -> PyResult<i64> {
        let x = self.value(py)?;
        if !x.dtype().is_int() || x.ndim() != 0 {
            let text = format!(
                "only a 0-d integer tensor is an index or an axis, this one is {} of shape {}; several tensors are one list, as in concatenate([a, b])",
                x.dtype(),
                show(x.shape())
            );
            return Err(PyTypeError::new_err(text));
        }
        item(py, &x, "index")?.object(py)?.extract()
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        let x = self.value(py)?;
        if x.size() != 1 {
            return Err(PyValueError::new_err(format!(
                "the truth value of a tensor of shape {} is ambiguous; use t.any() or t.all(), and Params([…]) rather than a list to look tensors up in",
                show(x.shape())
            )));
        }
        Ok(item(py, &x, "bool")?.as_f64() != 0.0)
    }

    /// For `f"{loss:.2f}"`.
    fn __format__<'py>(slf: &Bound<'py, Self>, spec: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if spec.is_empty() {
            return Ok(slf.str()?.into_any());
        }
        let x = slf.get().value(py)?;
        if x.size() != 1 {
            return Err(PyTypeError::new_err(format!(
                "format: {spec:?} formats a number, this tensor has shape {}",
                show(x.shape())
            )));
        }
        item(py, &x, "format")?.object(py)?.call_method1("__format__", (spec,))
    }

    /// The elements in another type.
    fn astype(&self, py: Python<'_>, dtype: Dt) -> PyResult<PyTensor> {
        let x = self.value(py)?;
        Ok(PyTensor::new(x.cast(dtype.0)))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Py<PyTensor>> {
        match &self.inner {
            Inner::Leaf(leaf) => {
                let value = self.value(py)?;
                let copy = detached(py, || Leaf::of(&value.detached(), leaf.is_tracked()))?;
                leaf_object(py, &copy)
            }
            _ => Py::new(py, PyTensor::new(self.value(py)?.detached())),
        }
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
        self.__copy__(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Rebuilt<'py>> {
        let kind = match &self.inner {
            Inner::Leaf(leaf) if leaf.is_tracked() => "param",
            Inner::Leaf(_) => "state",
            _ => "tensor",
        };
        let rebuild = py.import("fluxrs._core")?.getattr("_rebuild")?;
        let array = to_numpy(py, &*self.value(py)?)?.call_method0("copy")?;
        Ok((rebuild, (kind, array)))
    }
}

/// The constructor for unpickling and copying.
#[pyfunction(crate = "crate::keywords")]
fn _rebuild<'py>(py: Python<'py>, kind: &str, array: &Bound<'py, PyAny>) -> PyResult<Py<PyTensor>> {
    match kind {
        "param" => crate::leaf::param(py, array),
        "state" => crate::leaf::state(py, array),
        _ => Py::new(py, crate::create::tensor(array, None)?),
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_rebuild, m)?)?;
    Ok(())
}
