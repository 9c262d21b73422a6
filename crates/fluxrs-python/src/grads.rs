//! Grads, what `gradient` gives for Params, and the gradients that an optimiser's step takes of them.

use crate::convert::strong_like;
use crate::error::{DimensionMismatch, shown};
use crate::history::{self, History};
use crate::leaf;
use crate::params::{Leaves, PyParams};
use crate::tensor::{PyTensor, zeros_of};
use fluxrs::Tensor;
use fluxrs::evaluate::Handle;
use fluxrs::leaf::Leaf;
use fluxrs::shape::show;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyTuple};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// The gradients found for the members of a Params.
pub struct Found {
    leaves: Leaves,
    entries: Mutex<SmallVec<[Entry; 4]>>,
    /// The loss, which every step made of the gradients is guarded by: held, it is computed before what it needs is overwritten.
    loss: Handle,
}

struct Entry {
    /// None where the loss did not reach the parameter.
    grad: Option<Handle>,
    /// Its tensor, once it was asked for.
    object: Option<Py<PyTensor>>,
    /// True if a step has used it up.
    used: bool,
}

/// Gradients that no step has used up, the latest last, and how many there may be before the list is looked through.
static LIVING: Mutex<(Vec<Weak<Found>>, usize)> = Mutex::new((Vec::new(), 16));

fn living() -> MutexGuard<'static, (Vec<Weak<Found>>, usize)> {
    LIVING.lock().unwrap_or_else(|e| e.into_inner())
}

impl Found {
    pub fn new(loss: &Tensor, leaves: Leaves, grads: impl Iterator<Item = Option<Tensor>>) -> Arc<Found> {
        let entry = |grad: Option<Tensor>| Entry { grad: grad.map(Handle::new), object: None, used: false };
        let entries = Mutex::new(grads.map(entry).collect());
        let found = Arc::new(Found { leaves, entries, loss: Handle::new(loss.clone()) });
        let (list, limit) = &mut *living();
        list.push(Arc::downgrade(&found));
        if list.len() > *limit {
            list.retain(|w| w.strong_count() > 0);
            *limit = (2 * list.len()).max(16);
        }
        found
    }

    fn entries(&self) -> MutexGuard<'_, SmallVec<[Entry; 4]>> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn histories(&self) -> Vec<Py<History>> {
        let entries = self.entries();
        let handles = entries.iter().filter_map(|e| e.grad.as_ref()).chain([&self.loss]);
        handles.filter_map(|h| history::of(h.tensor())).collect()
    }

    /// The gradients of leaves that are all in it and that no step has used yet; then one has.
    fn take(&self, leaves: &[Arc<Leaf>]) -> Option<Vec<Option<Handle>>> {
        let places: Vec<usize> =
            match leaves.len() == self.leaves.len() && leaves.iter().zip(&*self.leaves).all(|(a, b)| Arc::ptr_eq(a, b)) {
                true => (0..leaves.len()).collect(),
                false => {
                    let own: HashMap<u64, usize> = self.leaves.iter().enumerate().map(|(i, l)| (l.number(), i)).collect();
                    leaves.iter().map(|l| own.get(&l.number()).copied()).collect::<Option<_>>()?
                }
            };
        let mut entries = self.entries();
        if places.iter().any(|&i| entries[i].used) {
            return None;
        }
        let mut take = |&i: &usize| {
            entries[i].used = true;
            entries[i].grad.clone()
        };
        let grads = places.iter().map(&mut take).collect();
        let used_up = entries.iter().all(|e| e.used);
        drop(entries);
        if used_up {
            let list = &mut living().0;
            let place = list.iter().rposition(|w| std::ptr::eq(w.as_ptr(), self));
            place.map(|i| list.remove(i));
        }
        Some(grads)
    }
}

/// The gradients for a step: accumulated ones, or once those of the latest living Grads that covers the leaves.
fn latest(leaves: &[Arc<Leaf>]) -> Option<Vec<Option<Handle>>> {
    let accumulated: Vec<Option<Handle>> = leaves.iter().map(|l| l.held_grad()).collect();
    if accumulated.iter().any(Option::is_some) {
        return Some(accumulated);
    }
    // One at a time, and dropped without the lock: with it may go a graph.
    let mut at = living().0.len();
    let grads = loop {
        at = at.checked_sub(1)?;
        let found = living().0.get(at).and_then(Weak::upgrade);
        if let Some(grads) = found.and_then(|found| found.take(leaves)) {
            break grads;
        }
    };
    grads.iter().any(Option::is_some).then_some(grads)
}

/// The δ of each parameter, or None where the loss did not reach it. Held until a step is made of them, which then need not keep them.
#[pyclass(frozen, module = "fluxrs", name = "Deltas", sequence)]
pub struct PyDeltas {
    pub deltas: Vec<Option<Tensor>>,
    histories: Vec<Py<History>>,
    held: Mutex<Vec<Option<Handle>>>,
}

impl PyDeltas {
    fn new(held: Vec<Option<Handle>>) -> PyDeltas {
        let deltas: Vec<_> = held.iter().map(|h| h.as_ref().map(|h| h.tensor().clone())).collect();
        let histories = deltas.iter().flatten().filter_map(history::of).collect();
        PyDeltas { deltas, histories, held: Mutex::new(held) }
    }

    /// Holds them no more: the values that a step has queued do.
    pub fn let_go(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(|e| e.into_inner()));
        drop(held);
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyDeltas {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.histories.iter().try_for_each(|h| visit.call(h))
    }

    fn __len__(&self) -> usize {
        self.deltas.len()
    }

    fn __getitem__(&self, i: usize) -> PyResult<Option<PyTensor>> {
        let count = self.deltas.len();
        let found = self.deltas.get(i).ok_or_else(|| PyIndexError::new_err(format!("there are {count} gradients")))?;
        Ok(found.clone().map(PyTensor::new))
    }
}

/// The δ of each parameter for an optimiser's step, or None if no gradient has reached any of them since the last one.
#[pyfunction(crate = "crate::keywords")]
fn take_gradients(py: Python<'_>, params: &Bound<'_, PyAny>) -> PyResult<Option<PyDeltas>> {
    let params = match params.cast::<PyParams>() {
        Ok(p) => p.clone(),
        Err(_) => Bound::new(py, PyParams::new(Some(params))?)?,
    };
    Ok(latest(&params.get().leaves(py, "opt")?).map(PyDeltas::new))
}

/// `grads[p]`: what `gradient(f, ps)` found for each member of `ps`; zeros for one that `f` did not use.
#[pyclass(frozen, module = "fluxrs", name = "Grads", weakref, mapping)]
pub struct PyGrads {
    params: Py<PyParams>,
    found: Arc<Found>,
    histories: Vec<Py<History>>,
}

impl PyGrads {
    pub fn new(params: Py<PyParams>, found: Arc<Found>) -> PyGrads {
        let histories = found.histories();
        PyGrads { params, found, histories }
    }

    fn value(&self, py: Python<'_>, i: usize) -> PyResult<Py<PyTensor>> {
        let grad = {
            let entry = &self.found.entries()[i];
            if let Some(object) = &entry.object {
                return Ok(object.clone_ref(py));
            }
            entry.grad.as_ref().map(|h| h.tensor().clone())
        };
        // Without the lock: making an object may collect garbage, and so run any Python; making a node may evaluate.
        let grad = grad.unwrap_or_else(|| zeros_of(&self.found.leaves[i].peek()));
        let object = Py::new(py, PyTensor::new(grad))?;
        let first = self.found.entries()[i].object.get_or_insert_with(|| object.clone_ref(py)).clone_ref(py);
        Ok(first)
    }

    fn all(&self, py: Python<'_>) -> PyResult<Vec<Py<PyTensor>>> {
        (0..self.found.leaves.len()).map(|i| self.value(py, i)).collect()
    }

    /// The place of a key, or the KeyError that says why it has none.
    fn place(&self, p: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Some(i) = self.params.get().place(p) {
            return Ok(i);
        }
        let why = match p.cast::<PyTensor>() {
            Ok(t) => {
                let shape = show(t.get().like().shape());
                let what = if leaf::isleaf(p) { "parameter" } else { "tensor" };
                format!("a {what} of shape {shape} is not in these Grads: it was not a member of the Params given to gradient")
            }
            Err(_) => format!("{} is no key of Grads: its keys are the parameters given to gradient", shown(p)),
        };
        Err(PyKeyError::new_err(why))
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyGrads {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.params)?;
        self.histories.iter().try_for_each(|h| visit.call(h))?;
        let Ok(entries) = self.found.entries.try_lock() else { return Ok(()) };
        entries.iter().try_for_each(|e| visit.call(&e.object))
    }

    fn __getitem__(&self, py: Python<'_>, p: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
        self.value(py, self.place(p)?)
    }

    /// Replaces a gradient, for example by a clipped one; a step then takes that.
    fn __setitem__(&self, py: Python<'_>, p: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let i = self.place(p)?;
        let wanted = self.found.leaves[i].peek();
        let new = strong_like("grads[p]", &wanted, value)?;
        if new.shape() != wanted.shape() {
            let (want, got) = (show(wanted.shape()), show(new.shape()));
            return Err(DimensionMismatch::new_err(format!(
                "grads[p]: a parameter of shape {want} cannot have a gradient of shape {got}"
            )));
        }
        let new = new.cast(wanted.dtype());
        let object = Py::new(py, PyTensor::new(new.clone()))?;
        let new = (Some(Handle::new(new)), Some(object));
        let mut entries = self.found.entries();
        let old = (std::mem::replace(&mut entries[i].grad, new.0), std::mem::replace(&mut entries[i].object, new.1));
        drop(entries);
        drop(old);
        Ok(())
    }

    #[pyo3(signature = (p, default=None))]
    fn get<'py>(&self, p: &Bound<'py, PyAny>, default: Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.params.get().place(p) {
            Some(i) => Ok(Some(self.value(p.py(), i)?.into_bound(p.py()).into_any())),
            None => Ok(default),
        }
    }

    fn __contains__(&self, p: &Bound<'_, PyAny>) -> bool {
        self.params.get().place(p).is_some()
    }

    fn __len__(&self) -> usize {
        self.found.leaves.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.params.get().list(py)?.try_iter()
    }

    /// The parameters.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.params.get().list(py)
    }

    /// Their gradients.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.all(py)?)
    }

    /// Pairs of a parameter and its gradient.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = self.params.get().members.iter().zip(self.all(py)?);
        let pairs = pairs.map(|(p, g)| PyTuple::new(py, [p.bind(py), g.bind(py).as_any()])).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, pairs)
    }

    fn __repr__(&self) -> String {
        let shapes: Vec<String> = self.found.leaves.iter().map(|l| show(l.peek().shape())).collect();
        let unused = self.found.entries().iter().filter(|e| e.grad.is_none()).count();
        let note = if unused == 0 { String::new() } else { format!("; {unused} not used by the function") };
        format!("Grads of {} parameters of shapes {}{note}", shapes.len(), shapes.join(", "))
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyGrads>()?;
    m.add_class::<PyDeltas>()?;
    m.add_function(wrap_pyfunction!(take_gradients, m)?)?;
    // isinstance(grads, Mapping) holds, as it does for a dict.
    let mapping = m.py().import("collections.abc")?.getattr("Mapping")?;
    mapping.call_method1("register", (m.py().get_type::<PyGrads>(),)).map(drop)
}
