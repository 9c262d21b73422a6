//! Debug mode: every op is evaluated at its call, so that an error or a NaN is met at the line that makes it.

use crate::call_site::without_gil;
use fluxrs::call_site::CallSite;
use fluxrs::debug::watch;
use fluxrs::{Result, Tensor};
use pyo3::prelude::*;

/// Sets the mode; returns what it was.
#[pyfunction(crate = "crate::keywords")]
fn _debug(eager: bool, nan: bool) -> (bool, bool) {
    watch::set_mode(eager, nan)
}

/// Looks at a fresh result while debugging is on.
#[inline]
pub fn inspect(x: Tensor) -> Result<Tensor> {
    if watch::is_on() && !x.is_number() && fluxrs::graph::level() == 0 {
        let call_site = CallSite::here();
        Python::attach(|py| without_gil(py, || watch::inspect(&x, call_site)))?;
    }
    Ok(x)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_debug, m)?)
}
