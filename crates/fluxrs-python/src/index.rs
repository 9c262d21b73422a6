//! Indexing by NumPy's rules: integers, slices, None, Ellipsis, arrays of integers, boolean masks, and mixtures.

use crate::convert::indices;
use crate::error::detached;
use crate::export::to_numpy;
use crate::tensor::{PyTensor, made};
use fluxrs::evaluate::Handle;
use fluxrs::ops::index::nonzero;
use fluxrs::ops::subscript::{Index, subscript};
use fluxrs::{DType, Tensor};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::ffi::PySlice_Unpack;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PyRange, PySlice, PyTuple};
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The least and the largest of some integers.
fn bounds(py: Python<'_>, at: &Tensor) -> PyResult<Option<(i64, i64)>> {
    if at.size() == 0 {
        return Ok(None);
    }
    let array = to_numpy(py, at)?;
    Ok(Some((array.call_method0("min")?.extract()?, array.call_method0("max")?.extract()?)))
}

fn no_index(what: impl Display) -> PyErr {
    PyIndexError::new_err(format!("an index is an integer, a slice, None, Ellipsis, integers or a mask; got {what}"))
}

fn integer(key: &Bound<'_, PyAny>) -> PyResult<Index> {
    let i = key.call_method0("__index__")?;
    let too_large = |_| PyIndexError::new_err(format!("index {i} is out of range for any axis"));
    i.extract().map(Index::At).map_err(too_large)
}

fn range(slice: &Bound<'_, PySlice>) -> PyResult<Index> {
    let (mut start, mut stop, mut step) = (0, 0, 0);
    // SAFETY: it is a slice, and the three are ours to write.
    if unsafe { PySlice_Unpack(slice.as_ptr(), &mut start, &mut stop, &mut step) } < 0 {
        return Err(PyErr::fetch(slice.py()));
    }
    Ok(Index::Range { start, stop, step })
}

fn array(key: &Bound<'_, PyAny>) -> PyResult<Index> {
    let py = key.py();
    let at = indices(key)?;
    // Computed integers are checked where they are computed.
    let known = !key.is_instance_of::<PyTensor>();
    match at.dtype() {
        DType::Bool if at.ndim() == 0 => Err(PyIndexError::new_err(
            "True and False alone are no index; t[None] adds an axis, and a mask has the shape of what it selects from",
        )),
        // The number of elements that a mask selects is known only by its value.
        DType::Bool => Ok(Index::Mask(detached(py, || nonzero(&at))?, at.shape().into())),
        d if d.is_int() && at.ndim() == 0 && known => integer(key),
        d if d.is_int() && known => Ok(Index::Array(at.clone(), bounds(py, &at)?)),
        d if d.is_int() => Ok(Index::Array(at.into_owned(), None)),
        d => Err(no_index(format!("{d}: convert with i.astype(\"int64\")"))),
    }
}

fn entry(key: &Bound<'_, PyAny>) -> PyResult<Index> {
    if let Ok(slice) = key.cast::<PySlice>() {
        range(slice)
    } else if key.is_none() {
        Ok(Index::NewAxis)
    } else if key.is_instance_of::<PyEllipsis>() {
        Ok(Index::Ellipsis)
    } else if key.is_instance_of::<PyInt>() && !key.is_instance_of::<PyBool>() {
        integer(key)
    } else if key.is_instance_of::<PyTensor>()
        || key.is_instance_of::<PyList>()
        || key.is_instance_of::<PyTuple>()
        || key.is_instance_of::<PyRange>()
        || key.is_instance_of::<PyBool>()
        || key.hasattr("__array__")?
    {
        array(key)
    } else if key.hasattr("__index__")? {
        integer(key)
    } else {
        Err(no_index(key.get_type().name()?))
    }
}

fn entries(key: &Bound<'_, PyAny>) -> PyResult<Vec<Index>> {
    match key.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|k| entry(&k)).collect(),
        Err(_) => Ok(vec![entry(key)?]),
    }
}

/// The rows of a tensor as it was when the loop began, each made when it is its turn: there may be very many.
#[pyclass(frozen, module = "fluxrs")]
struct Rows {
    of: Handle,
    next: AtomicUsize,
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl Rows {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> PyResult<Option<PyTensor>> {
        let (x, i) = (self.of.tensor(), self.next.fetch_add(1, Ordering::Relaxed));
        if i < x.shape()[0] { made(|| Ok(x.row(i))).map(Some) } else { Ok(None) }
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let x = self.value(key.py())?;
        let entries = entries(key)?;
        made(|| subscript(&x, entries))
    }

    fn __len__(&self) -> PyResult<usize> {
        match self.like().shape().first() {
            Some(&n) => Ok(n),
            None => Err(PyTypeError::new_err("a 0-d tensor has no len")),
        }
    }

    /// Over the first axis.
    fn __iter__(&self, py: Python<'_>) -> PyResult<Rows> {
        let x = self.value(py)?.into_owned();
        if x.ndim() == 0 {
            return Err(PyTypeError::new_err("a 0-d tensor cannot be iterated over"));
        }
        Ok(Rows { of: Handle::new(x), next: AtomicUsize::new(0) })
    }

    /// True if an element equals `x`.
    fn __contains__(slf: &Bound<'_, Self>, x: &Bound<'_, PyAny>) -> PyResult<bool> {
        let equal = slf.as_any().rich_compare(x, CompareOp::Eq)?;
        match equal.is_instance_of::<PyTensor>() {
            true => equal.call_method0("any")?.is_truthy(),
            false => equal.is_truthy(),
        }
    }
}
