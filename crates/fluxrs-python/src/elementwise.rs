//! Every entry of the op table as a method of Tensor and as a function of the module.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::convert::{arguments, operands};
use crate::reference;
use crate::tensor::{PyTensor, made};
use fluxrs::{Elementwise, Tensor, elementwise_table};
use pyo3::prelude::*;

pub fn unary(py: Python<'_>, op: Elementwise, x: &PyTensor) -> PyResult<PyTensor> {
    let x = x.value(py)?;
    made(|| op.apply(&[&x]))
}

/// `op(x, y)` with tensors or numbers; None if one of them is neither, nor an array.
pub fn binary(op: Elementwise, x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> PyResult<Option<PyTensor>> {
    let Some([x, y]) = operands(x, y)? else { return Ok(None) };
    made(|| op.apply(&[&x, &y])).map(Some)
}

/// An activation with a slope, which may be left out.
fn sloped(op: Elementwise, x: &Bound<'_, PyAny>, slope: Option<&Bound<'_, PyAny>>, usual: f64) -> PyResult<PyTensor> {
    let Some(slope) = slope else {
        let [x] = arguments([x])?;
        return made(|| op.apply(&[&x, &Tensor::number(usual)]));
    };
    let [x, slope] = arguments([x, slope])?;
    made(|| op.apply(&[&x, &slope]))
}

/// The section of these functions, which the reference page divides by their classes.
const ELEMENTWISE: &str = "Elementwise";

/// A method and a function for one entry.
macro_rules! entry {
    // The slopes have their usual values.
    ($doc:literal leakyrelu($x:ident, $y:ident)) => {
        entry!(@slope $doc leakyrelu $x $y 0.01);
    };
    ($doc:literal elu($x:ident, $y:ident)) => {
        entry!(@slope $doc elu $x $y 1.0);
    };
    ($doc:literal celu($x:ident, $y:ident)) => {
        entry!(@slope $doc celu $x $y 1.0);
    };
    (@slope $doc:literal $name:ident $x:ident $y:ident $default:literal) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            #[doc = $doc]
            #[pyo3(signature = ($y=None))]
            fn $name(slf: &Bound<'_, Self>, $y: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
                sloped(Elementwise::$name, slf.as_any(), $y, $default)
            }
        }

        #[doc = $doc]
        #[pyfunction(crate = "crate::keywords")]
        #[pyo3(signature = ($x, $y=None))]
        fn $name($x: &Bound<'_, PyAny>, $y: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
            sloped(Elementwise::$name, $x, $y, $default)
        }
    };
    ($doc:literal $name:ident($x:ident)) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            #[doc = $doc]
            fn $name(&self, py: Python<'_>) -> PyResult<PyTensor> {
                unary(py, Elementwise::$name, self)
            }
        }

        #[doc = $doc]
        #[pyfunction(crate = "crate::keywords")]
        fn $name($x: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
            let [x] = arguments([$x])?;
            made(|| Elementwise::$name.apply(&[&x]))
        }
    };
    ($doc:literal $name:ident($x:ident $(, $rest:ident)*)) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            #[doc = $doc]
            fn $name(slf: &Bound<'_, Self> $(, $rest: &Bound<'_, PyAny>)*) -> PyResult<PyTensor> {
                let [$x $(, $rest)*] = arguments([slf.as_any() $(, $rest)*])?;
                made(|| Elementwise::$name.apply(&[&$x $(, &$rest)*]))
            }
        }

        #[doc = $doc]
        #[pyfunction(crate = "crate::keywords")]
        fn $name($x: &Bound<'_, PyAny> $(, $rest: &Bound<'_, PyAny>)*) -> PyResult<PyTensor> {
            let [$x $(, $rest)*] = arguments([$x $(, $rest)*])?;
            made(|| Elementwise::$name.apply(&[&$x $(, &$rest)*]))
        }
    };
}

macro_rules! define {
    ($(#[doc = $doc:literal] $name:ident($($x:ident),*): $class:ident $record:tt)*) => {
        $(entry!($doc $name($($x),*));)*

        pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $(reference::add(m, ELEMENTWISE, wrap_pyfunction!($name, m)?)?;)*
            Ok(())
        }
    };
}

elementwise_table!(define);
