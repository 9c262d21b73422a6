//! Params, an ordered set of tensors by identity.

use crate::convert::named;
use crate::error::shown;
use crate::tensor::PyTensor;
use fluxrs::leaf::Leaf;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PySlice};
use rustc_hash::FxHashMap;
use std::sync::{Arc, OnceLock};

/// The parameters behind the members of a Params.
pub type Leaves = Arc<[Arc<Leaf>]>;

/// `Params(xs)`: an ordered set of parameters by identity; what `gradient` takes and the optimisers hold.
#[pyclass(frozen, module = "fluxrs", name = "Params", weakref, sequence)]
pub struct PyParams {
    pub members: Vec<Py<PyAny>>,
    places: FxHashMap<usize, usize>,
    /// Found when they are asked for first: the members never change.
    leaves: OnceLock<Leaves>,
}

impl PyParams {
    pub fn place(&self, x: &Bound<'_, PyAny>) -> Option<usize> {
        self.places.get(&(x.as_ptr() as usize)).copied()
    }

    /// The leaves behind the members, or a TypeError naming the one that is none.
    pub fn leaves(&self, py: Python<'_>, op: &str) -> PyResult<Leaves> {
        if let Some(known) = self.leaves.get() {
            return Ok(known.clone());
        }
        let leaf = |(i, x): (usize, &Py<PyAny>)| {
            let found = x.bind(py).cast::<PyTensor>().ok().and_then(|t| t.get().leaf().filter(|l| l.is_tracked()).cloned());
            found.ok_or_else(|| {
                let text = shown(x.bind(py));
                PyTypeError::new_err(format!("{op}: member {i} of Params is no parameter made by param: {text}"))
            })
        };
        let leaves: Leaves = self.members.iter().enumerate().map(leaf).collect::<PyResult<_>>()?;
        Ok(self.leaves.get_or_init(|| leaves).clone())
    }
}

impl PyParams {
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.members.iter().map(|x| x.bind(py)))
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyParams {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.members.iter().try_for_each(|x| visit.call(x))
    }

    #[new]
    #[pyo3(signature = (xs=None))]
    pub fn new(xs: Option<&Bound<'_, PyAny>>) -> PyResult<PyParams> {
        let mut out = PyParams { members: Vec::new(), places: FxHashMap::default(), leaves: OnceLock::new() };
        let Some(xs) = xs else { return Ok(out) };
        if xs.is_instance_of::<PyTensor>() {
            return Err(PyTypeError::new_err("Params takes a list of parameters, as in Params([W, b]); got a tensor"));
        }
        let items = xs.try_iter().map_err(|_| {
            PyTypeError::new_err(format!("Params takes a list of parameters, as in Params([W, b]); got {}", shown(xs)))
        })?;
        for x in items {
            let x = x?;
            let place = out.members.len();
            if let std::collections::hash_map::Entry::Vacant(free) = out.places.entry(x.as_ptr() as usize) {
                free.insert(place);
                out.members.push(x.unbind());
            }
        }
        Ok(out)
    }

    fn __len__(&self) -> usize {
        self.members.len()
    }

    fn __contains__(&self, x: &Bound<'_, PyAny>) -> bool {
        self.place(x).is_some()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.list(py)?.try_iter()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, i: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if i.is_instance_of::<PySlice>() {
            return self.list(py)?.as_any().get_item(i);
        }
        let n = self.members.len() as isize;
        let at: isize = i.extract().map_err(|error| named(error, "an index of Params", i))?;
        let plain = if at < 0 { at + n } else { at };
        match usize::try_from(plain).ok().and_then(|p| self.members.get(p)) {
            Some(x) => Ok(x.bind(py).clone()),
            None => Err(PyIndexError::new_err(format!("index {at} is out of range for Params of {n} members"))),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Params({})", self.list(py)?.repr()?))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyList>,))> {
        let py = slf.py();
        Ok((py.get_type::<PyParams>().into_any(), (slf.get().list(py)?,)))
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyParams>()
}
