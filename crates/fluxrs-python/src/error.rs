//! The core's errors as Python's exceptions. Nothing else may cross: a panic becomes a RuntimeError.

use crate::call_site::{try_with_gil, with_gil, without_gil};
use fluxrs::error::{Error, Result};
use pyo3::create_exception;
use pyo3::exceptions::{
    PyFloatingPointError, PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyOverflowError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::ffi::Py_AddPendingCall;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

create_exception!(fluxrs, DimensionMismatch, PyValueError, "Shapes that do not fit together.");
create_exception!(fluxrs, DeviceError, PyRuntimeError, "A device that is missing, lost, or not the one where the operands live.");

thread_local! {
    /// An exception raised by Python inside the core (in a pullback, or by a signal): the core only says that it was interrupted.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Keeps Python's exception until the core has returned.
pub fn raised(error: PyErr) -> Error {
    // An earlier one goes after the borrow: what it refers to may run Python as it goes.
    drop(RAISED.replace(Some(error)));
    Error::Interrupted
}

pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Shape(m) => DimensionMismatch::new_err(m),
        Error::Type(m) => PyTypeError::new_err(m),
        Error::Index(m) => PyIndexError::new_err(m),
        Error::Value(m) => PyValueError::new_err(m),
        Error::Overflow(m) => PyOverflowError::new_err(m),
        Error::Memory(m) => PyMemoryError::new_err(m),
        Error::Device(m) => DeviceError::new_err(m),
        Error::BadLoss(m) => {
            // It may be of steps that had been counted.
            Python::attach(crate::leaf::uncount).err().unwrap_or_else(|| PyFloatingPointError::new_err(m))
        }
        Error::Interrupted => RAISED.take().unwrap_or_else(|| PyKeyboardInterrupt::new_err(())),
    }
}

/// An object in an error's text: its repr, cut where it is long or deep, whatever its own `__repr__` does.
pub fn shown(x: &Bound<'_, PyAny>) -> String {
    static BRIEF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = x.py();
    let brief = || -> PyResult<Py<PyAny>> {
        let made = py.import("reprlib")?.getattr("Repr")?.call0()?;
        for limit in ["maxstring", "maxother", "maxlong"] {
            made.setattr(limit, 200)?;
        }
        Ok(made.getattr("repr")?.unbind())
    };
    let text = BRIEF.get_or_try_init(py, brief).and_then(|brief| brief.bind(py).call1((x,))?.extract());
    text.unwrap_or_else(|_| "an object without a repr".to_string())
}

/// A call into the core that only builds graph.
pub fn core<T>(f: impl FnOnce() -> Result<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(to_python),
        Err(panic) => Err(from_panic(panic.as_ref())),
    }
}

/// A call into the core that may run a plan: without the GIL.
pub fn detached<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let out = core(|| without_gil(py, f))?;
    unheard()?;
    Ok(out)
}

/// The exception that a signal raised while a plan could not be stopped: it is raised after the plan instead.
pub fn unheard() -> PyResult<()> {
    RAISED.take().map_or(Ok(()), Err)
}

/// The same for an evaluation that no call waits for: raised between two of the program's lines.
fn raise_later() {
    extern "C" fn raise(_: *mut c_void) -> c_int {
        // SAFETY: the interpreter makes pending calls with the GIL held.
        let py = unsafe { Python::assume_attached() };
        match RAISED.take() {
            Some(error) => {
                error.restore(py);
                -1
            }
            None => 0,
        }
    }
    if RAISED.with_borrow(Option::is_some) {
        // SAFETY: the function is there as long as the module, which is never unloaded. A full queue only delays what is raised.
        unsafe { Py_AddPendingCall(Some(raise), std::ptr::null_mut()) };
    }
}

fn from_panic(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    PyRuntimeError::new_err(format!("a fault inside fluxrs, please report it: {}", text.unwrap_or("no message")))
}

thread_local! {
    /// Says if this is Python's main thread, the only one that signals reach; None before it is asked.
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

fn is_main(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    threading.call_method0("main_thread")?.getattr("ident")?.eq(threading.call_method0("get_ident")?)
}

/// Called by the core while a long plan runs: whether Python wants to stop it.
fn signalled() -> bool {
    // Others do not take part in the contest for the GIL.
    if IS_MAIN.get() == Some(false) {
        return false;
    }
    let heard = |py: Python<'_>| {
        if IS_MAIN.get().is_none() {
            IS_MAIN.set(Some(is_main(py)?));
        }
        py.check_signals()
    };
    try_with_gil(heard).is_none_or(|heard| heard.map_err(raised).is_err())
}

/// Evaluations that the core starts by itself, to bound what is pending, run without the GIL as well.
fn standing_by(f: &mut (dyn FnMut() + Send)) {
    with_gil(|py| without_gil(py, f));
    raise_later();
}

pub fn install() {
    fluxrs::stop::set_interrupt_check(signalled);
    fluxrs::evaluate::set_bystander(standing_by);
    fluxrs::evaluate::prepare();
}

/// Lets a process that Python forks go on evaluating.
#[cfg(unix)]
pub fn prepare_for_forks(py: Python<'_>) -> PyResult<()> {
    /// The evaluation under way may want the GIL before it ends.
    #[pyfunction(crate = "crate::keywords")]
    fn before(py: Python<'_>) {
        without_gil(py, fluxrs::evaluate::before_fork);
    }

    #[pyfunction(crate = "crate::keywords")]
    fn in_parent() {
        fluxrs::evaluate::after_fork();
    }

    /// Whichever thread forked is the main one here.
    #[pyfunction(crate = "crate::keywords")]
    fn in_child() {
        fluxrs::evaluate::after_fork();
        IS_MAIN.set(None);
    }

    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(before, py)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(in_parent, py)?)?;
    hooks.set_item("after_in_child", wrap_pyfunction!(in_child, py)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}
