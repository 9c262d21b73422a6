//! The Python functions in a tensor's history, as Python's garbage collector sees them: tensor → History → function.
//!
//! The nodes of the core share such functions in a way that the collector cannot follow. So every set of them in the core,
//! [`Defined`], has one object here as long as a tensor's object needs it. The History of a node that Python defined owns the node's
//! [`Function`]; the others own the Histories that they are made of. A function that only the core holds is reported by none, and
//! so is kept. Once the collector has taken a Function apart, the node that still refers to it has no gradient any more.

pub mod late;

use crate::call_site::has_gil;
use crate::custom::PyPullback;
use fluxrs::Tensor;
use fluxrs::graph::Defined;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A function that gives a gradient.
#[pyclass(frozen, module = "fluxrs")]
pub struct Function(Mutex<Option<Py<PyAny>>>);

impl Function {
    pub fn new(py: Python<'_>, f: Py<PyAny>) -> PyResult<Py<Function>> {
        Py::new(py, Function(Mutex::new(Some(f))))
    }

    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let f = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|f| f.clone_ref(py).into_bound(py));
        f.ok_or_else(|| PyRuntimeError::new_err("the function that defines a gradient has been freed by the garbage collector"))
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl Function {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.try_lock().map_or(Ok(()), |f| visit.call(&*f))
    }

    fn __clear__(&self) {
        let f = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(f);
    }
}

#[pyclass(frozen, module = "fluxrs")]
pub struct History {
    of: Arc<Defined>,
    parts: SmallVec<[Py<History>; 2]>,
    /// True of the one that the set knows.
    known: AtomicBool,
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl History {
    /// There is nothing to clear: what refers back was changed after the history was made, and is cleared itself.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(own) = self.of.own().and_then(|p| p.as_any()?.downcast_ref::<PyPullback>()) {
            visit.call(own.function())?;
        }
        self.parts.iter().try_for_each(|part| visit.call(part))
    }
}

thread_local! {
    static GONE: RefCell<Vec<Py<History>>> = const { RefCell::new(Vec::new()) };
    static DROPPING: Cell<bool> = const { Cell::new(false) };
}

impl Drop for History {
    /// A long chain goes in a loop, not by nested calls.
    fn drop(&mut self) {
        if *self.known.get_mut() {
            self.of.object.store(std::ptr::null_mut(), Ordering::Release);
        }
        // A thread that is ending has no list any more; nesting is all that is left then.
        let _ = GONE.try_with(|gone| gone.borrow_mut().extend(self.parts.drain(..)));
        if !DROPPING.replace(true) {
            while let Ok(Some(next)) = GONE.try_with(|gone| gone.borrow_mut().pop()) {
                drop(next);
            }
            DROPPING.set(false);
        }
    }
}

/// The History that the object of a tensor holds; none for most. Without a GIL no History is made, and functions that tensors
/// reach are kept.
#[inline]
pub fn of(tensor: &Tensor) -> Option<Py<History>> {
    let defined = tensor.defined()?;
    Python::attach(|py| if has_gil() { object(py, defined).ok() } else { None })
}

fn known(py: Python<'_>, of: &Defined) -> Option<Py<History>> {
    let object = of.object.load(Ordering::Acquire);
    // SAFETY: a History forgets itself in its drop, before its memory goes and with the GIL held, as it is here.
    Some(unsafe { Bound::from_borrowed_ptr_or_opt(py, object.cast()) }?.cast_into::<History>().ok()?.unbind())
}

/// The one History of a set, made with those of its parts that have none.
fn object(py: Python<'_>, of: &Arc<Defined>) -> PyResult<Py<History>> {
    let mut stack = vec![of];
    // Held, so that none goes before what it is a part of is made.
    let mut made = Vec::new();
    while let Some(&top) = stack.last() {
        if let Some(found) = known(py, top) {
            made.push(found);
            stack.pop();
            continue;
        }
        let parts: SmallVec<[Py<History>; 2]> = top.parts().iter().filter_map(|p| known(py, p)).collect();
        if parts.len() < top.parts().len() {
            stack.extend(top.parts().iter().filter(|p| p.object.load(Ordering::Acquire).is_null()));
            continue;
        }
        let new = Py::new(py, History { of: top.clone(), parts, known: AtomicBool::new(false) })?;
        // Making an object may collect garbage, and that may have made one.
        if known(py, top).is_none() {
            new.get().known.store(true, Ordering::Release);
            top.object.store(new.as_ptr().cast(), Ordering::Release);
        }
        made.push(new);
    }
    Ok(made.pop().expect("the last one found is the set's own"))
}
