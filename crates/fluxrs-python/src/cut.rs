//! Functions that are being differentiated, and the warning where a value leaves the tape inside of one.

use crate::call_site::frames_to_user;
use crate::custom::replaying;
use fluxrs::graph::tracking;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ffi::CStr;

thread_local! {
    /// How many functions this thread is inside of that are being differentiated.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, this thread is inside of a function that is being differentiated.
pub struct Inside(());

impl Inside {
    pub fn enter() -> Inside {
        DEPTH.set(DEPTH.get() + 1);
        Inside(())
    }

    pub fn is_on() -> bool {
        DEPTH.get() > 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

const MESSAGE: &CStr = c"a tracked tensor becomes a NumPy array or a Python number inside a function that is being differentiated, and no \
    gradient passes through it; use functions of fluxrs, such as stack([a, b]) for np.array([a, b]), or data(t) if only the value is meant";

/// Warns, at the user's line, where a tracked tensor loses its history although a gradient is wanted. A checkpoint's second run says
/// nothing that its first has not.
#[inline]
pub fn warn_of_cut(py: Python<'_>, tracked: bool) -> PyResult<()> {
    if tracked && Inside::is_on() { warn(py) } else { Ok(()) }
}

#[cold]
fn warn(py: Python<'_>) -> PyResult<()> {
    if !tracking() || replaying() {
        return Ok(());
    }
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), MESSAGE, frames_to_user(py)?)
}
