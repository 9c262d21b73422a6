//! Pools: lengths and margins come from Python's side one for each axis.

use crate::convert::argument;
use crate::tensor::{PyTensor, made};
use fluxrs::ops::pool::{self, Window};
use pyo3::prelude::*;

/// The largest element of each window.
#[pyfunction(crate = "crate::keywords")]
fn maxpool(x: &Bound<'_, PyAny>, kernel: Vec<usize>, stride: Vec<usize>, margins: Vec<(usize, usize)>) -> PyResult<PyTensor> {
    let x = argument(x)?;
    made(|| pool::maxpool(&x, Window { kernel: &kernel, stride: &stride, margins: &margins }))
}

/// The mean of each window.
#[pyfunction(crate = "crate::keywords")]
fn meanpool(x: &Bound<'_, PyAny>, kernel: Vec<usize>, stride: Vec<usize>, margins: Vec<(usize, usize)>) -> PyResult<PyTensor> {
    let x = argument(x)?;
    made(|| pool::meanpool(&x, Window { kernel: &kernel, stride: &stride, margins: &margins }))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(maxpool, m)?)?;
    m.add_function(wrap_pyfunction!(meanpool, m)?)
}
