//! Gradients that Python defines.

use crate::convert::{beside, strong};
use crate::error::raised;
use crate::tensor::PyTensor;
use fluxrs::error::{Error, Result};
use fluxrs::graph::Tracking;
use fluxrs::ops::Pullback;
use fluxrs::shape::show;
use fluxrs::{Tensor, ops};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::cell::RefCell;
use std::sync::Arc;

struct PyPullback(Py<PyAny>);

impl Pullback for PyPullback {
    fn name(&self) -> String {
        "a gradient defined in Python".into()
    }

    fn pull(&self, out: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Python::attach(|py| self.call(py, out, g).map_err(raised)).and_then(|grads| check(out, grads))
    }
}

impl PyPullback {
    fn call(&self, py: Python<'_>, _: &Tensor, g: &Tensor) -> PyResult<Vec<Option<Tensor>>> {
        let grads = self.0.bind(py).call1((PyTensor::new(g.clone()),))?;
        grads
            .try_iter()?
            .map(|x| {
                let x = x?;
                if x.is_none() { Ok(None) } else { Ok(Some(beside("a pullback", g.device(), &x, strong(&x)?)?.into_owned())) }
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

/// `custom(value, inputs, pullback)`: `value` as a function of `inputs`; `pullback(Δ)` gives a gradient for each of them.
#[pyfunction]
fn custom(value: &Bound<'_, PyAny>, inputs: &Bound<'_, PyAny>, pullback: Py<PyAny>) -> PyResult<PyTensor> {
    let value = strong(value)?.detached();
    let mut srcs = Vec::new();
    for x in inputs.try_iter()? {
        let x = x?;
        let Ok(t) = x.cast::<PyTensor>() else {
            return Err(PyTypeError::new_err(format!("custom: the inputs are tensors, got {}", x.repr()?)));
        };
        srcs.push(t.get().value(t.py())?.into_owned());
    }
    crate::tensor::made(|| Ok(ops::custom::custom(&value, &srcs, Arc::new(PyPullback(pullback)))))
}

thread_local! {
    static REPLAYS: RefCell<Vec<(Tracking, ops::random::Replay)>> = const { RefCell::new(Vec::new()) };
}

/// Whether a checkpoint's function runs again: it then repeats no writes of state.
pub fn replaying() -> bool {
    REPLAYS.with_borrow(|scopes| !scopes.is_empty())
}

/// Where the random stream is.
#[pyfunction]
fn random_state() -> (u64, u64) {
    let s = ops::random::state();
    (s.seed, s.counter)
}

/// `with replay(state): …`: random numbers as they came after `state`, results tracked, no writes of leaves; the stream goes on as it was afterwards.
#[pyclass(frozen, module = "fluxrs", name = "replay")]
struct PyReplay {
    from: ops::random::Stream,
}

#[pymethods]
impl PyReplay {
    #[new]
    fn new(state: (u64, u64)) -> PyReplay {
        PyReplay { from: ops::random::Stream { seed: state.0, counter: state.1 } }
    }

    fn __enter__(&self) {
        let scope = (Tracking::enter(), ops::random::Replay::enter(self.from));
        REPLAYS.with_borrow_mut(|s| s.push(scope));
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        drop(REPLAYS.with_borrow_mut(Vec::pop));
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyReplay>()?;
    m.add_function(wrap_pyfunction!(custom, m)?)?;
    m.add_function(wrap_pyfunction!(random_state, m)?)?;
    Ok(())
}
