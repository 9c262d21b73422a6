//! The engine's own functions, for tests and debugging: counters, plans, traces, the op table, the optimisers' rules.

use crate::call_site::alone;
use crate::convert::strong_like;
use crate::error::{core, detached};
use crate::grads::PyDeltas;
use crate::lists::{DEEPEST, each, is_list, too_deep};
use crate::params::PyParams;
use crate::tensor::PyTensor;
use fluxrs::debug::profile;
use fluxrs::evaluate::COUNTERS;
use fluxrs::leaf::Leaf;
use fluxrs::ops::Elementwise;
use fluxrs::optim::{self, Hyper, RULES};
use fluxrs::{Tensor, buffer, evaluate};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All tensors in a nest of lists, tuples, dicts and Params. Each of these counts once, however often it stands in others.
pub fn tensors_in(op: &str, x: &Bound<'_, PyTuple>) -> PyResult<Vec<Tensor>> {
    let mut out = Vec::new();
    each_tensor(op, x, &mut |t| {
        out.push(t.get().value(t.py())?.into_owned());
        Ok(())
    })?;
    Ok(out)
}

fn each_tensor<'py>(
    op: &str,
    xs: &Bound<'py, PyTuple>,
    f: &mut dyn FnMut(&Bound<'py, PyTensor>) -> PyResult<()>,
) -> PyResult<()> {
    Walk { op, seen: HashMap::new(), f }.look(xs.as_any(), 0)
}

struct Walk<'a, 'py> {
    op: &'a str,
    /// The nests that were begun, and whether they are done; held, so that no other object comes to lie where one of them was.
    seen: HashMap<usize, (Bound<'py, PyAny>, bool)>,
    f: &'a mut dyn FnMut(&Bound<'py, PyTensor>) -> PyResult<()>,
}

impl<'py> Walk<'_, 'py> {
    fn look(&mut self, x: &Bound<'py, PyAny>, depth: usize) -> PyResult<()> {
        if let Ok(t) = x.cast::<PyTensor>() {
            return (self.f)(t);
        }
        if !(is_list(x) || x.is_instance_of::<PyDict>() || x.is_instance_of::<PyParams>()) {
            return Ok(());
        }
        let key = x.as_ptr() as usize;
        match self.seen.get(&key) {
            Some((_, true)) => return Ok(()),
            Some(_) => return Err(too_deep(self.op)),
            // One level more than a nest has: the arguments themselves.
            None if depth > DEEPEST => return Err(too_deep(self.op)),
            None => self.seen.insert(key, (x.clone(), false)),
        };
        if let Ok(d) = x.cast::<PyDict>() {
            d.values().iter().try_for_each(|item| self.look(&item, depth + 1))?;
        } else if let Ok(params) = x.cast::<PyParams>() {
            params.get().members.iter().try_for_each(|p| self.look(p.bind(x.py()), depth + 1))?;
        } else {
            each(x, |item| self.look(&item, depth + 1))?;
        }
        self.seen.insert(key, (x.clone(), true));
        Ok(())
    }
}

/// Counts since the process began: of evaluation, and of objects made and work done on the GPU.
#[pyfunction(crate = "crate::keywords")]
fn counters<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("runs", COUNTERS.runs.load(Ordering::Relaxed))?;
    out.set_item("plans", COUNTERS.plans_made.load(Ordering::Relaxed))?;
    out.set_item("kernels", COUNTERS.kernels.load(Ordering::Relaxed))?;
    out.set_item("steps", fluxrs::work::steps())?;
    #[cfg(feature = "gpu")]
    for (name, count) in fluxrs_wgpu::counts() {
        out.set_item(name, count)?;
    }
    Ok(out)
}

/// `explain(*xs)`: the plan that evaluating these tensors would run, a line a kernel: its form, the ops it fuses, the bytes it moves;
/// and whether it is replayed or must be compiled, and why. Nothing is computed. With a parameter whose update waits, it is the plan
/// of all waiting updates. Without arguments it is the plan that ran last, as the step of an optimiser.
#[pyfunction(crate = "crate::keywords")]
#[pyo3(signature = (*xs))]
fn explain(py: Python<'_>, xs: &Bound<'_, PyTuple>) -> PyResult<String> {
    if xs.is_empty() {
        return detached(py, evaluate::explain_last);
    }
    let mut queued = false;
    let mut roots = Vec::new();
    each_tensor("explain", xs, &mut |t| {
        // A parameter's value would be computed by asking for it.
        match t.get().leaf() {
            Some(leaf) => queued |= leaf.is_queued(),
            None => roots.push(t.get().value(t.py())?.into_owned()),
        }
        Ok(())
    })?;
    detached(py, || evaluate::explain(&roots, queued))
}

/// The entries of the op table.
#[pyfunction(crate = "crate::keywords")]
fn op_table<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    let entry = |e: &Elementwise| {
        let r = e.record();
        let d = PyDict::new(py);
        d.set_item("name", r.name)?;
        d.set_item("doc", r.doc)?;
        d.set_item("arity", r.arity)?;
        d.set_item("operands", r.operands)?;
        d.set_item("class", format!("{:?}", r.class).to_lowercase())?;
        d.set_item("ulp", r.ulp)?;
        d.set_item("domain", r.domain)?;
        d.set_item("wgsl", r.wgsl)?;
        d.set_item("differentiable", r.differentiable)?;
        Ok(d)
    };
    PyList::new(py, Elementwise::ALL.iter().map(entry).collect::<PyResult<Vec<_>>>()?)
}

/// The optimisers' rules in the core: the names of their state, by the rule's name.
#[pyfunction(crate = "crate::keywords")]
fn rules<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for r in RULES {
        out.set_item(r.name, PyTuple::new(py, r.slots)?)?;
    }
    Ok(out)
}

type Numbers = (f64, f64, f64, f64, f64, f64, bool, f64);

/// Queues one step of a rule: `hyper` is (η, ρ, β1, β2, ϵ, decay, couple, t), and each parameter has its δ (or None) and its state.
#[pyfunction(crate = "crate::keywords")]
fn step(
    py: Python<'_>,
    rule: &str,
    hyper: Numbers,
    params: &Bound<'_, PyAny>,
    grads: &Bound<'_, PyAny>,
    state: Vec<Vec<Bound<'_, PyTensor>>>,
) -> PyResult<()> {
    let Some(rule) = optim::by_name(rule) else {
        return Err(PyValueError::new_err(format!("step: no rule is called {rule}")));
    };
    let (η, ρ, β1, β2, ε, decay, couple, t) = hyper;
    let hyper = Hyper { η, ρ, β1, β2, ε, decay, couple, t };
    let leaves = match params.cast::<PyParams>() {
        Ok(set) => set.get().leaves(py, rule.name)?,
        Err(_) => return Err(PyTypeError::new_err("step takes Params")),
    };
    if state.len() != leaves.len() {
        return Err(PyValueError::new_err("step: as many states as parameters are needed"));
    }
    let delta = |(g, leaf): (PyResult<Bound<'_, PyAny>>, &Arc<Leaf>)| match g? {
        g if g.is_none() => Ok(None),
        g => Ok(Some(strong_like(rule.name, &leaf.peek(), &g)?.detached())),
    };
    let taken = grads.cast::<PyDeltas>().ok();
    let grads = match taken {
        Some(taken) => taken.get().deltas.iter().map(|g| g.as_ref().map(Tensor::detached)).collect(),
        None => grads.try_iter()?.zip(&*leaves).map(delta).collect::<PyResult<Vec<_>>>()?,
    };
    if grads.len() != leaves.len() {
        return Err(PyValueError::new_err("step: as many gradients as parameters are needed"));
    }
    let leaf = |s: &Bound<'_, PyTensor>| {
        s.get().leaf().cloned().ok_or_else(|| PyTypeError::new_err("step: the state of an optimiser is made by state(p)"))
    };
    let state = state.iter().map(|s| s.iter().map(leaf).collect::<PyResult<Vec<_>>>()).collect::<PyResult<Vec<_>>>()?;
    let step = || rule.step(&hyper, &leaves, &grads, &state);
    // An update that waits is committed first, which runs a plan; only another thread could queue one in between.
    let result = match alone() && !leaves.iter().chain(state.iter().flatten()).any(|leaf| leaf.is_queued()) {
        true => core(step),
        false => detached(py, step),
    };
    if let Some(taken) = taken {
        taken.get().let_go();
    }
    result
}

/// The n-th allocation from now on this thread fails; 0 switches that off.
#[pyfunction(crate = "crate::keywords")]
fn _set_fault(n: u64) {
    buffer::faults::fail_after(n);
}

/// Records what the engine does until `_profile_stop`.
#[pyfunction(crate = "crate::keywords")]
fn _profile_start() {
    profile::start();
}

/// The recorded spans: (name, category, start, length) in nanoseconds.
#[pyfunction(crate = "crate::keywords")]
fn _profile_stop() -> Vec<(String, String, u64, u64)> {
    profile::stop().into_iter().map(|e| (e.name.into_owned(), e.category.to_string(), e.start, e.length)).collect()
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(counters, m)?)?;
    m.add_function(wrap_pyfunction!(explain, m)?)?;
    m.add_function(wrap_pyfunction!(op_table, m)?)?;
    m.add_function(wrap_pyfunction!(rules, m)?)?;
    m.add_function(wrap_pyfunction!(step, m)?)?;
    m.add_function(wrap_pyfunction!(_set_fault, m)?)?;
    m.add_function(wrap_pyfunction!(_profile_start, m)?)?;
    m.add_function(wrap_pyfunction!(_profile_stop, m)?)?;
    Ok(())
}
