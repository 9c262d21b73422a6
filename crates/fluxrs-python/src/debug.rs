//! Debug mode: every op is evaluated at its call, so that an error or a NaN is met at the line that makes it.

use crate::origin::without_gil;
use fluxrs::origin::Origin;
use fluxrs::{Result, Tensor, watch};
use pyo3::prelude::*;

/// Sets the mode; returns what it was.
#[pyfunction]
fn _debug(eager: bool, nan: bool) -> (bool, bool) {
    watch::set_mode(eager, nan)
}

/// Looks at a fresh result, if somebody debugs.
#[inline]
pub fn inspect(x: Tensor) -> Result<Tensor> {
    if watch::is_on() && !x.is_number() {
        let origin = Origin::here();
        Python::attach(|py| without_gil(py, || watch::inspect(&x, origin)))?;
    }
    Ok(x)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_debug, m)?)
}
