//! Python's operators. An operand that is no array and no number is left to its own operators.

// Methods that a macro of ours writes trip this lint over the code PyO3 makes of them.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::convert::{number, operands};
use crate::elementwise::{binary, unary};
use crate::tensor::{PyLeaf, PyTensor, made};
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::power::{power, power_by_number};
use fluxrs::{DType, Elementwise, Tensor};
use pyo3::IntoPyObjectExt;
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyNotImplemented};

type Object<'py> = PyResult<Bound<'py, PyAny>>;

fn or_not_implemented<'py>(py: Python<'py>, result: Option<PyTensor>) -> Object<'py> {
    match result {
        Some(t) => crate::tensor::object_of(py, t),
        None => Ok(PyNotImplemented::get(py).to_owned().into_any()),
    }
}

fn operator<'py>(op: Elementwise, x: &Bound<'py, PyAny>, y: &Bound<'py, PyAny>) -> Object<'py> {
    or_not_implemented(x.py(), binary(op, x, y)?)
}

fn product<'py>(x: &Bound<'py, PyAny>, y: &Bound<'py, PyAny>) -> Object<'py> {
    let Some([a, b]) = operands(x, y)? else { return or_not_implemented(x.py(), None) };
    or_not_implemented(x.py(), Some(made(|| matmul(&a, &b))?))
}

fn to_power<'py>(x: &Bound<'py, PyAny>, y: &Bound<'py, PyAny>) -> Object<'py> {
    if let (Ok(x), true) = (x.cast::<PyTensor>(), y.is_exact_instance_of::<PyInt>())
        && let Some(n) = number(y)?
    {
        let x = x.get().value(y.py())?;
        return or_not_implemented(y.py(), Some(made(|| power_by_number(&x, n))?));
    }
    let Some([a, b]) = operands(x, y)? else { return or_not_implemented(x.py(), None) };
    or_not_implemented(x.py(), Some(made(|| power(&a, &b))?))
}

fn whole_and_rest<'py>(x: &Bound<'py, PyAny>, y: &Bound<'py, PyAny>) -> Object<'py> {
    match (binary(Elementwise::floor_divide, x, y)?, binary(Elementwise::remainder, x, y)?) {
        (Some(whole), Some(rest)) => (whole, rest).into_bound_py_any(x.py()),
        _ => or_not_implemented(x.py(), None),
    }
}

/// `&`, `|`, `^` and `~` are for truth values.
fn logical<'py>(op: Elementwise, sign: &str, x: &Bound<'py, PyAny>, y: &Bound<'py, PyAny>) -> Object<'py> {
    let Some([a, b]) = operands(x, y)? else { return or_not_implemented(x.py(), None) };
    or_not_implemented(x.py(), Some(made(|| truth(op, sign, &a, &b))?))
}

fn truth(op: Elementwise, sign: &str, x: &Tensor, y: &Tensor) -> fluxrs::Result<Tensor> {
    if let Some(bad) = [x, y].into_iter().find(|t| t.dtype() != DType::Bool) {
        let hint = if sign == "^" { "; x to the power n is x ** n" } else { "" };
        fluxrs::bail!(Type, "{sign} takes bool tensors, got {}{hint}", bad.dtype());
    }
    op.apply(&[x, y])
}

macro_rules! operators {
    ($($method:ident $reflected:ident $apply:expr;)*) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
        impl PyTensor {
            $(fn $method<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> Object<'py> {
                let f = $apply;
                f(slf.as_any(), other)
            }
            fn $reflected<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> Object<'py> {
                let f = $apply;
                f(other, slf.as_any())
            })*

            fn __pow__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>, modulo: Option<&Bound<'py, PyAny>>) -> Object<'py> {
                if modulo.is_some() {
                    return Err(PyTypeError::new_err("pow takes no modulo for tensors"));
                }
                to_power(slf.as_any(), other)
            }

            fn __rpow__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>, _modulo: Option<&Bound<'py, PyAny>>) -> Object<'py> {
                to_power(other, slf.as_any())
            }

            fn __divmod__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> Object<'py> {
                whole_and_rest(slf.as_any(), other)
            }

            fn __rdivmod__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> Object<'py> {
                whole_and_rest(other, slf.as_any())
            }

            fn __neg__(&self, py: Python<'_>) -> PyResult<PyTensor> {
                unary(py, Elementwise::negative, self)
            }

            fn __pos__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            fn __abs__(&self, py: Python<'_>) -> PyResult<PyTensor> {
                unary(py, Elementwise::abs, self)
            }

            fn __invert__(&self, py: Python<'_>) -> PyResult<PyTensor> {
                let x = self.value(py)?;
                if x.dtype() != DType::Bool {
                    return Err(PyTypeError::new_err(format!("~ takes a bool tensor, got {}", x.dtype())));
                }
                unary(py, Elementwise::logical_not, self)
            }

            /// Elementwise; what cannot be compared is unequal.
            fn __richcmp__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>, op: CompareOp) -> Object<'py> {
                let op = match op {
                    CompareOp::Lt => Elementwise::less,
                    CompareOp::Le => Elementwise::less_equal,
                    CompareOp::Eq => Elementwise::equal,
                    CompareOp::Ne => Elementwise::not_equal,
                    CompareOp::Gt => Elementwise::greater,
                    CompareOp::Ge => Elementwise::greater_equal,
                };
                operator(op, slf.as_any(), other)
            }
        }
    };
}

operators! {
    __add__ __radd__ |x, y| operator(Elementwise::add, x, y);
    __sub__ __rsub__ |x, y| operator(Elementwise::subtract, x, y);
    __mul__ __rmul__ |x, y| operator(Elementwise::multiply, x, y);
    __truediv__ __rtruediv__ |x, y| operator(Elementwise::divide, x, y);
    __floordiv__ __rfloordiv__ |x, y| operator(Elementwise::floor_divide, x, y);
    __mod__ __rmod__ |x, y| operator(Elementwise::remainder, x, y);
    __matmul__ __rmatmul__ product;
    __and__ __rand__ |x, y| logical(Elementwise::logical_and, "&", x, y);
    __or__ __ror__ |x, y| logical(Elementwise::logical_or, "|", x, y);
    __xor__ __rxor__ |x, y| logical(Elementwise::logical_xor, "^", x, y);
}

macro_rules! in_place {
    ($($method:ident $sign:literal $apply:expr;)*) => {
        #[pymethods]
        #[pyo3(crate = "crate::keywords")]
        impl PyLeaf {
            $(fn $method(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<()> {
                let target = slf.as_super();
                crate::leaf::check_writable(target.get(), concat!($sign, "="))?;
                let f: fn(&Tensor, &Tensor) -> fluxrs::Result<Tensor> = $apply;
                let Some([now, y]) = operands(target.as_any(), other)? else {
                    return Err(crate::convert::unsupported(other));
                };
                let new = fluxrs::graph::no_grad(|| made(|| f(&now, &y)))?;
                crate::leaf::write(target.get(), slf.py(), &*new.value(slf.py())?)
            })*
        }
    };
}

in_place! {
    __iadd__ "+" |x, y| Elementwise::add.apply(&[x, y]);
    __isub__ "-" |x, y| Elementwise::subtract.apply(&[x, y]);
    __imul__ "*" |x, y| Elementwise::multiply.apply(&[x, y]);
    __itruediv__ "/" |x, y| Elementwise::divide.apply(&[x, y]);
    __ifloordiv__ "//" |x, y| Elementwise::floor_divide.apply(&[x, y]);
    __imod__ "%" |x, y| Elementwise::remainder.apply(&[x, y]);
    __imatmul__ "@" matmul;
    __iand__ "&" |x, y| truth(Elementwise::logical_and, "&", x, y);
    __ior__ "|" |x, y| truth(Elementwise::logical_or, "|", x, y);
    __ixor__ "^" |x, y| truth(Elementwise::logical_xor, "^", x, y);
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyLeaf {
    fn __ipow__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>, _modulo: &Bound<'_, PyAny>) -> PyResult<()> {
        let target = slf.as_super();
        crate::leaf::check_writable(target.get(), "**=")?;
        let Some(n) = number(other)? else { return Err(crate::convert::unsupported(other)) };
        let now = target.get().value(slf.py())?;
        let new = fluxrs::graph::no_grad(|| made(|| power(&now, &Tensor::number(n))))?;
        crate::leaf::write(target.get(), slf.py(), &*new.value(slf.py())?)
    }
}
