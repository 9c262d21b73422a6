//! Functions of several tensors: joined, split, multiplied.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::convert::{
    Axes, argument, arguments, beside, count, is_numpy_scalar, meet, named, number, settle, strong, strong_beside,
};
use crate::error::{core, shown};
use crate::lists::{collected, yielded};
use crate::reference::{self, sections};
use crate::tensor::{PyTensor, Value, Values, made, made_or_none, result};
use fluxrs::ops::{compose, einsum as contraction, linalg, place, products};
use fluxrs::shape::MOST_AXES;
use fluxrs::{Number, Tensor};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

fn tensors(xs: &Bound<'_, PyAny>, op: &str) -> PyResult<Values> {
    if xs.is_instance_of::<PyTensor>() {
        let x = argument(xs)?;
        if x.ndim() == 0 {
            return Err(PyTypeError::new_err(format!("{op} takes a list of tensors")));
        }
        let n = x.shape()[0];
        if n > place::MOST_PARTS {
            return Err(PyValueError::new_err(format!(
                "{op}: the rows of a tensor, {n} of them; at most {} are possible",
                place::MOST_PARTS
            )));
        }
        return (0..n).map(|i| core(|| Ok(Value::Owned(x.row(i))))).collect();
    }
    let list = xs.try_iter().map_err(|_| PyTypeError::new_err(format!("{op} takes a list of tensors, got {}", shown(xs))))?;
    let items = collected(op, &list, place::MOST_PARTS)?;
    let own = |x| Ok(yielded(&x)?.unwrap_or(x));
    several(op, &items.into_iter().map(own).collect::<PyResult<Vec<_>>>()?)
}

/// Items with types of their own, on one device.
fn several(op: &str, items: &[Bound<'_, PyAny>]) -> PyResult<Values> {
    let mut xs: Vec<Value<'_>> = Vec::with_capacity(items.len());
    let mut first: HashMap<usize, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        let x = match first.entry(item.as_ptr() as usize) {
            Entry::Occupied(known) => xs[*known.get()].again(),
            Entry::Vacant(place) => {
                place.insert(i);
                match number(item)? {
                    Some(n) if !is_numpy_scalar(item)? => Value::Owned(Tensor::number(n)),
                    _ => strong(item)?,
                }
            }
        };
        xs.push(x);
    }
    let objects: Vec<_> = items.iter().collect();
    let met = meet(&objects, &mut xs)?;
    for (item, x) in items.iter().zip(&mut xs).filter(|(_, x)| x.is_number()) {
        *x = strong_beside(op, item, met)?;
    }
    settle(&objects, &mut xs)?;
    Ok(xs.into_iter().collect())
}

/// x @ W.T + b for tensors of one type that fit; None if something is to be converted, or to be said.
#[pyfunction(crate = "crate::keywords")]
#[allow(non_snake_case)]
fn affine(py: Python<'_>, x: &Bound<'_, PyAny>, W: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<Option<PyTensor>> {
    let (Ok(x), Ok(w), Ok(b)) = (x.cast::<PyTensor>(), W.cast::<PyTensor>(), b.cast::<PyTensor>()) else { return Ok(None) };
    let (x, w, b) = (x.get().value(py)?, w.get().value(py)?, b.get().value(py)?);
    made_or_none(|| compose::affine(&x, &w, &b))
}

/// Σ (x − y)² / n for two results of ops that fit; None if something is to be converted, or to be said.
#[pyfunction(crate = "crate::keywords")]
fn squared_error(x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> PyResult<Option<PyTensor>> {
    let (Some(x), Some(y)) = (result(x), result(y)) else { return Ok(None) };
    made_or_none(|| compose::squared_error(x, y))
}

/// Tensors one after the other along an axis; their other axes are equally long.
///
/// Raises DimensionMismatch if they are not.
/// >>> concatenate([[1, 2], [3]])
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (tensors, axis=0))]
fn concatenate(tensors: &Bound<'_, PyAny>, axis: isize) -> PyResult<PyTensor> {
    let xs = self::tensors(tensors, "concatenate")?;
    made(|| place::concatenate(&xs, axis))
}

/// Tensors of one shape along a new axis.
///
/// >>> stack([[1, 2], [3, 4]], axis=1)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (tensors, axis=0))]
fn stack(tensors: &Bound<'_, PyAny>, axis: isize) -> PyResult<PyTensor> {
    let xs = self::tensors(tensors, "stack")?;
    made(|| place::stack(&xs, axis))
}

/// Tensors below each other: along the first axis, vectors as rows.
///
/// >>> vstack([[1, 2], [3, 4]])
#[pyfunction(crate = "crate::keywords")]
fn vstack(tensors: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
    let xs = self::tensors(tensors, "vstack")?;
    made(|| place::vstack(&xs))
}

/// Tensors beside each other: along the second axis, vectors one after the other.
///
/// >>> hstack([[1, 2], [3, 4]])
#[pyfunction(crate = "crate::keywords")]
fn hstack(tensors: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
    let xs = self::tensors(tensors, "hstack")?;
    made(|| place::hstack(&xs))
}

/// Parts along an axis: `parts` equal ones, or those between the positions in a list.
///
/// Raises ValueError if the axis has no so many equal parts.
/// >>> split([1, 2, 3, 4], 2)
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, parts, axis=0))]
fn split(x: &Bound<'_, PyAny>, parts: &Bound<'_, PyAny>, axis: isize) -> PyResult<Vec<PyTensor>> {
    let x = argument(x)?;
    let pieces = match parts.extract::<isize>() {
        Ok(n) => {
            let n = count("split: the number of parts", n)?;
            core(|| x.split(n, axis))?
        }
        Err(error) if error.is_instance_of::<PyOverflowError>(parts.py()) => {
            return Err(named(error, "split: the number of parts", parts));
        }
        Err(_) => {
            let at: Vec<isize> = parts.extract().map_err(|error| named(error, "split: positions", parts))?;
            let at = at.into_iter().map(|n| count("split: positions", n)).collect::<PyResult<Vec<_>>>()?;
            core(|| x.split_at(&at, axis))?
        }
    };
    Ok(pieces.into_iter().map(PyTensor::new).collect())
}

/// A border of `value` (0) around the tensor: one width, one pair (before, after), or a pair for every axis.
///
/// >>> pad([1, 2], (1, 2))
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, width, value=None))]
fn pad(x: &Bound<'_, PyAny>, width: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
    let x = argument(x)?;
    let widths: Vec<(usize, usize)> = if let Ok(n) = width.extract::<usize>() {
        vec![(n, n); x.ndim()]
    } else if let Ok(pair) = width.extract::<(usize, usize)>() {
        vec![pair; x.ndim()]
    } else {
        width.extract().map_err(|_| {
            PyValueError::new_err("pad: width must be a number, a pair (before, after), or a pair for every axis, all >= 0")
        })?
    };
    let widths = if widths.len() == 1 { vec![widths[0]; x.ndim()] } else { widths };
    let value = match value {
        Some(v) => number(v)?.ok_or_else(|| PyTypeError::new_err("pad: value must be a number"))?,
        None => Number::Int(0),
    };
    made(|| x.pad(&widths, value))
}

fn pair(
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    f: impl FnOnce(&Tensor, &Tensor) -> fluxrs::Result<Tensor>,
) -> PyResult<PyTensor> {
    let [x, y] = arguments([x, y])?;
    made(|| f(&x, &y))
}

/// Functions of two tensors that are methods of the first one too.
macro_rules! pairs {
    ($($title:literal { $($(#[doc = $doc:literal])* $name:ident = $f:expr;)* })*) => {
        mod functions {
            use super::*;

            $($($(#[doc = $doc])*
            #[pyfunction(crate = "crate::keywords")]
            pub fn $name(x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
                pair(x, y, $f)
            })*)*
        }

        #[pymethods]

        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            $($($(#[doc = $doc])*
            fn $name(slf: &Bound<'_, Self>, y: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
                pair(slf.as_any(), y, $f)
            })*)*
        }

        fn register_pairs(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $($(reference::add(m, $title, wrap_pyfunction!(functions::$name, m)?)?;)*)*
            Ok(())
        }
    };
}

pairs! {
    "Products" {
        /// The product of matrices, zᵢⱼ = Σₖ xᵢₖ yₖⱼ: (…, m, k) by (…, k, n) to (…, m, n). Vectors are rows on the left and columns
        /// on the right, leading axes broadcast. `x @ y` is the same.
        ///
        /// Raises DimensionMismatch if the inner lengths differ.
        /// >>> matmul([[1, 2], [3, 4]], [1, 1])
        matmul = fluxrs::ops::matmul::matmul;
        /// Σ xᵢ yᵢ of two vectors, as a number; of other tensors NumPy's dot: over the last axis of `x` and the last but one of `y`.
        ///
        /// >>> dot([1, 2], [3, 4])
        dot = products::dot;
        /// All products of an element of `x` and one of `y`, zᵢⱼ = xᵢ yⱼ: a matrix.
        ///
        /// >>> outer([1, 2], [3, 4])
        outer = products::outer;
        /// The sum of the products of all elements of `x`, in a row, with those of `y`.
        ///
        /// >>> vdot([[1, 2], [3, 4]], [[1, 1], [1, 1]])
        vdot = products::vdot;
        /// The Kronecker product: every element of `x` times all of `y`.
        ///
        /// >>> kron([1, 10], [1, 2])
        kron = products::kron;
    }

    "Linear algebra" {
        /// The z with x z = y, for a square matrix `x` (Flux's x \\ y): (…, n, n) and (…, n, k) to (…, n, k). A vector `y` is one
        /// column.
        ///
        /// Raises ValueError for a singular matrix, when it is evaluated.
        /// >>> solve([[2, 0], [0, 4]], [2, 2])
        solve = linalg::solve;
        /// The z with x z = y: the same as `solve`.
        ///
        /// >>> ldivide([[2, 0], [0, 4]], [2, 2])
        ldivide = linalg::solve;
        /// The z with z y = x, for a square matrix `y` (Flux's x / y).
        ///
        /// Raises ValueError for a singular matrix, when it is evaluated.
        /// >>> rdivide([2, 2], [[2, 0], [0, 4]])
        rdivide = linalg::rdivide;
    }
}

/// Sums of products by Einstein's convention: each letter is an axis, and those that the result does not name are summed over.
///
/// >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (spec, *xs))]
fn einsum(spec: &str, xs: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
    let xs = several("einsum", &xs.iter().collect::<Vec<_>>())?;
    made(|| contraction::einsum(spec, &xs))
}

/// Products of tensors summed over `axes`: a number of axes (2), last of `x` and first of `y`, or a pair of lists of axes.
///
/// >>> tensordot(ones(2, 3, 4), ones(4, 3), axes=([1, 2], [1, 0]))
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (x, y, axes=None))]
fn tensordot(x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>, axes: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
    let (a, b) = match axes.map(|a| a.extract::<(Axes, Axes)>()) {
        Some(Ok((a, b))) => (a.0.to_vec(), b.0.to_vec()),
        _ => {
            let n: isize = axes.map_or(Ok(2), |a| a.extract().map_err(|error| named(error, "tensordot: axes", a)))?;
            if !(0..=MOST_AXES as isize).contains(&n) {
                return Err(PyValueError::new_err(format!(
                    "tensordot: axes must be a number of axes or a pair of lists of them, got {n}"
                )));
            }
            ((-n..0).collect(), (0..n).collect())
        }
    };
    pair(x, y, |x, y| products::tensordot(x, y, &a, &b))
}

/// Means of values, softmax(scale · q kᵀ + mask) v: queries (…, t, d), keys (…, s, d) and values (…, s, e) to (…, t, e).
///
/// The leading axes broadcast; `scale` is 1/√d unless given. A mask broadcasts to (…, t, s): truth values say which keys a query
/// sees, numbers are added. With `causal` the last query sees every key, the one before it one key less, and so on. A query that
/// sees nothing gives zeros. The scores are there for some rows at a time only. Source: arXiv 1706.03762, 2205.14135.
///
/// Raises DimensionMismatch if the shapes do not fit.
/// >>> attention([[0, 0]], [[1, 2], [3, 4]], [[1, 1], [3, 5]])
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (q, k, v, mask=None, causal=false, *, scale=None))]
fn attention(
    q: &Bound<'_, PyAny>,
    k: &Bound<'_, PyAny>,
    v: &Bound<'_, PyAny>,
    mask: Option<&Bound<'_, PyAny>>,
    causal: bool,
    scale: Option<f64>,
) -> PyResult<PyTensor> {
    let [q, k, v] = arguments([q, k, v])?;
    let mask = mask.map(|mask| beside("attention", &q, mask)).transpose()?;
    made(|| fluxrs::ops::attention::attention(&q, &k, &v, mask.as_deref(), causal, scale))
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// Parts along an axis: `parts` equal ones, or those between the positions in a list.
    #[pyo3(name = "split", signature = (parts, axis=0))]
    fn split_method(slf: &Bound<'_, Self>, parts: &Bound<'_, PyAny>, axis: isize) -> PyResult<Vec<PyTensor>> {
        split(slf.as_any(), parts, axis)
    }

    /// A border of `value` around the tensor: one width, one pair (before, after), or a pair for every axis.
    #[pyo3(name = "pad", signature = (width, value=None))]
    fn pad_method(slf: &Bound<'_, Self>, width: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
        pad(slf.as_any(), width, value)
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    register_pairs(m)?;
    m.add_function(wrap_pyfunction!(affine, m)?)?;
    m.add_function(wrap_pyfunction!(squared_error, m)?)?;
    sections! { m;
        "Joins and parts": concatenate stack vstack hstack split pad;
        "Products": einsum tensordot attention;
    }
    Ok(())
}
