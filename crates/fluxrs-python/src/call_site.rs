//! The line of the Python program that makes a call: the innermost one outside of this package.

use fluxrs::call_site::{Line, set_whereabouts};
use pyo3::ffi::{PyEval_GetFrame, PyFrame_GetLineNumber, PyFrameObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

thread_local! {
    /// True while this thread is without the GIL: there is no frame to look at then.
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

static HAS_GIL: AtomicBool = AtomicBool::new(true);

/// True if this Python has a GIL.
pub fn has_gil() -> bool {
    HAS_GIL.load(Ordering::Relaxed)
}

/// Runs `f` without the GIL.
pub fn without_gil<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            DETACHED.set(self.0);
        }
    }
    alone();
    let _restore = Restore(DETACHED.replace(true));
    py.detach(f)
}

/// Threads that have used a parameter or run a plan; many, where there is no GIL.
static THREADS: AtomicU32 = AtomicU32::new(0);

/// True if only this thread has done so. To be asked with the GIL: until that is released, the answer holds.
#[inline]
pub fn alone() -> bool {
    thread_local! {
        static COUNTED: Cell<bool> = const { Cell::new(false) };
    }
    if !COUNTED.replace(true) {
        THREADS.fetch_add(1, Ordering::Relaxed);
    }
    THREADS.load(Ordering::Relaxed) == 1
}

/// Runs `f` with the GIL, from inside of what `without_gil` runs.
pub fn with_gil<T>(f: impl FnOnce(Python<'_>) -> T) -> T {
    try_with_gil(f).expect("the interpreter is there as long as it runs Python")
}

/// The same, unless the interpreter has come to its end: daemon threads go on for a moment.
pub fn try_with_gil<T>(f: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    Python::try_attach(|py| {
        let was = DETACHED.replace(false);
        let result = f(py);
        DETACHED.set(was);
        result
    })
}

/// The running line, if this thread runs Python.
pub fn here() -> Option<Line> {
    if DETACHED.get() {
        return None;
    }
    // SAFETY: the thread holds the GIL, since it called into the core and has not let go of it.
    let py = unsafe { Python::assume_attached() };
    let line = innermost(py);
    if line.is_err() {
        // Whatever went wrong, the call itself did not.
        drop(PyErr::take(py));
    }
    line.ok().flatten()
}

fn innermost(py: Python<'_>) -> PyResult<Option<Line>> {
    // SAFETY: the frame that runs is borrowed from the interpreter, and is none where no Python runs.
    let mut frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, PyEval_GetFrame().cast()) };
    while let Some(now) = frame {
        if runs(&now, &["fluxrs"])? {
            frame = caller(&now)?;
            continue;
        }
        // SAFETY: it is a frame.
        let number = unsafe { PyFrame_GetLineNumber(now.as_ptr().cast::<PyFrameObject>()) };
        let code = now.getattr(intern!(py, "f_code"))?;
        let file = code.getattr(intern!(py, "co_filename"))?;
        let file = file.cast::<PyString>()?.to_cow()?;
        return Ok(Some(Line { file: file.as_ref().into(), number: number.max(0) as u32 }));
    }
    Ok(None)
}

/// How many frames there are to the innermost line that is neither of this package nor of NumPy, where a user can mend something.
pub fn frames_to_user(py: Python<'_>) -> PyResult<i32> {
    // SAFETY: as above.
    let mut frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, PyEval_GetFrame().cast()) };
    let mut count = 1;
    while let Some(now) = frame.take_if(|now| runs(now, &["fluxrs", "numpy"]).unwrap_or(false)) {
        frame = caller(&now)?;
        count += 1;
    }
    Ok(count)
}

fn caller<'py>(frame: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let back = frame.getattr(intern!(frame.py(), "f_back"))?;
    Ok((!back.is_none()).then_some(back))
}

/// True if a frame runs code of one of these packages.
fn runs(frame: &Bound<'_, PyAny>, packages: &[&str]) -> PyResult<bool> {
    let py = frame.py();
    let globals = frame.getattr(intern!(py, "f_globals"))?;
    let Some(name) = globals.cast::<PyDict>()?.get_item(intern!(py, "__name__"))? else { return Ok(false) };
    let Ok(name) = name.cast::<PyString>() else { return Ok(false) };
    let name = name.to_cow()?;
    let within = |package: &str| name.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    Ok(packages.iter().any(|p| within(p)))
}

pub fn install(py: Python<'_>) -> PyResult<()> {
    set_whereabouts(here);
    let gil = match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
        Some(ask) => ask.call0()?.is_truthy()?,
        None => true,
    };
    if !gil {
        THREADS.store(2, Ordering::Relaxed);
        HAS_GIL.store(false, Ordering::Relaxed);
    }
    Ok(())
}
