//! Reductions, views and products: each is a method of Tensor and a function of the module.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::arguments::{names, of};
use crate::convert::{Axes, argument, indices, integers};
use crate::tensor::{PyTensor, made};
use fluxrs::Tensor;
use fluxrs::ops::reduce::Kind;
use fluxrs::ops::sort::take_along_axis as along;
use fluxrs::ops::{activations, compose, index, linalg, products};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Defines ops once: as a method, and as a function that takes anything that can be an array.
macro_rules! ops {
    ($($(#[doc = $doc:literal])* $name:ident($x:ident $(, $arg:ident: $ty:ty $(= $default:expr)?)*) $body:block)*) => {
        names! { $($name)* }

        #[pymethods]
        impl PyTensor {
            $($(#[doc = $doc])*
            #[pyo3(signature = ($($arg $(= $default)?),*))]
            fn $name(&self, py: Python<'_> $(, #[pyo3(from_py_with = of::<names::$name, $ty>)] $arg: $ty)*) -> PyResult<PyTensor> {
                let $x = &*self.value(py)?;
                made(|| $body)
            })*
        }

        mod functions {
            use super::*;

            $($(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = ($x $(, $arg $(= $default)?)*))]
            pub fn $name(
                $x: &Bound<'_, PyAny>
                $(, #[pyo3(from_py_with = of::<names::$name, $ty>)] $arg: $ty)*
            ) -> PyResult<PyTensor> {
                let $x = &*argument($x)?;
                made(|| $body)
            })*
        }

        fn register_ops(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $(m.add_function(wrap_pyfunction!(functions::$name, m)?)?;)*
            Ok(())
        }
    };
}

fn list(axis: &Option<Axes>) -> Option<&[isize]> {
    axis.as_ref().map(|a| &a.0[..])
}

/// A bare number as a 0-d tensor.
pub fn plain(x: &Tensor) -> std::borrow::Cow<'_, Tensor> {
    match x.is_number() {
        true => std::borrow::Cow::Owned(x.cast(fluxrs::ops::elementwise::common_dtype(&[x]))),
        false => std::borrow::Cow::Borrowed(x),
    }
}

ops! {
    /// The sum over some axes, or all.
    sum(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).sum(list(&axis), keepdims) }
    /// The product over some axes, or all.
    prod(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).reduce(Kind::Prod, list(&axis), keepdims) }
    /// The mean over some axes, or all.
    mean(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).mean(list(&axis), keepdims) }
    /// The largest element along some axes, or of all; NaN if one is.
    max(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).reduce(Kind::Max, list(&axis), keepdims) }
    /// The smallest element along some axes, or of all; NaN if one is.
    min(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).reduce(Kind::Min, list(&axis), keepdims) }
    /// Whether any element is true.
    any(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).reduce(Kind::Any, list(&axis), keepdims) }
    /// Whether all elements are true.
    all(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).reduce(Kind::All, list(&axis), keepdims) }
    /// The variance, Σ (x − mean)² / (n − ddof); corrected (ddof 1) as in Flux.
    var(x, axis: Option<Axes> = None, ddof: f64 = 1.0, keepdims: bool = false) { plain(x).var(list(&axis), ddof, keepdims) }
    /// The standard deviation, √(Σ (x − mean)² / (n − ddof)); corrected (ddof 1) as in Flux.
    std(x, axis: Option<Axes> = None, ddof: f64 = 1.0, keepdims: bool = false) { plain(x).std(list(&axis), ddof, keepdims) }
    /// log Σ eˣ over some axes, or all, without overflow.
    logsumexp(x, axis: Option<Axes> = None, keepdims: bool = false) { plain(x).logsumexp(list(&axis), keepdims) }
    /// eˣ / Σ eˣ along an axis.
    softmax(x, axis: isize = -1) { x.softmax(axis) }
    /// log softmax(x) along an axis: x − log Σ eˣ.
    logsoftmax(x, axis: isize = -1) { x.logsoftmax(axis) }

    /// Moves an axis to another place.
    moveaxis(x, source: isize, destination: isize) { plain(x).moveaxis(source, destination) }
    /// Exchanges two axes.
    swapaxes(x, axis1: isize, axis2: isize) { plain(x).swapaxes(axis1, axis2) }
    /// New axes of length 1, at these places of the result.
    expand_dims(x, axis: Axes) { plain(x).expand_dims(&axis.0) }
    /// Without the axes of length 1, or these of them.
    squeeze(x, axis: Option<Axes> = None) { plain(x).squeeze(list(&axis)) }
    /// The elements in reverse order along some axes, or all.
    flip(x, axis: Option<Axes> = None) { plain(x).flip(list(&axis)) }
    /// The diagonal, `offset` places above the main one, over two axes.
    diagonal(x, offset: isize = 0, axis1: isize = 0, axis2: isize = 1) { plain(x).diagonal(offset, axis1, axis2) }
    /// All elements along one axis.
    ravel(x) { Ok(x.ravel()) }
    /// Every element `repeats` times along an axis; without an axis, of all elements in a row.
    repeat(x, repeats: isize, axis: Option<isize> = None) {
        let repeats = crate::convert::count("repeat: a number of repetitions", repeats).map_err(crate::error::raised)?;
        match axis {
            Some(axis) => plain(x).repeat(repeats, axis),
            None => plain(x).reshape(&[-1])?.repeat(repeats, 0),
        }
    }
    /// The whole tensor repeated along its axes.
    tile(x, reps: Axes) {
        if let Some(bad) = reps.0.iter().find(|&&n| n < 0) {
            fluxrs::bail!(Value, "tile: a number of repetitions is not negative, got {bad}");
        }
        plain(x).tile(&reps.0.iter().map(|&n| n as usize).collect::<Vec<_>>())
    }
    /// The elements at `indices` along an axis, which the axes of `indices` replace; without an axis, of all elements in a row.
    take(x, indices: &Bound<'_, PyAny>, axis: Option<isize> = None) {
        let at = self::indices(indices).map_err(crate::error::raised)?;
        match axis {
            Some(axis) => index::take(&plain(x), &at, axis),
            None => index::take(&plain(x).reshape(&[-1])?, &at, 0),
        }
    }
    /// x between two bounds; None leaves a side open. At a bound the gradient is x's.
    clip(x, low: Option<&Bound<'_, PyAny>> = None, high: Option<&Bound<'_, PyAny>> = None) {
        let beside = |b| crate::convert::beside("clip", x.device(), b, argument(b)?);
        let bound = |b: Option<_>| b.map(|b| beside(b).map_err(crate::error::raised)).transpose();
        compose::clip(x, bound(low)?.as_deref(), bound(high)?.as_deref())
    }

    /// The sums of the elements up to each, along an axis; without one, of all elements in a row.
    cumsum(x, axis: Option<isize> = None) { plain(x).cumsum(axis) }
    /// The products of the elements up to each, along an axis; without one, of all elements in a row.
    cumprod(x, axis: Option<isize> = None) { plain(x).cumprod(axis) }
    /// The elements in increasing order along an axis.
    sort(x, axis: Option<isize> = Some(-1)) { plain(x).sort(axis) }
    /// The indices that would sort the elements along an axis.
    argsort(x, axis: Option<isize> = Some(-1)) { plain(x).argsort(axis) }
    /// The index of the largest element along an axis, or of all elements in a row; of equal ones the first.
    argmax(x, axis: Option<isize> = None, keepdims: bool = false) { plain(x).argmax(axis, keepdims) }
    /// The index of the smallest element along an axis, or of all elements in a row; of equal ones the first.
    argmin(x, axis: Option<isize> = None, keepdims: bool = false) { plain(x).argmin(axis, keepdims) }
    /// Elements by their index along an axis, with one index for each result.
    take_along_axis(x, indices: &Bound<'_, PyAny>, axis: Option<isize>) {
        let at = self::indices(indices).map_err(crate::error::raised)?;
        along(&plain(x), &at, axis)
    }
    /// The elements shifted along axes, those that fall off coming in at the other end.
    roll(x, shift: Axes, axis: Option<Axes> = None) { plain(x).roll(&shift.0, list(&axis)) }
    /// The inverse of a square matrix, or of each of a stack of them.
    inv(x) { linalg::inverse(&plain(x)) }
    /// The determinant of a square matrix, or of each of a stack of them.
    det(x) { linalg::det(&plain(x)) }
    /// The sum of the diagonal, `offset` places above the main one.
    trace(x, offset: isize = 0) { products::trace(&plain(x), offset) }
    /// A matrix with the vector on its k-th diagonal.
    diagm(x, k: isize = 0) { products::diagm(&plain(x), k) }
    /// (Σ |x|ᵖ)^(1/p) over some axes, or all. Its gradient at 0 is 0.
    norm(x, p: f64 = 2.0, axis: Option<Axes> = None, keepdims: bool = false) { products::norm(&plain(x), p, list(&axis), keepdims) }

    /// log sigmoid(x) = −log(1 + e⁻ˣ), for any x.
    logsigmoid(x) { activations::logsigmoid(x) }
    /// x Φ(x) ≈ x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). Source: arXiv 1606.08415.
    gelu(x) { activations::gelu(x) }
    /// λ · elu(x, α), with λ ≈ 1.0507 and α ≈ 1.6733. Source: arXiv 1706.02515.
    selu(x) { activations::selu(x) }
}

fn reshaped(x: &Tensor, shape: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
    let to = integers(shape, "reshape: a shape")?;
    made(|| plain(x).reshape(&to))
}

fn transposed(x: &Tensor, axes: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
    let none = axes.is_empty() || (axes.len() == 1 && axes.get_item(0)?.is_none());
    let axes = if none { None } else { Some(integers(axes, "transpose: axes")?) };
    made(|| plain(x).transpose(axes.as_deref()))
}

fn broadcasted(x: &Tensor, shape: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
    let to = crate::convert::shape(shape, "broadcast_to")?;
    made(|| plain(x).broadcast_to(&to))
}

/// What takes a shape one length at a time as well.
macro_rules! shaped {
    ($($(#[doc = $doc:literal])* $name:ident = $f:ident($rest:ident);)*) => {
        #[pymethods]
        impl PyTensor {
            $($(#[doc = $doc])*
            #[pyo3(signature = (*$rest))]
            fn $name(&self, py: Python<'_>, $rest: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
                $f(&*self.value(py)?, $rest)
            })*
        }

        mod shaped_functions {
            use super::*;

            $($(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = (x, *$rest))]
            pub fn $name(x: &Bound<'_, PyAny>, $rest: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
                $f(&*argument(x)?, $rest)
            })*
        }

        fn register_shaped(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $(m.add_function(wrap_pyfunction!(shaped_functions::$name, m)?)?;)*
            Ok(())
        }
    };
}

shaped! {
    /// The same elements under another shape, `(2, 3)` or `2, 3`; one length may be −1.
    reshape = reshaped(shape);
    /// The axes in another order, or reversed.
    transpose = transposed(axes);
    /// The tensor broadcast to a shape.
    broadcast_to = broadcasted(shape);
}

#[pymethods]
impl PyTensor {
    /// All elements along one axis.
    fn flatten(&self, py: Python<'_>) -> PyResult<PyTensor> {
        let x = self.value(py)?;
        made(|| Ok(x.ravel()))
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    register_ops(m)?;
    register_shaped(m)
}
