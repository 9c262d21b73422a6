//! Tensors from data, and from nothing.

use crate::arguments::{names, of};
use crate::convert::{Dt, count, owned_shape, strong};
use crate::error::shown;
use crate::lists::{Wanted, from_list, is_list, yielded};
use crate::reference::sections;
use crate::tensor::{PyTensor, made};
use fluxrs::ops::create;
use fluxrs::{DType, Number, Tensor};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// An untracked tensor with its own copy of `x`; lists of numbers become float32.
///
/// >>> tensor([[1, 2], [3, 4]], dtype="int64")
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, dtype=None))]
pub fn tensor(x: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    if let Some(Dt(dtype)) = dtype {
        if let Some(n) = crate::convert::number(x)? {
            return full_of(&[], n, dtype, "tensor");
        }
        let yielded = yielded(x)?;
        if is_list(x) || yielded.is_some() {
            let value = from_list(yielded.as_ref().unwrap_or(x), Wanted::Exactly(dtype))?;
            return made(|| Ok(value.cast(dtype)));
        }
    }
    let value = strong(x)?;
    made(|| Ok(dtype.map_or_else(|| (*value).clone(), |d| value.cast(d.0))))
}

/// The memory of an array as a tensor, without a copy where it is aligned; it may not be written afterwards.
///
/// Takes NumPy arrays, and anything with `__dlpack__` or `__array__`. Otherwise as `tensor`.
/// >>> asarray(np.ones(2))
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, dtype=None))]
fn asarray(x: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<Py<PyTensor>> {
    if let Ok(t) = x.cast::<PyTensor>()
        && dtype.is_none_or(|d| d.0 == t.get().like().dtype())
    {
        return Ok(t.clone().unbind());
    }
    let shared = crate::arrays::shared(x)?;
    let value = match shared {
        Some(t) => PyTensor::new(t.cast(dtype.map_or(t.dtype(), |d| d.0))),
        None => tensor(x, dtype)?,
    };
    Py::new(x.py(), value)
}

names! { arange linspace eye }

fn full_of(shape: &[usize], value: Number, dtype: DType, op: &str) -> PyResult<PyTensor> {
    made(|| {
        value.check(op, dtype)?;
        Tensor::full(shape, value, dtype).map_err(|e| e.renamed("full", op))
    })
}

fn filled(args: &Bound<'_, PyTuple>, dtype: Option<Dt>, op: &str, value: Number) -> PyResult<PyTensor> {
    let shape = owned_shape(args, op)?;
    full_of(&shape, value, dtype.map_or(DType::F32, |d| d.0), op)
}

/// Zeros of a shape, given as `(2, 3)` or `2, 3`; float32 unless a dtype is given.
///
/// >>> zeros(2, 3)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*shape, dtype=None))]
fn zeros(shape: &Bound<'_, PyTuple>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    filled(shape, dtype, "zeros", Number::Int(0))
}

/// Ones of a shape, given as `(2, 3)` or `2, 3`; float32 unless a dtype is given.
///
/// >>> ones((2, 3))
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*shape, dtype=None))]
fn ones(shape: &Bound<'_, PyTuple>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    filled(shape, dtype, "ones", Number::Int(1))
}

/// A number in every element of a shape; float32 (bool for True and False) unless a dtype is given.
///
/// >>> full((2, 2), 7)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (shape, value, dtype=None))]
fn full(shape: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    let args = PyTuple::new(shape.py(), [shape])?;
    let Some(n) = crate::convert::number(value)? else {
        return Err(PyTypeError::new_err(format!("full: the value must be a number, got {}", shown(value))));
    };
    let kind = if n.dtype() == DType::Bool { DType::Bool } else { DType::F32 };
    filled(&args, dtype.or(Some(Dt(kind))), "full", n)
}

/// A tensor of the shape and type of `x`, filled.
fn like(x: &Bound<'_, PyAny>, dtype: Option<Dt>, value: f64) -> PyResult<PyTensor> {
    let x = strong(x)?;
    made(|| {
        let filled = Tensor::filled(&x, value);
        Ok(dtype.map_or_else(|| filled.clone(), |d| filled.cast(d.0)))
    })
}

/// Zeros of the shape and type of `x`.
///
/// >>> zeros_like([1, 2])
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, dtype=None))]
fn zeros_like(x: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    like(x, dtype, 0.0)
}

/// Ones of the shape and type of `x`.
///
/// >>> ones_like([1, 2], dtype="bool")
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, dtype=None))]
fn ones_like(x: &Bound<'_, PyAny>, dtype: Option<Dt>) -> PyResult<PyTensor> {
    like(x, dtype, 1.0)
}

/// start + i · step for i = 0, 1, …, before `stop`; `arange(stop)` begins at 0. float32 unless a dtype is given.
///
/// >>> arange(1, 2, 0.25)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (start, stop=None, step=None, *, dtype=None))]
fn arange(
    #[pyo3(from_py_with = of::<names::arange, Number>)] start: Number,
    #[pyo3(from_py_with = of::<names::arange, Option<Number>>)] stop: Option<Number>,
    #[pyo3(from_py_with = of::<names::arange, Option<Number>>)] step: Option<Number>,
    dtype: Option<Dt>,
) -> PyResult<PyTensor> {
    let (start, stop) = stop.map_or((Number::Int(0), start), |stop| (start, stop));
    let (step, dtype) = (step.unwrap_or(Number::Int(1)), dtype.map_or(DType::F32, |d| d.0));
    // Integers of an integer type are counted as integers, floats as floats.
    let number = |n: Number| if dtype.is_int() { n.whole() } else { Number::Float(n.as_f64()) };
    let list = made(|| create::arange(number(start), number(stop), number(step), dtype))?;
    crate::convert::check_size(list.like().shape(), "arange")?;
    Ok(list)
}

/// `num` numbers at equal distances, both ends among them; float32 unless a dtype is given.
///
/// >>> linspace(0, 1, 5)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (start, stop, num=50, *, dtype=None))]
fn linspace(
    #[pyo3(from_py_with = of::<names::linspace, f64>)] start: f64,
    #[pyo3(from_py_with = of::<names::linspace, f64>)] stop: f64,
    #[pyo3(from_py_with = of::<names::linspace, isize>)] num: isize,
    dtype: Option<Dt>,
) -> PyResult<PyTensor> {
    let num = count("linspace: num", num)?;
    crate::convert::check_size(&[num], "linspace")?;
    made(|| create::linspace(start, stop, num, true, dtype.map_or(DType::F32, |d| d.0)))
}

/// Ones on the k-th diagonal of n × m zeros; m is n unless given.
///
/// >>> eye(2, 3, 1)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (n, m=None, k=0, *, dtype=None))]
fn eye(
    #[pyo3(from_py_with = of::<names::eye, isize>)] n: isize,
    #[pyo3(from_py_with = of::<names::eye, Option<isize>>)] m: Option<isize>,
    #[pyo3(from_py_with = of::<names::eye, isize>)] k: isize,
    dtype: Option<Dt>,
) -> PyResult<PyTensor> {
    let (n, m) = (count("eye: n", n)?, count("eye: m", m.unwrap_or(n))?);
    crate::convert::check_size(&[n, m], "eye")?;
    made(|| create::eye(n, m, k, dtype.map_or(DType::F32, |d| d.0)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    sections! { m;
        "Making tensors": tensor zeros ones full arange linspace eye asarray;
        "Tensors like others": zeros_like ones_like;
    }
    Ok(())
}
