//! Random tensors, all from one stream.

use crate::convert::{Dt, argument, count, number, owned_shape};
use crate::reference::sections;
use crate::tensor::{PyTensor, made};
use fluxrs::DType;
use fluxrs::ops::random;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Starts the random stream anew: the same numbers come after the same seed, on every device (normals to some ulp).
///
/// >>> seed(1)
#[pyfunction(crate = "crate::keywords")]
fn seed(n: i64) {
    random::seed(n as u64);
}

/// Uniform over [0, 1), of a shape given as `(2, 3)` or `2, 3`; float32 or float64.
///
/// >>> rand(2)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*shape, dtype=None))]
fn rand(shape: &Bound<'_, PyTuple>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    let shape = owned_shape(shape, "rand")?;
    made(|| random::rand(&shape, dtype.map_or(DType::F32, |d| d.0)))
}

/// Uniform over [0, 1), of the shape and on the device of `x`, in its float type.
///
/// >>> rand_like([1, 2])
#[pyfunction(crate = "crate::keywords")]
fn rand_like(x: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
    let x = argument(x)?;
    made(|| random::rand_like(&x))
}

/// Normal with mean 0 and standard deviation 1, of a shape given as `(2, 3)` or `2, 3`; float32 or float64.
///
/// >>> randn(2, dtype="float64")
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*shape, dtype=None))]
fn randn(shape: &Bound<'_, PyTuple>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    let shape = owned_shape(shape, "randn")?;
    made(|| random::randn(&shape, dtype.map_or(DType::F32, |d| d.0)))
}

/// Normal with mean 0 and standard deviation 1, of the shape and on the device of `x`, in its float type.
///
/// >>> randn_like([1, 2])
#[pyfunction(crate = "crate::keywords")]
fn randn_like(x: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
    let x = argument(x)?;
    made(|| random::randn_like(&x))
}

/// Integers from `low` on, below `high`, of a shape given as `(2, 3)` or `2, 3`; int64 unless a dtype is given.
///
/// >>> randint(0, 10, 5)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (low, high, *shape, dtype=None))]
fn randint(low: i64, high: i64, shape: &Bound<'_, PyTuple>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    let shape = owned_shape(shape, "randint")?;
    made(|| random::randint(low, high, &shape, dtype.map_or(DType::I64, |d| d.0)))
}

/// True with probability `p`, which broadcasts to the shape; without a shape, that of `p`.
///
/// >>> bernoulli(0.5, 4)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (p, *shape))]
fn bernoulli(p: &Bound<'_, PyAny>, shape: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
    if let Some(n) = number(p)?.map(|n| n.as_f64()).filter(|n| !(0.0..=1.0).contains(n)) {
        return Err(PyValueError::new_err(format!("bernoulli: p must be a probability, between 0 and 1, got {n}")));
    }
    let p = argument(p)?;
    let shape = if shape.is_empty() { p.shape().into() } else { owned_shape(shape, "bernoulli")? };
    made(|| random::bernoulli(&p, &shape))
}

/// The numbers from 0 to n − 1 in random order, as int64.
///
/// >>> permutation(5)
#[pyfunction(crate = "crate::keywords")]
fn permutation(n: isize) -> PyResult<PyTensor> {
    let n = count("permutation: n", n)?;
    made(|| random::permutation(n))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    sections! { m; "Random numbers": seed rand rand_like randn randn_like randint bernoulli permutation; }
    Ok(())
}
