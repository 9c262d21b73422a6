//! Arguments that are no tensors, and what is said of a wrong one: by the name of the function that got it.

use crate::convert::{Axes, number};
use crate::error::shown;
use fluxrs::Number;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A function as Python calls it.
pub trait Function {
    const NAME: &'static str;
}

/// Types that stand for the functions of these names, not all of which have such arguments.
macro_rules! names {
    ($($name:ident)*) => {
        #[allow(non_camel_case_types, dead_code)]
        mod names {
            $(pub enum $name {}
            impl crate::arguments::Function for $name {
                const NAME: &'static str = stringify!($name);
            })*
        }
    };
}
pub(crate) use names;

/// The forms an argument may take.
pub trait Argument<'a, 'py>: Sized {
    fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self>;
}

/// An argument of the function `F`, as PyO3's `from_py_with` wants it.
pub fn of<'a, 'py, F: Function, T: Argument<'a, 'py>>(obj: &'a Bound<'py, PyAny>) -> PyResult<T> {
    T::take(obj).map_err(|error| {
        let py = obj.py();
        match error.is_instance_of::<PyTypeError>(py) {
            true => PyTypeError::new_err(format!("{}: {}", F::NAME, error.value(py))),
            false => error,
        }
    })
}

macro_rules! plain {
    ($($t:ty: $wanted:literal)*) => {$(
        impl<'a, 'py> Argument<'a, 'py> for $t {
            fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self> {
                obj.extract().map_err(|error: PyErr| match error.is_instance_of::<PyTypeError>(obj.py()) {
                    true => PyTypeError::new_err(format!(concat!("it takes ", $wanted, " here, got {}"), shown(obj))),
                    false => error,
                })
            }
        }
    )*};
}
plain! {
    isize: "an integer"
    f64: "a number"
    bool: "True or False"
}

impl<'a, 'py> Argument<'a, 'py> for Number {
    fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let wrong = || PyTypeError::new_err(format!("the argument must be a number, got {}", shown(obj)));
        match number(obj)? {
            Some(n) => Ok(n),
            None => {
                obj.extract().map(Number::Float).map_err(|error: PyErr| match error.is_instance_of::<PyTypeError>(obj.py()) {
                    true => wrong(),
                    false => error,
                })
            }
        }
    }
}

impl<'a, 'py> Argument<'a, 'py> for Axes {
    fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        obj.extract()
    }
}

impl<'a, 'py> Argument<'a, 'py> for &'a Bound<'py, PyAny> {
    fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(obj)
    }
}

impl<'a, 'py, T: Argument<'a, 'py>> Argument<'a, 'py> for Option<T> {
    fn take(obj: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if obj.is_none() { Ok(None) } else { T::take(obj).map(Some) }
    }
}
