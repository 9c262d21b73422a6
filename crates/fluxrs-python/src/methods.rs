//! Reductions, views and products: each is a method of Tensor and a function of the module.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::arguments::{names, of};
use crate::convert::{Axes, argument, indices, integers};
use crate::reference;
use crate::tensor::{PyTensor, made};
use fluxrs::Tensor;
use fluxrs::ops::along::take_along_axis as along;
use fluxrs::ops::reduce::Reduction;
use fluxrs::ops::{activations, compose, index, linalg, products};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Defines ops once, by section of the reference page: as a method, and as a function that takes anything that can be an array.
macro_rules! ops {
    ($($title:literal {
        $($(#[doc = $doc:literal])* $name:ident($x:ident $(, $arg:ident: $ty:ty $(= [$($default:tt)+])?)*) $body:block)*
    })*) => {
        names! { $($($name)*)* }

        #[pymethods]

        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            $($($(#[doc = $doc])*
            #[pyo3(signature = ($($arg $(= $($default)+)?),*))]
            fn $name(&self, py: Python<'_> $(, #[pyo3(from_py_with = of::<names::$name, $ty>)] $arg: $ty)*) -> PyResult<PyTensor> {
                let $x = &*self.value(py)?;
                made(|| $body)
            })*)*
        }

        mod functions {
            use super::*;

            $($($(#[doc = $doc])*
            #[pyfunction(crate = "crate::keywords")]
            #[pyo3(signature = ($x $(, $arg $(= $($default)+)?)*))]
            pub fn $name(
                $x: &Bound<'_, PyAny>
                $(, #[pyo3(from_py_with = of::<names::$name, $ty>)] $arg: $ty)*
            ) -> PyResult<PyTensor> {
                let $x = &*argument($x)?;
                made(|| $body)
            })*)*
        }

        fn register_ops(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $($(reference::add(m, $title, wrap_pyfunction!(functions::$name, m)?)?;)*)*
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
        true => std::borrow::Cow::Owned(x.cast(fluxrs::ops::apply::common_dtype(&[x]))),
        false => std::borrow::Cow::Borrowed(x),
    }
}

ops! {
    "Reductions" {
        /// Σ x over some axes, or all. Integers and bools are added up as int64.
        ///
        /// The axes of `axis` are gone from the result, or have length 1 with `keepdims`.
        /// >>> fluxrs.sum([[1, 2], [3, 4]], axis=0)
        sum(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).sum(list(&axis), keepdims) }
        /// Π x over some axes, or all. Its gradient is right where an element is 0 too.
        ///
        /// The axes of `axis` are gone from the result, or have length 1 with `keepdims`.
        /// >>> prod([[1, 2], [3, 4]], axis=1)
        prod(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).reduce(Reduction::Prod, list(&axis), keepdims) }
        /// Σ x / n over the n elements of some axes, or of all. Integers are taken as float32.
        ///
        /// >>> mean([[1, 2], [3, 4]], axis=0, keepdims=True)
        mean(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).mean(list(&axis), keepdims) }
        /// The largest element along some axes, or of all; NaN if one is. Equal ones share the gradient.
        ///
        /// Raises ValueError over an axis of length 0.
        /// >>> fluxrs.max([[1, 5], [3, 4]], axis=1)
        max(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).reduce(Reduction::Max, list(&axis), keepdims) }
        /// The smallest element along some axes, or of all; NaN if one is. Equal ones share the gradient.
        ///
        /// Raises ValueError over an axis of length 0.
        /// >>> fluxrs.min([[1, 5], [3, 4]])
        min(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).reduce(Reduction::Min, list(&axis), keepdims) }
        /// True if any element is true, along some axes or of all.
        ///
        /// >>> fluxrs.any([[0, 0], [3, 4]], axis=1)
        any(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).reduce(Reduction::Any, list(&axis), keepdims) }
        /// True if all elements are true, along some axes or of all.
        ///
        /// >>> fluxrs.all([[0, 1], [3, 4]], axis=1)
        all(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).reduce(Reduction::All, list(&axis), keepdims) }
        /// The variance, Σ (x − mean)² / (n − ddof), over some axes or all; corrected (`ddof` 1) as in Flux.
        ///
        /// `np.var(t)` keeps NumPy's `ddof`, 0.
        /// >>> var([1, 2, 3, 4])
        var(x, axis: Option<Axes> = [None], ddof: f64 = [1.0], keepdims: bool = [false]) { plain(x).var(list(&axis), ddof, keepdims) }
        /// The standard deviation, √(Σ (x − mean)² / (n − ddof)), over some axes or all; corrected (`ddof` 1) as in Flux.
        ///
        /// `np.std(t)` keeps NumPy's `ddof`, 0.
        /// >>> std([[1, 2], [3, 5]], axis=0, ddof=0)
        std(x, axis: Option<Axes> = [None], ddof: f64 = [1.0], keepdims: bool = [false]) { plain(x).std(list(&axis), ddof, keepdims) }
        /// log Σ eˣ over some axes, or all, without overflow.
        ///
        /// >>> logsumexp([1000, 1000])
        logsumexp(x, axis: Option<Axes> = [None], keepdims: bool = [false]) { plain(x).logsumexp(list(&axis), keepdims) }
        /// eˣ / Σ eˣ along an axis, without overflow.
        ///
        /// >>> softmax([[0, 0], [1000, 0]])
        softmax(x, axis: isize = [-1]) { x.softmax(axis) }
        /// x − log Σ eˣ along an axis: log softmax(x), without overflow.
        ///
        /// >>> logsoftmax([0, 0])
        logsoftmax(x, axis: isize = [-1]) { x.logsoftmax(axis) }
        /// (Σ |x|ᵖ)^(1/p) over some axes, or all. Its gradient at 0 is 0.
        ///
        /// >>> norm([[3, 4], [6, 8]], axis=1)
        norm(x, p: f64 = [2.0], axis: Option<Axes> = [None], keepdims: bool = [false]) { products::norm(&plain(x), p, list(&axis), keepdims) }
    }

    "Shapes" {
        /// Moves an axis to another place; the others keep their order.
        ///
        /// >>> moveaxis(zeros(2, 3, 4), 0, -1).shape
        moveaxis(x, source: isize, destination: isize) { plain(x).moveaxis(source, destination) }
        /// Exchanges two axes.
        ///
        /// >>> swapaxes(zeros(2, 3, 4), 0, 2).shape
        swapaxes(x, axis1: isize, axis2: isize) { plain(x).swapaxes(axis1, axis2) }
        /// New axes of length 1, at these places of the result.
        ///
        /// >>> expand_dims(zeros(3), (0, 2)).shape
        expand_dims(x, axis: Axes) { plain(x).expand_dims(&axis.0) }
        /// Without the axes of length 1, or without those of them that `axis` names.
        ///
        /// Raises DimensionMismatch if a named axis is longer.
        /// >>> squeeze(zeros(1, 3, 1)).shape
        squeeze(x, axis: Option<Axes> = [None]) { plain(x).squeeze(list(&axis)) }
        /// The elements in reverse order along some axes, or all.
        ///
        /// >>> flip([[1, 2], [3, 4]], axis=1)
        flip(x, axis: Option<Axes> = [None]) { plain(x).flip(list(&axis)) }
        /// The diagonal, `offset` places above the main one, over two axes: the last axis of the result.
        ///
        /// >>> diagonal([[1, 2], [3, 4]])
        diagonal(x, offset: isize = [0], axis1: isize = [0], axis2: isize = [1]) { plain(x).diagonal(offset, axis1, axis2) }
        /// All elements along one axis.
        ///
        /// >>> ravel([[1, 2], [3, 4]])
        ravel(x) { Ok(x.ravel()) }
        /// Every element `repeats` times along an axis; without an axis, of all elements in a row.
        ///
        /// >>> repeat([[1, 2], [3, 4]], 2, axis=1)
        repeat(x, repeats: isize, axis: Option<isize> = [None]) {
            let repeats = crate::convert::count("repeat: repeats", repeats).map_err(crate::error::raised)?;
            match axis {
                Some(axis) => plain(x).repeat(repeats, axis),
                None => plain(x).reshape(&[-1])?.repeat(repeats, 0),
            }
        }
        /// The whole tensor repeated along its axes, so many times along each; more numbers than axes make new ones in front.
        ///
        /// >>> tile([1, 2], (2, 2))
        tile(x, reps: Axes) {
            if let Some(bad) = reps.0.iter().find(|&&n| n < 0) {
                fluxrs::bail!(Value, "tile: repetitions must be >= 0, got {bad}");
            }
            plain(x).tile(&reps.0.iter().map(|&n| n as usize).collect::<Vec<_>>())
        }
        /// The elements shifted along some axes, or in a row; those that fall off come in at the other end.
        ///
        /// >>> roll([1, 2, 3, 4], 1)
        roll(x, shift: Axes, axis: Option<Axes> = [None]) { plain(x).roll(&shift.0, list(&axis)) }
    }

    "Elements and order" {
        /// x between two bounds; None leaves a side open. At a bound the gradient is x's.
        ///
        /// >>> clip([-2, 0, 2], -1, 1)
        clip(x, low: Option<&Bound<'_, PyAny>> = [None], high: Option<&Bound<'_, PyAny>> = [None]) {
            let beside = |b| crate::convert::beside("clip", x, b);
            let bound = |b: Option<_>| b.map(|b| beside(b).map_err(crate::error::raised)).transpose();
            compose::clip(x, bound(low)?.as_deref(), bound(high)?.as_deref())
        }
        /// The elements at `indices` along an axis, which the axes of `indices` replace; without an axis, of all elements in a row.
        ///
        /// Negative indices count from the end. Raises IndexError for one that is out of range, when it is evaluated.
        /// >>> take([[1, 2, 3], [4, 5, 6]], [2, 0], axis=1)
        take(x, indices: &Bound<'_, PyAny>, axis: Option<isize> = [None]) {
            let at = self::indices(indices).map_err(crate::error::raised)?;
            match axis {
                Some(axis) => index::take(&plain(x), &at, axis),
                None => index::take(&plain(x).reshape(&[-1])?, &at, 0),
            }
        }
        /// Elements by their index along an axis, with one index for each result; the other axes broadcast. With `axis` None both
        /// are taken in a row.
        ///
        /// Negative indices count from the end. Raises IndexError for one that is out of range, when it is evaluated.
        /// >>> take_along_axis([[1, 2, 3], [4, 5, 6]], [[2], [0]], axis=1)
        take_along_axis(x, indices: &Bound<'_, PyAny>, axis: Option<isize>) {
            let at = self::indices(indices).map_err(crate::error::raised)?;
            along(&plain(x), &at, axis)
        }
        /// The sums of the elements up to each, yᵢ = yᵢ₋₁ + xᵢ, along an axis; without one, of all elements in a row.
        ///
        /// Integers and bools are added up as int64.
        /// >>> cumsum([[1, 2], [3, 4]], axis=0)
        cumsum(x, axis: Option<isize> = [None]) { plain(x).cumsum(axis) }
        /// The products of the elements up to each, yᵢ = yᵢ₋₁ · xᵢ, along an axis; without one, of all elements in a row.
        ///
        /// Its gradient is right where an element is 0 too.
        /// >>> cumprod([1, 2, 3, 4])
        cumprod(x, axis: Option<isize> = [None]) { plain(x).cumprod(axis) }
        /// The elements in increasing order along an axis (with None, of all in a row), NaN last.
        ///
        /// >>> sort([3, 1, 2])
        sort(x, axis: Option<isize> = [Some(-1)]) { plain(x).sort(axis) }
        /// The indices that would sort the elements along an axis (with None, of all in a row), as int64; equal elements keep their
        /// order, NaN is last.
        ///
        /// >>> argsort([3, 1, 2])
        argsort(x, axis: Option<isize> = [Some(-1)]) { plain(x).argsort(axis) }
        /// The index of the largest element along an axis, or of all elements in a row, as int64; of equal ones the first, NaN
        /// before all.
        ///
        /// Raises ValueError over an axis of length 0.
        /// >>> argmax([[1, 5], [3, 2]], axis=1)
        argmax(x, axis: Option<isize> = [None], keepdims: bool = [false]) { plain(x).argmax(axis, keepdims) }
        /// The index of the smallest element along an axis, or of all elements in a row, as int64; of equal ones the first, NaN
        /// before all.
        ///
        /// Raises ValueError over an axis of length 0.
        /// >>> argmin([[1, 5], [3, 2]])
        argmin(x, axis: Option<isize> = [None], keepdims: bool = [false]) { plain(x).argmin(axis, keepdims) }
    }

    "Linear algebra" {
        /// The inverse of a square matrix, or of each of a stack of them: (…, n, n) to (…, n, n).
        ///
        /// Raises ValueError for a singular matrix, when it is evaluated.
        /// >>> inv([[2, 0], [0, 4]])
        inv(x) { linalg::inverse(&plain(x)) }
        /// The determinant of a square matrix, or of each of a stack of them: (…, n, n) to (…).
        ///
        /// >>> det([[1, 2], [3, 4]])
        det(x) { linalg::det(&plain(x)) }
    }

    "Products" {
        /// The sum of the diagonal, `offset` places above the main one, over the first two axes.
        ///
        /// >>> trace([[1, 2], [3, 4]])
        trace(x, offset: isize = [0]) { products::trace(&plain(x), offset) }
        /// A matrix with the vector on its k-th diagonal, zeros elsewhere.
        ///
        /// >>> diagm([1, 2], k=1)
        diagm(x, k: isize = [0]) { products::diagm(&plain(x), k) }
    }

    "Activations" {
        /// log sigmoid(x) = −log(1 + e⁻ˣ), for any x.
        ///
        /// >>> logsigmoid([-1000, 0])
        logsigmoid(x) { activations::logsigmoid(x) }
        /// x Φ(x) ≈ x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). Source: arXiv 1606.08415.
        ///
        /// >>> gelu([-1, 0, 1])
        gelu(x) { activations::gelu(x) }
        /// x Φ(x), with Φ the distribution function of the normal distribution. Source: arXiv 1606.08415.
        ///
        /// >>> gelu_erf([-1, 0, 1])
        gelu_erf(x) { activations::gelu_erf(x) }
        /// a · σ(b), with a and b the halves of an axis. Source: arXiv 1612.08083.
        ///
        /// Raises DimensionMismatch for an axis of odd length.
        /// >>> glu([[1, 2, 0, 1000]])
        glu(x, axis: isize = [-1]) { activations::glu(&plain(x), axis) }
        /// λ · elu(x, α), with λ ≈ 1.0507 and α ≈ 1.6733. Source: arXiv 1706.02515.
        ///
        /// >>> selu([-1, 0, 1])
        selu(x) { activations::selu(x) }
    }
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

/// Methods that take a shape as one tuple or length by length.
macro_rules! shaped {
    ($($(#[doc = $doc:literal])* $name:ident = $f:ident($rest:ident);)*) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
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
            #[pyfunction(crate = "crate::keywords")]
            #[pyo3(signature = (x, *$rest))]
            pub fn $name(x: &Bound<'_, PyAny>, $rest: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
                $f(&*argument(x)?, $rest)
            })*
        }

        fn register_shaped(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $(reference::add(m, "Shapes", wrap_pyfunction!(shaped_functions::$name, m)?)?;)*
            Ok(())
        }
    };
}

shaped! {
    /// The same elements in the same order under another shape, `(2, 3)` or `2, 3`; one length may be −1: what is left for it.
    ///
    /// Raises DimensionMismatch if the numbers of elements differ.
    /// >>> reshape([1, 2, 3, 4], (2, -1))
    reshape = reshaped(shape);
    /// The axes in another order, `(1, 0)` or `1, 0`, or reversed.
    ///
    /// >>> transpose(zeros(2, 3, 4), 1, 0, 2).shape
    transpose = transposed(axes);
    /// The tensor broadcast to a shape, `(2, 3)` or `2, 3`: axes of length 1, and those that it lacks in front, are repeated.
    ///
    /// Raises DimensionMismatch if it does not fit.
    /// >>> broadcast_to([1, 2], (2, 2))
    broadcast_to = broadcasted(shape);
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
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
