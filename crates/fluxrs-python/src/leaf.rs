//! Parameters and state: made by `param`, changed by `update` and through `.data`.

use crate::arrays::refuse_mask;
use crate::call_site::without_gil;
use crate::convert::{beside, strong};
use crate::custom::{note, rewrite};
use crate::error::{core, detached, unheard};
use crate::tensor::{Inner, PyTensor, Value, data_object, grad_object, leaf_object};
use fluxrs::evaluate::rollback;
use fluxrs::leaf::{self, Leaf};
use fluxrs::transfer::to_device;
use fluxrs::{Elementwise, Tensor, no_grad};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// `param(x)`: a parameter, with its own copy of `x`; what `gradient` and `back` differentiate by.
///
/// Numbers, lists and integers become float32. Of a tracked tensor it is a tracked identity.
#[pyfunction(crate = "crate::keywords")]
pub fn param(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    let value = strong(x)?;
    if value.is_tracked() {
        return Py::new(py, PyTensor::new(Tensor::tracked_identity(&value)));
    }
    let floats = value.cast(value.dtype().to_float());
    let leaf = detached(py, || Leaf::of(&floats, true))?;
    leaf_object(py, &leaf)
}

/// `state(x)`: an untracked leaf for an optimiser's state: zeros like a parameter, or a copy of an array.
#[pyfunction(crate = "crate::keywords")]
pub fn state(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    let parameter = x.cast::<PyTensor>().is_ok_and(|t| t.get().leaf().is_some_and(|l| l.is_tracked()));
    let value = strong(x)?;
    let value = if parameter { Value::Owned(crate::tensor::zeros_of(&value)) } else { value };
    let leaf = detached(py, || Leaf::of(&value.detached(), false))?;
    leaf_object(py, &leaf)
}

/// `update(p, Δ)`: p += Δ, and p's gradient is zeroed; returns `p`.
///
/// `Δ` has the shape of `p`, or is a number. A NumPy array `p` is changed in place.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (p, Δ=None, **twin))]
#[allow(non_snake_case)]
pub fn update<'py>(
    p: Bound<'py, PyAny>,
    Δ: Option<Bound<'py, PyAny>>,
    twin: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = p.py();
    let Some(delta) = &sensitivity_of("update", Δ, twin)? else {
        return Err(PyTypeError::new_err("update(p, Δ) needs Δ, what is added to p"));
    };
    let Ok(tensor) = p.cast::<PyTensor>() else {
        if p.is_instance_of::<PyUntypedArray>() {
            update_array(&p, delta)?;
            return Ok(p);
        }
        let kind = p.get_type().name()?;
        return Err(PyTypeError::new_err(format!("update takes a parameter made by param, or a NumPy array, got a {kind}")));
    };
    let Some(leaf) = tensor.get().leaf() else {
        return Err(PyTypeError::new_err(
            "update takes a parameter made by param, got the result of an op or an untracked tensor",
        ));
    };
    let delta = beside("update", &leaf.peek(), delta)?;
    note(py, leaf)?;
    let again = || {
        let now = tensor.get().value(py)?;
        core(|| no_grad(|| Ok(Elementwise::add.apply(&[&now, &delta])?.cast(now.dtype()))))
    };
    if rewrite(leaf, again)? {
        return Ok(p);
    }
    // An update that waits for this leaf, perhaps of another thread, is committed first: that runs a plan.
    if !core(|| leaf::try_update(leaf, &delta))? {
        detached(py, || leaf::update(leaf, &delta))?;
    }
    Ok(p)
}

/// Queues p += Δ for each parameter and a value for each piece of state, together: a step happens as a whole or not at all.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (params, deltas, state, values))]
pub fn change(
    py: Python<'_>,
    params: Vec<Bound<'_, PyTensor>>,
    deltas: Vec<Bound<'_, PyAny>>,
    state: Vec<Bound<'_, PyTensor>>,
    values: Vec<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let pair = |p: &Bound<'_, PyTensor>, x: &Bound<'_, PyAny>, op: &str| {
        let leaf = p.get().leaf().cloned().ok_or_else(|| PyTypeError::new_err("a step changes parameters and state"))?;
        let x = beside(op, &leaf.peek(), x)?.into_owned();
        Ok((leaf, x))
    };
    let added = params.iter().zip(&deltas).map(|(p, delta)| pair(p, delta, "update")).collect::<PyResult<Vec<_>>>()?;
    let given = state.iter().zip(&values).map(|(s, value)| {
        let (leaf, value) = pair(s, value, "data")?;
        let value = fit(py, &leaf.peek(), &value, "data")?;
        Ok((leaf, value))
    });
    let given = given.collect::<PyResult<Vec<_>>>()?;
    detached(py, || leaf::change(&added, &given))
}

/// Δ, by its own name or by its twin, `delta`.
pub fn sensitivity_of<'py>(
    op: &str,
    given: Option<Bound<'py, PyAny>>,
    twin: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(twin) = twin else { return Ok(given) };
    for key in twin.keys() {
        let key: String = key.extract()?;
        if key != "delta" {
            return Err(PyTypeError::new_err(format!("{op} has no keyword '{key}'; it has Δ, or delta")));
        }
    }
    match given {
        Some(_) => Err(PyTypeError::new_err(format!("{op}: Δ and delta are one keyword; give one of them"))),
        None => twin.get_item("delta"),
    }
}

fn update_array(p: &Bound<'_, PyAny>, delta: &Bound<'_, PyAny>) -> PyResult<()> {
    refuse_mask(delta)?;
    let array = crate::convert::numpy(p.py())?.call_method1("asarray", (delta,))?;
    let (want, got) = (p.getattr("shape")?, array.getattr("shape")?);
    if array.getattr("ndim")?.extract::<usize>()? > 0 && !want.eq(&got)? {
        return Err(crate::error::DimensionMismatch::new_err(format!(
            "update: an array of shape {want} cannot take a Δ of shape {got}"
        )));
    }
    let sum = p.call_method1("__add__", (array,))?;
    p.set_item(p.py().Ellipsis(), sum)
}

/// Commits all updates that wait on this thread; then counts the step in `opt.t`, before a signal can come between.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (opt=None))]
pub fn commit(py: Python<'_>, opt: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    if let Some(opt) = opt {
        // A counter that is none is refused before anything has happened.
        count(opt)?;
    }
    rollback::take_last();
    if leaf::has_queued() {
        core(|| without_gil(py, leaf::flush))?;
    }
    let Some(opt) = opt else { return unheard() };
    // Read again: another thread may have taken the report of an earlier step's failure by now.
    set_count(opt, count(opt)? + 1)?;
    if let Some(undone) = rollback::take_last() {
        let opt = PyWeakrefReference::new(opt)?.unbind();
        let mut steps = steps_under_way();
        // A mark without another reference is of a step that is done.
        steps.retain(|step| step.undone.load(Ordering::Acquire) || Arc::strong_count(&step.undone) > 1);
        steps.push(Step { opt, undone });
    }
    unheard()
}

fn count(opt: &Bound<'_, PyAny>) -> PyResult<u64> {
    opt.getattr(intern!(opt.py(), "t"))?.extract()
}

/// Past `__setattr__`, which is Python, and checks what users set.
fn set_count(opt: &Bound<'_, PyAny>, t: u64) -> PyResult<()> {
    let (name, t) = (intern!(opt.py(), "t"), t.into_pyobject(opt.py())?);
    // SAFETY: three objects that are held here. `__dict__` would do, but make every later look at an attribute slower.
    match unsafe { ffi::PyObject_GenericSetAttr(opt.as_ptr(), name.as_ptr(), t.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(opt.py())),
    }
}

/// A step that an optimiser has counted and a device may still take back.
struct Step {
    opt: Py<PyWeakrefReference>,
    undone: Arc<AtomicBool>,
}

static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());

fn steps_under_way() -> MutexGuard<'static, Vec<Step>> {
    STEPS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Sets back the counters of the steps that came to nothing: called when it is raised why.
pub fn uncount(py: Python<'_>) -> PyResult<()> {
    let undone: Vec<Step> = {
        let mut steps = steps_under_way();
        let (undone, rest) = steps.drain(..).partition(|step| step.undone.load(Ordering::Acquire));
        *steps = rest;
        undone
    };
    for step in undone {
        if let Some(opt) = step.opt.bind(py).upgrade() {
            set_count(&opt, count(&opt)?.saturating_sub(1))?;
        }
    }
    Ok(())
}

/// The number of updates that wait on this thread.
#[pyfunction(crate = "crate::keywords")]
pub fn queued() -> usize {
    leaf::queued()
}

/// The number of updates this thread has ever queued: the place of the next one.
#[pyfunction(crate = "crate::keywords")]
pub fn queue_position() -> usize {
    leaf::position()
}

/// Forgets the updates that wait on this thread from `position` on.
#[pyfunction(crate = "crate::keywords")]
pub fn discard(py: Python<'_>, position: usize) {
    crate::call_site::without_gil(py, || leaf::discard(position));
}

/// True if `x` is a parameter or state, rather than the result of an op.
#[pyfunction(crate = "crate::keywords")]
pub fn isleaf(x: &Bound<'_, PyAny>) -> bool {
    x.cast::<PyTensor>().is_ok_and(|t| t.get().leaf().is_some())
}

/// True if `x` is a tensor that can be differentiated by, or depends on one.
#[pyfunction(crate = "crate::keywords")]
pub fn istracked(x: &Bound<'_, PyAny>) -> bool {
    x.cast::<PyTensor>().is_ok_and(|t| t.get().is_tracked())
}

/// `data(x)`: the value of a tracked tensor, untracked; of anything else `x` itself.
#[pyfunction(crate = "crate::keywords")]
pub fn data(x: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    match x.cast::<PyTensor>() {
        Ok(t) if t.get().is_tracked() || t.get().leaf().is_some() => t.getattr("data"),
        _ => Ok(x),
    }
}

/// `grad(x)`: the gradient that `back` has accumulated in `x`; None if `x` is no parameter.
#[pyfunction(crate = "crate::keywords")]
pub fn grad(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyTensor>>> {
    match x.cast::<PyTensor>().ok().and_then(|t| t.get().leaf()) {
        Some(leaf) if leaf.is_tracked() => grad_object(py, leaf).map(Some),
        _ => Ok(None),
    }
}

/// Gives parameters gradients made of all those they have, such as clipped ones: a bad loss still takes both back.
#[pyfunction(crate = "crate::keywords")]
pub fn replace_gradients(params: Vec<Bound<'_, PyTensor>>, gradients: Vec<Bound<'_, PyTensor>>) -> PyResult<()> {
    let mut leaves = Vec::with_capacity(params.len());
    let mut new = Vec::with_capacity(params.len());
    for (p, g) in params.iter().zip(&gradients) {
        let Some(leaf) = p.get().leaf() else {
            return Err(PyAttributeError::new_err("grad: only a parameter made by param has a gradient"));
        };
        new.push(fit(p.py(), &leaf.peek(), &*g.get().value(p.py())?, "grad")?);
        leaves.push(leaf.clone());
    }
    core(|| leaf::replace_grads(&leaves, new))
}

/// Parameters change by `update`, results not at all.
pub fn check_writable(target: &PyTensor, what: &str) -> PyResult<()> {
    let text = match &target.inner {
        Inner::Data(_) | Inner::Grad(_) => return Ok(()),
        Inner::Leaf(_) => {
            let written = if what == "[…]" { "[…] =" } else { what };
            let space = if what == "[…]" { "" } else { " " };
            format!(
                "{what} on a parameter would make it the result of an op; use update(p, Δ) to add to it, or p.data{space}{written} v to write its storage"
            )
        }
        Inner::Node(h) if h.tensor().is_tracked() => {
            format!(
                "{what}: the result of an op that is tracked cannot be written; gradients would be wrong. Build a new tensor, for example with where"
            )
        }
        Inner::Node(_) => {
            format!("{what}: a tensor's value never changes; build a new one, for example with where, or write to np.array(t)")
        }
    };
    Err(PyTypeError::new_err(text))
}

/// Replaces a leaf's value, or its gradient.
pub fn write(target: &PyTensor, py: Python<'_>, value: &Tensor) -> PyResult<()> {
    match &target.inner {
        Inner::Grad(leaf) => {
            let new = fit(py, &leaf.peek(), value, "grad")?;
            core(|| leaf.set_grad(Some(new)))
        }
        Inner::Data(leaf) => {
            let new = fit(py, &leaf.peek(), value, "data")?;
            note(py, leaf)?;
            if rewrite(leaf, || Ok(new.cast(leaf.peek().dtype())))? {
                return Ok(());
            }
            detached(py, || leaf::assign(leaf, &new))
        }
        _ => check_writable(target, "assignment"),
    }
}

/// A value in the shape and type of a leaf, and where that lives; only numbers broadcast.
fn fit(py: Python<'_>, now: &Tensor, value: &Tensor, what: &str) -> PyResult<Tensor> {
    let fitted = no_grad(|| {
        let value = value.detached();
        if value.shape() != now.shape() && value.size() != 1 {
            let (want, got) = (fluxrs::shape::show(now.shape()), fluxrs::shape::show(value.shape()));
            return Err(crate::error::DimensionMismatch::new_err(format!(
                "{what}: a parameter of shape {want} cannot take a value of shape {got}"
            )));
        }
        let value = value.cast(now.dtype());
        if value.shape() == now.shape() { Ok(value) } else { core(|| value.reshape(&[])?.broadcast_to(now.shape())) }
    })?;
    detached(py, || to_device(&fitted, now.device()))
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// The value without its history. A parameter's storage can be written through it: `p.data = v`, `p.data += v`.
    #[getter]
    fn get_data(slf: &Bound<'_, Self>) -> PyResult<Py<PyTensor>> {
        match &slf.get().inner {
            Inner::Leaf(leaf) => data_object(slf.py(), leaf),
            Inner::Node(h) if h.tensor().is_tracked() => Py::new(slf.py(), PyTensor::new(h.tensor().detached())),
            _ => Ok(slf.clone().unbind()),
        }
    }

    #[setter]
    fn set_data(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let Inner::Leaf(leaf) = &slf.get().inner else {
            return Err(PyAttributeError::new_err("data: only a parameter made by param can be written"));
        };
        // The assignment that ends `p.data += v`, which has written by then.
        if let Ok(other) = value.cast::<PyTensor>()
            && matches!(&other.get().inner, Inner::Data(l) if l.number() == leaf.number())
        {
            return Ok(());
        }
        let new = beside("data", &slf.get().like(), value)?;
        write(data_object(py, leaf)?.get(), py, &new)
    }

    /// The gradient accumulated by `back`: zeros before the first one, None if this is no parameter.
    #[getter]
    fn get_grad(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyTensor>>> {
        grad(slf.py(), slf.as_any())
    }

    #[setter]
    fn set_grad(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let Inner::Leaf(leaf) = &slf.get().inner else {
            return Err(PyAttributeError::new_err("grad: only a parameter made by param has a gradient"));
        };
        if value.is_none() {
            return core(|| leaf.set_grad(None));
        }
        if let Ok(other) = value.cast::<PyTensor>()
            && matches!(&other.get().inner, Inner::Grad(l) if l.number() == leaf.number())
        {
            return Ok(());
        }
        let new = beside("grad", &slf.get().like(), value)?;
        write(grad_object(py, leaf)?.get(), py, &new)
    }

    fn __delitem__(&self, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("del t[…]: a tensor keeps its elements; build a new one, for example with an index"))
    }

    fn __setitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let target = slf.get();
        check_writable(target, "[…]")?;
        let whole = key.is(py.Ellipsis());
        let whole = whole
            || key.cast::<pyo3::types::PySlice>().is_ok_and(|s| {
                s.getattr("start").is_ok_and(|a| a.is_none())
                    && s.getattr("stop").is_ok_and(|a| a.is_none())
                    && s.getattr("step").is_ok_and(|a| a.is_none())
            });
        let now = target.value(py)?;
        if whole {
            let new = beside("[…]", &now, value)?;
            let wide = if new.is_number() { new } else { Value::Owned(core(|| new.broadcast_to(now.shape()))?) };
            return write(target, py, &wide);
        }
        refuse_mask(value)?;
        let array = crate::convert::numpy(py)?.call_method1("array", (slf,))?;
        array.set_item(key, value)?;
        write(target, py, &*beside("[…]", &now, &array)?)
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(param, m)?)?;
    m.add_function(wrap_pyfunction!(state, m)?)?;
    m.add_function(wrap_pyfunction!(update, m)?)?;
    m.add_function(wrap_pyfunction!(change, m)?)?;
    m.add_function(wrap_pyfunction!(commit, m)?)?;
    m.add_function(wrap_pyfunction!(queued, m)?)?;
    m.add_function(wrap_pyfunction!(queue_position, m)?)?;
    m.add_function(wrap_pyfunction!(discard, m)?)?;
    m.add_function(wrap_pyfunction!(isleaf, m)?)?;
    m.add_function(wrap_pyfunction!(istracked, m)?)?;
    m.add_function(wrap_pyfunction!(data, m)?)?;
    m.add_function(wrap_pyfunction!(grad, m)?)?;
    m.add_function(wrap_pyfunction!(replace_gradients, m)?)?;
    Ok(())
}
