//! Every entry of the op table as a method of Tensor and as a function of the module.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::convert::{argument, operand};
use crate::tensor::{PyTensor, made};
use fluxrs::{Elementwise, Tensor, elementwise_table};
use pyo3::prelude::*;

pub fn unary(py: Python<'_>, op: Elementwise, x: &PyTensor) -> PyResult<PyTensor> {
    let x = x.value(py)?;
    made(|| op.apply(&[&x]))
}

/// `op(x, y)` with tensors or numbers; None if one of them is neither, nor an array.
pub fn binary(op: Elementwise, x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> PyResult<Option<PyTensor>> {
    let (Some(x), Some(y)) = (operand(x)?, operand(y)?) else { return Ok(None) };
    made(|| op.apply(&[&x, &y])).map(Some)
}

/// What the table's op does, but for what Python knows better: a power with a small whole exponent is a product.
pub fn apply(op: Elementwise, xs: &[&Tensor]) -> fluxrs::Result<Tensor> {
    op.apply(xs)
}

macro_rules! define {
    ($(#[doc = $doc:literal] $name:ident($x:ident $(, $rest:ident)*): $class:ident $record:tt)*) => {
        #[pymethods]
        impl PyTensor {
            $(#[doc = $doc]
            fn $name(slf: &Bound<'_, Self> $(, $rest: &Bound<'_, PyAny>)*) -> PyResult<PyTensor> {
                let $x = slf.get().value(slf.py())?;
                $(let $rest = argument($rest)?;)*
                made(|| apply(Elementwise::$name, &[&$x $(, &$rest)*]))
            })*
        }

        /// The functions of the module.
        mod functions {
            use super::*;

            $(#[doc = $doc]
            #[pyfunction]
            pub fn $name($x: &Bound<'_, PyAny> $(, $rest: &Bound<'_, PyAny>)*) -> PyResult<PyTensor> {
                let $x = argument($x)?;
                $(let $rest = argument($rest)?;)*
                made(|| apply(Elementwise::$name, &[&$x $(, &$rest)*]))
            })*
        }

        pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $(m.add_function(wrap_pyfunction!(functions::$name, m)?)?;)*
            Ok(())
        }
    };
}

elementwise_table!(define);
