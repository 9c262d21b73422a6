//! gradient, forward, withgradient and back.

use crate::convert::{beside, strong};
use crate::cut::Inside;
use crate::error::{DimensionMismatch, core, detached, shown};
use crate::grads::{Found, PyGrads};
use crate::history::{self, History};
use crate::params::{Leaves, PyParams};
use crate::tensor::{PyTensor, zeros_of};
use fluxrs::Tensor;
use fluxrs::graph::{Handle, NoGrad, tracking};
use fluxrs::leaf;
use fluxrs::shape::show;
use fluxrs::tape::{self, Target};
use numpy::PyUntypedArray;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::cell::RefCell;

/// The parameters or arguments that a gradient is taken by.
enum Subject {
    Params(Py<PyParams>, Leaves),
    /// Each argument under an identity of its own.
    Args(Vec<Tensor>),
}

impl Subject {
    fn targets(&self) -> Vec<Target> {
        match self {
            Subject::Params(_, leaves) => leaves.iter().map(|l| Target::Leaf(l.number())).collect(),
            Subject::Args(args) => args.iter().map(|a| Target::Node(a.clone())).collect(),
        }
    }
}

/// One call of gradient, forward or withgradient, after its function has run.
struct Taken<'py> {
    subject: Subject,
    y: Bound<'py, PyAny>,
    nest: bool,
}

fn is_list_of_leaves(x: &Bound<'_, PyAny>) -> bool {
    let list = x.is_instance_of::<PyList>() || x.is_instance_of::<PyTuple>();
    list && x.try_iter().is_ok_and(|mut items| items.any(|i| i.is_ok_and(|i| crate::leaf::isleaf(&i))))
}

fn call<'py>(op: &str, f: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>, nest: bool) -> PyResult<Taken<'py>> {
    let py = f.py();
    if !f.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "{op} takes a function first, as in {op}(lambda: loss(x, y), ps); got {}",
            shown(f)
        )));
    }
    if args.is_empty() {
        return Err(PyTypeError::new_err(format!(
            "{op} needs what to differentiate by: arguments, {op}(f, x), or parameters, {op}(f, Params([W, b]))"
        )));
    }
    for (i, a) in args.iter().enumerate() {
        if a.is_instance_of::<PyParams>() && args.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "{op} takes either Params, for a function without arguments, or arguments; got Params beside {} others",
                args.len() - 1
            )));
        }
        if is_list_of_leaves(&a) {
            return Err(PyTypeError::new_err(format!("{op}: argument {i} is a list of parameters; write {op}(f, Params([…]))")));
        }
    }
    let outer = Inside::is_on();
    if let Ok(params) = args.get_item(0)?.cast::<PyParams>() {
        let leaves = params.get().leaves(py, op)?;
        let inside = Inside::enter();
        let y = f.call0()?;
        drop(inside);
        return Ok(Taken { subject: Subject::Params(params.clone().unbind(), leaves), y, nest: nest || outer });
    }
    let mut tracked = false;
    let mut own = Vec::with_capacity(args.len());
    for (i, a) in args.iter().enumerate() {
        let x = strong(&a).map_err(|e| {
            PyTypeError::new_err(format!(
                "{op}: argument {i} cannot be differentiated by: {}; parameters of a model are Params, as params(m)",
                e.value(py)
            ))
        })?;
        tracked |= x.is_tracked();
        own.push(Tensor::tracked_identity(&x.cast(x.dtype().to_float())));
    }
    let objects = own.iter().map(|x| Py::new(py, PyTensor::new(x.clone()))).collect::<PyResult<Vec<_>>>()?;
    let inside = Inside::enter();
    let y = f.call1(PyTuple::new(py, objects)?)?;
    drop(inside);
    let nest = nest || outer || tracked || reaches_leaf(&y);
    Ok(Taken { subject: Subject::Args(own), y, nest })
}

/// True if a parameter had a part in the result.
fn reaches_leaf(y: &Bound<'_, PyAny>) -> bool {
    y.cast::<PyTensor>().is_ok_and(|t| match &t.get().inner {
        crate::tensor::Inner::Node(h) => !tape::leaves(h.tensor()).is_empty(),
        _ => t.get().is_tracked(),
    })
}

/// The result that a differentiated function must return: a scalar tensor.
const WANTED: &str = "; it must return a tensor computed from what is differentiated by";

/// The result of a differentiated function as a tensor, or the error that says what it should have been.
fn result(op: &str, y: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Ok(t) = y.cast::<PyTensor>() {
        let y = t.get().value(t.py())?.into_owned();
        if y.is_tracked() {
            return Ok(y);
        }
        let why = if tracking() { "data(), a constant or integers cut the way" } else { "no_grad is on" };
        return Err(PyTypeError::new_err(format!(
            "{op}: the function returned a tensor that depends on nothing tracked ({why}){WANTED}"
        )));
    }
    let got = if y.is_none() {
        "None: is a return missing?".to_string()
    } else if y.is_instance_of::<PyUntypedArray>() {
        "a NumPy array, which has no history: use fluxrs's functions, and tensors to the end".to_string()
    } else {
        format!("{} ({})", shown(y), y.get_type().name()?)
    };
    Err(PyTypeError::new_err(format!("{op}: the function returned {got}{WANTED}")))
}

fn scalar(op: &str, y: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let y = result(op, y)?;
    if y.ndim() != 0 {
        return Err(DimensionMismatch::new_err(format!(
            "{op}: the function returned a tensor of shape {}, and only a number has a gradient; use .sum() or .mean(), or jacobian(f, x)",
            show(y.shape())
        )));
    }
    Ok(y)
}

/// Gradients by the subject: None where the result does not depend on it.
fn pull(y: &Tensor, seed: Option<&Tensor>, subject: &Subject, nest: bool) -> PyResult<Vec<Option<Tensor>>> {
    core(|| tape::gradient(y, seed, &subject.targets(), nest))
}

/// The gradients in the form that Python gets: Grads, or a tuple.
fn in_python<'py>(
    py: Python<'py>,
    y: &Tensor,
    subject: &Subject,
    grads: Vec<Option<Tensor>>,
    nest: bool,
) -> PyResult<Bound<'py, PyAny>> {
    // A gradient that turned out constant may still be differentiated: it is 0 then.
    let finish = |g: Tensor| if nest && !g.is_tracked() { Tensor::tracked_identity(&g) } else { g };
    match subject {
        Subject::Params(params, leaves) => {
            let grads = grads.into_iter().map(|g| g.map(finish));
            PyGrads::new(params.clone_ref(py), Found::new(y, leaves.clone(), grads)).into_bound_py_any(py)
        }
        Subject::Args(args) => {
            let whole = |(g, x): (Option<Tensor>, &Tensor)| PyTensor::new(finish(g.unwrap_or_else(|| zeros_of(x))));
            let tensors = grads.into_iter().zip(args).map(whole).map(|t| Py::new(py, t)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, tensors)?.into_bound_py_any(py)
        }
    }
}

/// `gradient(f, *args)`: the gradients of `f(*args)`, a number, by each argument, as a tuple.
///
/// `gradient(f, ps)` with `ps` a Params: the gradients of `f()` by each parameter, as a Grads. The results can
/// be differentiated again inside another gradient, or with `nest=True`.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (f, *args, nest=false))]
fn gradient<'py>(f: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>, nest: bool) -> PyResult<Bound<'py, PyAny>> {
    let py = f.py();
    let taken = call("gradient", f, args, nest)?;
    let y = scalar("gradient", &taken.y)?;
    let grads = pull(&y, None, &taken.subject, taken.nest)?;
    in_python(py, &y, &taken.subject, grads, taken.nest)
}

/// `withgradient(f, *args)`: the value and what `gradient` gives.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (f, *args, nest=false))]
fn withgradient<'py>(f: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>, nest: bool) -> PyResult<(PyTensor, Bound<'py, PyAny>)> {
    let py = f.py();
    let taken = call("withgradient", f, args, nest)?;
    let y = scalar("withgradient", &taken.y)?;
    let grads = pull(&y, None, &taken.subject, taken.nest)?;
    let grads = in_python(py, &y, &taken.subject, grads, taken.nest)?;
    Ok((PyTensor::new(if taken.nest { y } else { y.detached() }), grads))
}

/// A sensitivity in the shape of `y`, and where that lives: a number or a 0-d tensor broadcasts.
fn sensitivity(op: &str, y: &Tensor, delta: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let delta = beside(op, y, delta)?;
    if delta.ndim() != 0 && delta.shape() != y.shape() {
        return Err(DimensionMismatch::new_err(format!(
            "{op}: the sensitivity Δ has shape {}, the result {}; they must be equal, or Δ a number",
            show(delta.shape()),
            show(y.shape())
        )));
    }
    core(|| if delta.is_number() { Ok(delta.cast(y.dtype())) } else { Ok(delta.into_owned()) })
}

/// The second result of `forward`: called with a sensitivity, it gives the gradients.
#[pyclass(frozen, module = "fluxrs")]
struct Pullback {
    subject: Subject,
    /// Held, so that it is computed before what it needs is overwritten: every step made of a gradient is guarded by it.
    y: Handle,
    history: Option<Py<History>>,
    nest: bool,
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl Pullback {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Subject::Params(params, _) = &self.subject {
            visit.call(params)?;
        }
        visit.call(&self.history)
    }

    fn __call__<'py>(&self, delta: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = delta.py();
        let y = self.y.tensor();
        let seed = sensitivity("pullback", y, delta)?;
        let nest = self.nest || Inside::is_on() || seed.is_tracked();
        let grads = match y.is_tracked() {
            true => pull(y, Some(&seed), &self.subject, nest)?,
            false => vec![None; self.subject.targets().len()],
        };
        in_python(py, y, &self.subject, grads, nest)
    }
}

/// `forward(f, *args)` or `forward(f, ps)`: the value, and a pullback that takes a sensitivity of its shape.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (f, *args, nest=false))]
fn forward<'py>(f: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>, nest: bool) -> PyResult<(PyTensor, Py<PyAny>)> {
    let py = f.py();
    let taken = call("forward", f, args, nest)?;
    let y = match taken.y.cast::<PyTensor>() {
        Ok(t) => t.get().value(py)?.into_owned(),
        Err(_) if taken.y.is_none() => result("forward", &taken.y)?,
        Err(_) => strong(&taken.y)?.into_owned(),
    };
    let value = PyTensor::new(y.clone());
    let pullback = Pullback { subject: taken.subject, history: history::of(&y), y: Handle::new(y), nest: taken.nest };
    Ok((value, Py::new(py, pullback)?.into_any()))
}

/// `back(x, Δ=None)`: add the gradient of `x`, a number, to the `.grad` of every parameter it depends on.
///
/// Of a tensor: the gradient of Σ Δ·x, with Δ of its shape, or a number.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, Δ=None, **twin))]
#[allow(non_snake_case)]
fn back<'py>(x: &Bound<'py, PyAny>, Δ: Option<Bound<'py, PyAny>>, twin: Option<&Bound<'py, PyDict>>) -> PyResult<()> {
    let py = x.py();
    let delta = crate::leaf::sensitivity_of("back", Δ, twin)?;
    let y = result("back", x).map_err(|e| match x.cast::<PyTensor>() {
        Ok(_) => PyTypeError::new_err("back: the tensor is not tracked: it depends on no parameter made by param"),
        Err(_) => {
            let text = e.value(py).to_string().replace("the function returned", "it takes a tracked tensor, not");
            PyTypeError::new_err(text.replace(WANTED, ""))
        }
    })?;
    let seed = match &delta {
        Some(d) => Some(sensitivity("back", &y, d)?),
        None if y.ndim() == 0 => None,
        None => {
            return Err(DimensionMismatch::new_err(format!(
                "back: a tensor of shape {} is no number; call back(x.sum()), or back(x, Δ) with Δ of its shape",
                show(y.shape())
            )));
        }
    };
    core(|| leaf::back(&y, seed.as_ref()))?;
    Ok(())
}

/// Takes back what `back` of this loss added.
#[pyfunction(crate = "crate::keywords")]
fn drop_gradients(x: &Bound<'_, PyAny>) -> PyResult<()> {
    let Ok(t) = x.cast::<PyTensor>() else { return Ok(()) };
    let y = t.get().like();
    core(|| {
        leaf::forget(&y);
        Ok(())
    })
}

thread_local! {
    static SCOPES: RefCell<Vec<NoGrad>> = const { RefCell::new(Vec::new()) };
}

/// `with no_grad(): …`, or `@no_grad()`: nothing computed inside is tracked.
#[pyclass(frozen, subclass, module = "fluxrs", name = "no_grad")]
struct PyNoGrad;

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyNoGrad {
    #[new]
    fn new() -> PyNoGrad {
        PyNoGrad
    }

    fn __enter__(&self) {
        SCOPES.with_borrow_mut(|s| s.push(NoGrad::enter()));
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        SCOPES.with_borrow_mut(|s| drop(s.pop()));
    }

    fn __call__<'py>(slf: &Bound<'py, Self>, f: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import("contextlib")?.getattr("ContextDecorator")?.getattr("__call__")?.call1((slf, f))
    }

    fn _recreate_cm(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
}

/// `evaluate(*xs)`: compute what is pending in any nest of lists, tuples and dicts; on a GPU, wait for it.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*xs))]
fn evaluate(py: Python<'_>, xs: &Bound<'_, PyTuple>) -> PyResult<()> {
    let roots = crate::engine::tensors_in("evaluate", xs)?;
    let devices = roots.iter().map(Tensor::device).filter(|d| !d.is_cpu()).collect::<Vec<_>>();
    detached(py, || {
        leaf::flush()?;
        fluxrs::evaluate::evaluate(&roots)?;
        devices.iter().try_for_each(|&d| fluxrs::backend::backend(d).synchronize())
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyNoGrad>()?;
    m.add_function(wrap_pyfunction!(gradient, m)?)?;
    m.add_function(wrap_pyfunction!(withgradient, m)?)?;
    m.add_function(wrap_pyfunction!(forward, m)?)?;
    m.add_function(wrap_pyfunction!(back, m)?)?;
    m.add_function(wrap_pyfunction!(drop_gradients, m)?)?;
    m.add_function(wrap_pyfunction!(evaluate, m)?)?;

    Ok(())
}
