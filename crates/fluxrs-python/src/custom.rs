//! Gradients that Python defines.

use crate::call_site::with_gil;
use crate::convert::{argument, strong, strong_like};
use crate::error::{detached, raised, shown};
use crate::history::Function;
use crate::tensor::{PyTensor, Values};
use fluxrs::error::{Error, Result};
use fluxrs::evaluate::Handle;
use fluxrs::graph::{Checkpoint, Tracking, next_id};
use fluxrs::leaf::Leaf;
use fluxrs::ops::Pullback;
use fluxrs::shape::show;
use fluxrs::{Tensor, ops, tape};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct PyPullback {
    f: Py<Function>,
    /// True if it computes the value again, and so needs its inputs as they were.
    again: bool,
}

impl Pullback for PyPullback {
    fn name(&self) -> String {
        "a gradient defined in Python".into()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn pull(&self, out: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        if self.again {
            fluxrs::leaf::inputs_are_current(out)?;
            let (again, _object) = with_gil(|py| self.call_again(py).map_err(raised))?;
            return tape::gradient_again(out, &again, g);
        }
        with_gil(|py| self.call(py, g).map_err(raised)).and_then(|grads| check(out, grads))
    }
}

impl PyPullback {
    fn new(py: Python<'_>, f: Py<PyAny>, again: bool) -> PyResult<Arc<PyPullback>> {
        Ok(Arc::new(PyPullback { f: Function::new(py, f)?, again }))
    }

    pub fn function(&self) -> &Py<Function> {
        &self.f
    }

    /// The result, and its object: the collector sees through that what the result needs.
    fn call_again(&self, py: Python<'_>) -> PyResult<(Tensor, Py<PyAny>)> {
        let again = self.f.get().get(py)?.call0()?;
        Ok((argument(&again)?.into_owned(), again.unbind()))
    }

    fn call(&self, py: Python<'_>, g: &Tensor) -> PyResult<Vec<Option<Tensor>>> {
        let grads = self.f.get().get(py)?.call1((PyTensor::new(g.clone()),))?;
        grads
            .try_iter()?
            .map(|x| {
                let x = x?;
                if x.is_none() { Ok(None) } else { Ok(Some(strong_like("a pullback", g, &x)?.into_owned())) }
            })
            .collect()
    }
}

/// A pullback must give each input a gradient of its shape; a number counts for every element.
fn check(out: &Tensor, grads: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
    let shapes = ops::custom::input_shapes(out);
    if shapes.len() != grads.len() {
        return Err(Error::Type(format!("a pullback returned {} gradients for {} inputs", grads.len(), shapes.len())));
    }
    let fit = |(i, (g, (shape, dtype))): (usize, (Option<Tensor>, (fluxrs::shape::Shape, fluxrs::DType)))| match g {
        None => Ok(None),
        Some(g) if g.shape() == &shape[..] => Ok(Some(g.cast(dtype))),
        Some(g) if g.ndim() == 0 => g.cast(dtype).broadcast_to(&shape).map(Some),
        Some(g) => Err(Error::Shape(format!(
            "a pullback returned a gradient of shape {} for input {i} of shape {}",
            show(g.shape()),
            show(&shape)
        ))),
    };
    grads.into_iter().zip(shapes).enumerate().map(fit).collect()
}

/// The inputs of a custom gradient.
fn inputs(xs: &Bound<'_, PyAny>) -> PyResult<Values> {
    let items = xs.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    let value = |x| match Bound::cast::<PyTensor>(x) {
        Ok(t) => t.get().value(t.py()),
        Err(_) => Err(PyTypeError::new_err(format!("custom: the inputs must be tensors, got {}", shown(x)))),
    };
    items.iter().map(value).collect()
}

/// `custom(value, inputs, pullback)`: `value` as a function of `inputs`; `pullback(Δ)` gives a gradient for each of them.
#[pyfunction(crate = "crate::keywords")]
fn custom(py: Python<'_>, value: &Bound<'_, PyAny>, inputs: &Bound<'_, PyAny>, pullback: Py<PyAny>) -> PyResult<PyTensor> {
    let value = strong(value)?.detached();
    let srcs = self::inputs(inputs)?;
    let pullback = PyPullback::new(py, pullback, false)?;
    crate::tensor::made(|| Ok(ops::custom::custom(&value, &srcs, pullback)))
}

/// A value that was made in `passing()`, which gave `since`, and that `again()` makes once more: nothing of its graph is kept.
#[pyfunction(crate = "crate::keywords")]
fn checkpointed(py: Python<'_>, value: &Bound<'_, PyAny>, since: u64, again: Py<PyAny>) -> PyResult<PyTensor> {
    let value = strong(value)?;
    let srcs = tape::inputs(&value, since);
    let pullback = PyPullback::new(py, again, true)?;
    crate::tensor::made(|| Ok(ops::custom::checkpointed(&value, &srcs, pullback)))
}

/// Values of leaves by their numbers.
type Written = HashMap<u64, Handle>;

/// The first run of a checkpoint's function, with the values that the leaves written in it had before.
struct First {
    _scope: Checkpoint,
    written: Written,
}

/// Another run of a checkpoint's function, with the values of the leaves that it writes: those of its own, not the leaves'.
struct Again {
    _scopes: (Tracking, ops::random::Replay),
    values: Written,
}

thread_local! {
    static PASSING: RefCell<Vec<First>> = const { RefCell::new(Vec::new()) };
    static REPLAYS: RefCell<Vec<Again>> = const { RefCell::new(Vec::new()) };
}

/// The number of runs under way, of all threads, that have values of leaves of their own.
static REPLAYED: AtomicUsize = AtomicUsize::new(0);

/// True while a checkpoint's function runs again: it then writes no state.
pub fn replaying() -> bool {
    REPLAYS.with_borrow(|scopes| !scopes.is_empty())
}

/// The value that a leaf has for a function that runs again, if that is not the leaf's own.
#[inline]
pub fn replayed(leaf: &Leaf) -> Option<Tensor> {
    if REPLAYED.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let of = |again: &Again| Some(again.values.get(&leaf.number())?.tensor().clone());
    REPLAYS.with_borrow(|scopes| scopes.iter().rev().find_map(of))
}

/// To be called before a leaf is written: a checkpoint remembers the value that it has.
pub fn note(py: Python<'_>, leaf: &Arc<Leaf>) -> PyResult<()> {
    let is_known = |first: &First| first.written.contains_key(&leaf.number());
    if PASSING.with_borrow(|scopes| scopes.iter().all(is_known)) {
        return Ok(());
    }
    let now = match replayed(leaf) {
        Some(value) => value,
        None => detached(py, || leaf.held())?.tensor().clone(),
    };
    PASSING.with_borrow_mut(|scopes| {
        for first in scopes {
            first.written.entry(leaf.number()).or_insert_with(|| Handle::new(now.clone()));
        }
    });
    Ok(())
}

/// Gives a leaf a value for the function that runs again, if one does; false if none does.
pub fn rewrite(leaf: &Leaf, value: impl FnOnce() -> PyResult<Tensor>) -> PyResult<bool> {
    if !replaying() {
        return Ok(false);
    }
    let value = Handle::new(value()?);
    let old = REPLAYS.with_borrow_mut(|scopes| {
        let again = scopes.last_mut()?;
        if again.values.is_empty() {
            REPLAYED.fetch_add(1, Ordering::Relaxed);
        }
        again.values.insert(leaf.number(), value)
    });
    drop(old);
    Ok(true)
}

/// Where the random stream is.
#[pyfunction(crate = "crate::keywords")]
fn random_state() -> (u64, u64) {
    let s = ops::random::state();
    (s.seed, s.counter)
}

/// `with replay(state, first): …`: random numbers as they came after `state`, results tracked, no writes of leaves, which begin with the
/// values that they had in the `passing` that was `first`; the stream goes on as it was afterwards.
#[pyclass(frozen, module = "fluxrs", name = "replay")]
struct PyReplay {
    from: ops::random::Stream,
    first: Option<Py<PyPassing>>,
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyReplay {
    #[new]
    #[pyo3(signature = (state, first = None))]
    fn new(state: (u64, u64), first: Option<Py<PyPassing>>) -> PyReplay {
        PyReplay { from: ops::random::Stream { seed: state.0, counter: state.1 }, first }
    }

    fn __enter__(&self) {
        let copied = |(&leaf, value): (&u64, &Handle)| (leaf, Handle::new(value.tensor().clone()));
        let values: Written =
            self.first.iter().flat_map(|first| first.get().written().iter().map(copied).collect::<Vec<_>>()).collect();
        if !values.is_empty() {
            REPLAYED.fetch_add(1, Ordering::Relaxed);
        }
        let scopes = (Tracking::enter(), ops::random::Replay::enter(self.from));
        REPLAYS.with_borrow_mut(|s| s.push(Again { _scopes: scopes, values }));
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        let again = REPLAYS.with_borrow_mut(Vec::pop);
        if again.is_some_and(|again| !again.values.is_empty()) {
            REPLAYED.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// `with passing() as since: …`: no intermediate result made inside is kept for the backward pass. Tensors made before it
/// have numbers below `since`.
#[pyclass(frozen, module = "fluxrs", name = "passing")]
struct PyPassing {
    written: Mutex<Written>,
}

impl PyPassing {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyPassing {
    #[new]
    fn new() -> PyPassing {
        PyPassing { written: Mutex::default() }
    }

    fn __enter__(&self) -> u64 {
        PASSING.with_borrow_mut(|s| s.push(First { _scope: Checkpoint::enter(), written: Written::default() }));
        next_id()
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        if let Some(first) = PASSING.with_borrow_mut(Vec::pop) {
            *self.written() = first.written;
        }
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyReplay>()?;
    m.add_class::<PyPassing>()?;
    m.add_function(wrap_pyfunction!(checkpointed, m)?)?;
    m.add_function(wrap_pyfunction!(custom, m)?)?;
    m.add_function(wrap_pyfunction!(random_state, m)?)?;
    Ok(())
}
