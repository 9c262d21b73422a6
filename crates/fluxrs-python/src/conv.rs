//! Convolutions, as the functions and layers in Python call them, with a number for every spatial axis.

use crate::convert::arguments;
use crate::tensor::{PyTensor, made};
use fluxrs::ops::conv::{Step, conv, conv_transpose};
use pyo3::prelude::*;

fn steps(stride: &[usize], pad: &[(i64, i64)], dilation: &[usize]) -> Vec<Step> {
    let axes = stride.iter().zip(pad).zip(dilation);
    axes.map(|((&stride, &pad), &dilation)| Step { stride, dilation, pad }).collect()
}

#[pyfunction(crate = "crate::keywords")]
fn convolve(
    x: &Bound<'_, PyAny>,
    w: &Bound<'_, PyAny>,
    stride: Vec<usize>,
    pad: Vec<(i64, i64)>,
    dilation: Vec<usize>,
    groups: usize,
) -> PyResult<PyTensor> {
    let [x, w] = arguments([x, w])?;
    made(|| conv(&x, &w, &steps(&stride, &pad, &dilation), groups))
}

#[pyfunction(crate = "crate::keywords")]
fn deconvolve(
    x: &Bound<'_, PyAny>,
    w: &Bound<'_, PyAny>,
    stride: Vec<usize>,
    pad: Vec<(i64, i64)>,
    dilation: Vec<usize>,
    groups: usize,
) -> PyResult<PyTensor> {
    let [x, w] = arguments([x, w])?;
    made(|| conv_transpose(&x, &w, &steps(&stride, &pad, &dilation), groups))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(convolve, m)?)?;
    m.add_function(wrap_pyfunction!(deconvolve, m)?)
}
