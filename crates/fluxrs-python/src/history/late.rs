//! Tensors that keep Python functions only for a time: a value without a history until it is computed, a parameter with a gradient
//! whose loss is not known to be good. No object of theirs would be true for as long as they live, so theirs are made when a whole
//! collection begins, and go when it ends.

use super::{History, object};
use crate::call_site::has_gil;
use crate::tensor::{PyTensor, leaf_objects};
use fluxrs::graph::{Defined, kept_until_computed};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// By where the tensor lies.
static KEPT: Mutex<Option<HashMap<usize, Py<History>>>> = Mutex::new(None);
static IS_ANY: AtomicBool = AtomicBool::new(false);

/// The oldest generation: the only one in which a collector looks at all objects.
const WHOLE: usize = 2;

/// Shows the collector what a tensor keeps.
pub fn visit(tensor: &PyTensor, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    if !IS_ANY.load(Ordering::Acquire) {
        return Ok(());
    }
    let Ok(kept) = KEPT.try_lock() else { return Ok(()) };
    let key = std::ptr::from_ref(tensor) as usize;
    kept.as_ref().and_then(|kept| kept.get(&key)).map_or(Ok(()), |history| visit.call(history))
}

fn keep(kept: Option<HashMap<usize, Py<History>>>) {
    IS_ANY.store(kept.as_ref().is_some_and(|kept| !kept.is_empty()), Ordering::Release);
    let old = std::mem::replace(&mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner), kept);
    drop(old);
}

/// Called by the collector as it begins and ends.
#[pyfunction(crate = "crate::keywords")]
fn at_collection(py: Python<'_>, phase: &str, info: &Bound<'_, PyDict>) -> PyResult<()> {
    let whole = info.get_item("generation")?.is_some_and(|g| g.extract::<usize>().is_ok_and(|g| g >= WHOLE));
    if !whole || !has_gil() {
        return Ok(());
    }
    if phase != "start" {
        keep(None);
        return Ok(());
    }
    let mut owners = leaf_objects(py);
    if fluxrs::graph::has_late() {
        let all = py.import("gc")?.call_method0("get_objects")?.cast_into::<PyList>()?;
        owners.extend(all.iter().filter(|x| x.is_instance_of::<PyTensor>()));
    }
    let (mut tensors, mut keys) = (Vec::new(), Vec::new());
    for owner in &owners {
        let owner = owner.cast::<PyTensor>()?.get();
        let own = owner.kept_late();
        keys.extend(own.iter().map(|_| std::ptr::from_ref(owner) as usize));
        tensors.extend(own);
    }
    let mut sets: HashMap<usize, Arc<Defined>> = HashMap::new();
    for (key, set) in keys.into_iter().zip(kept_until_computed(&tensors)) {
        let Some(set) = set else { continue };
        let all = sets.remove(&key).map_or_else(|| set.clone(), |all| all.and(&set));
        sets.insert(key, all);
    }
    let histories = sets.iter().map(|(key, set)| Ok((*key, object(py, set)?))).collect::<PyResult<_>>()?;
    keep(Some(histories));
    Ok(())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let callbacks = m.py().import("gc")?.getattr("callbacks")?;
    callbacks.call_method1("append", (wrap_pyfunction!(at_collection, m)?,))?;
    Ok(())
}
