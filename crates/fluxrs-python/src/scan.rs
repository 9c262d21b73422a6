//! Functions that a scan runs: traced here, on arguments without values.

use crate::convert::strong;
use crate::error::core;
use crate::tensor::{PyTensor, Values};
use fluxrs::Tensor;
use fluxrs::graph::{Checkpoint, Tracing, level, tracking};
use fluxrs::ops::random::{Stream, drawn, state};
use fluxrs::ops::scan::{self, Outline};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::cell::RefCell;

struct Trace {
    level: u32,
    from: Stream,
    /// The scopes that the trace is in, the last entered first.
    _scopes: (Option<Checkpoint>, Tracing),
}

thread_local! {
    static TRACES: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

/// `with tracing(passing): …`: what is made of arguments inside is the function of a scan; if `passing`, none of its values are kept
/// for the backward pass.
#[pyclass(frozen, module = "fluxrs", name = "tracing")]
struct PyTracing {
    passing: bool,
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTracing {
    #[new]
    fn new(passing: bool) -> PyTracing {
        PyTracing { passing }
    }

    fn __enter__(&self) {
        let level = level() + 1;
        let scopes = (self.passing.then(Checkpoint::enter), Tracing::enter(level));
        TRACES.with_borrow_mut(|traces| traces.push(Trace { level, from: state(), _scopes: scopes }));
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        drop(TRACES.with_borrow_mut(Vec::pop));
    }
}

/// An argument for a value like `x`, or for a row of it.
#[pyfunction(crate = "crate::keywords")]
fn argument(x: &Bound<'_, PyTensor>, row: bool) -> PyResult<PyTensor> {
    let x = x.get().value(x.py())?;
    let shape = &x.shape()[row as usize..];
    let argument = Tensor::argument(shape, x.dtype(), x.device(), x.dtype().is_float() && tracking());
    Ok(PyTensor::new(argument))
}

/// The last states and what each step gives, of the function traced in `tracing`: `states` and `rows` are its arguments and what they
/// stand for, `results` the new states and what a step gives.
#[pyfunction(crate = "crate::keywords")]
fn scan_over(
    states: (Vec<Bound<'_, PyAny>>, Vec<Bound<'_, PyAny>>),
    rows: (Vec<Bound<'_, PyAny>>, Vec<Bound<'_, PyAny>>),
    results: Vec<Bound<'_, PyAny>>,
    length: usize,
    reverse: bool,
) -> PyResult<Vec<PyTensor>> {
    let Some((level, from)) = TRACES.with_borrow(|traces| traces.last().map(|t| (t.level, t.from))) else {
        return Err(PyRuntimeError::new_err("scan: no function is being traced"));
    };
    let values = |xs: &[Bound<'_, PyAny>]| xs.iter().map(strong).collect::<PyResult<Values>>();
    let lists = [&states.0, &states.1, &rows.0, &rows.1, &results].map(|xs| values(xs));
    let [states, first, rows, sequences, results] = lists;
    let (states, first, rows, sequences, results) = (states?, first?, rows?, sequences?, results?);
    let pairs = |a: &Values, b: &Values| a.iter().cloned().zip(b.iter().cloned()).collect();
    let drawn = core(|| drawn(from, length))?;
    let outline = Outline {
        level,
        length,
        reverse,
        states: pairs(&states, &first),
        rows: pairs(&rows, &sequences),
        numbers: Default::default(),
        drawn,
        results: results.to_vec(),
    };
    let parts = core(|| scan::results(outline))?;
    Ok(parts.into_iter().map(PyTensor::new).collect())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyTracing>()?;
    m.add_function(wrap_pyfunction!(argument, m)?)?;
    m.add_function(wrap_pyfunction!(scan_over, m)?)
}
