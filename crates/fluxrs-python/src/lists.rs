//! Nests of lists and tuples as tensors: numbers become float32 unless another type is wanted, tensors among them are stacked.

use crate::arrays::{from_numpy, refuse_mask};
use crate::convert::{Dt, is_numpy_scalar, numpy, strong_beside};
use crate::error::core;
use crate::tensor::{PyTensor, Value};
use fluxrs::evaluate::Handle;
use fluxrs::ops::place::stack;
use fluxrs::{DType, Number, Tensor};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyIterator, PyList, PyRange, PyTuple};
use std::collections::HashMap;

/// NumPy's arrays have no more axes, so no nest of more levels is one.
pub const DEEPEST: usize = 64;
/// No machine has the memory for so many elements, which a list of itself twice, of that twice, … soon has.
const MOST: f64 = (1u64 << 45) as f64;

/// The type that the numbers of a list become.
#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    Floats,
    /// What one number of their kind would be beside a tensor of this type.
    Beside(DType),
    /// Integers stay integers.
    Indices,
    Exactly(DType),
}

pub fn is_list(x: &Bound<'_, PyAny>) -> bool {
    x.is_instance_of::<PyList>() || x.is_instance_of::<PyTuple>()
}

/// Calls `f` with every item of a list or tuple, as it lies in memory: a subclass has no say in it.
pub fn each<'py>(list: &Bound<'py, PyAny>, mut f: impl FnMut(Bound<'py, PyAny>) -> PyResult<()>) -> PyResult<()> {
    if let Ok(list) = list.cast::<PyList>() {
        return list.iter().try_for_each(f);
    }
    list.cast::<PyTuple>().map_or(Ok(()), |tuple| tuple.iter().try_for_each(&mut f))
}

/// The items of an iterator, at most so many of them. Ctrl-C ends one that is written in C and goes on for ever.
pub fn collected<'py>(op: &str, xs: &Bound<'py, PyIterator>, most: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut items = Vec::new();
    for item in xs.clone() {
        if items.len() == most {
            return Err(PyValueError::new_err(format!("{op}: more than {most} items, which are the most that are possible")));
        }
        if items.len() % 0x1_0000 == 0xffff {
            xs.py().check_signals()?;
        }
        items.push(item?);
    }
    Ok(items)
}

/// A range, a generator or another iterator is the list of what it yields: `sum(norm(p) for p in ps)`. None for what is no iterator,
/// or has an array of its own.
pub fn yielded<'py>(x: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if x.is_instance_of::<PyRange>() {
        // Python's own list raises where a long one has no room.
        return x.py().get_type::<PyList>().call1((x,)).map(Some);
    }
    let Ok(items) = x.cast::<PyIterator>() else { return Ok(None) };
    if x.hasattr("__array__")? || x.hasattr("__dlpack__")? {
        return Ok(None);
    }
    PyList::new(x.py(), collected("tensor", items, MOST as usize)?).map(|list| Some(list.into_any()))
}

pub fn too_deep(op: &str) -> PyErr {
    PyValueError::new_err(format!("{op}: lists are nested more than {DEEPEST} deep, or one holds itself"))
}

/// A list that has been looked through.
#[derive(Clone, Copy)]
struct Seen {
    levels: usize,
    elements: f64,
    tensors: bool,
}

/// The contents of a nest. Each list is looked through once, wherever it stands.
struct Nest {
    lists: HashMap<usize, Seen>,
    /// True if its numbers are Python's integers and truth values.
    integers: bool,
    /// What its tensors and arrays promote to.
    met: Option<DType>,
}

impl Nest {
    fn of(list: &Bound<'_, PyAny>) -> PyResult<(Nest, Seen)> {
        let mut nest = Nest { lists: HashMap::new(), integers: true, met: None };
        let seen = nest.look(list, 1)?;
        if seen.elements > MOST {
            return Err(PyMemoryError::new_err(format!("a tensor of {:.1e} elements does not fit into memory", seen.elements)));
        }
        Ok((nest, seen))
    }

    fn look(&mut self, list: &Bound<'_, PyAny>, depth: usize) -> PyResult<Seen> {
        let key = list.as_ptr() as usize;
        let known = self.lists.get(&key).copied();
        if depth + known.map_or(0, |seen| seen.levels - 1) > DEEPEST {
            return Err(too_deep("tensor"));
        }
        if let Some(seen) = known {
            return Ok(seen);
        }
        let mut all = Seen { levels: 1, elements: 0.0, tensors: false };
        each(list, |x| {
            let plain = x.is_exact_instance_of::<PyFloat>();
            self.integers &= !plain;
            if plain || x.is_exact_instance_of::<PyInt>() {
                all.elements += 1.0;
            } else if is_list(&x) {
                let inner = self.look(&x, depth + 1)?;
                all.levels = all.levels.max(inner.levels + 1);
                all.elements += inner.elements;
                all.tensors |= inner.tensors;
            } else {
                all.elements += 1.0;
                all.tensors |= x.is_instance_of::<PyTensor>();
                self.integers &= x.is_instance_of::<PyInt>();
                refuse_mask(&x)?;
                self.met = [self.met, own_dtype(&x)?].into_iter().flatten().reduce(DType::promote);
            }
            Ok(())
        })?;
        self.lists.insert(key, all);
        Ok(all)
    }
}

/// A list or tuple as a tensor.
pub fn from_list(list: &Bound<'_, PyAny>, wanted: Wanted) -> PyResult<Tensor> {
    let (mut nest, seen) = Nest::of(list)?;
    if seen.tensors {
        if let Wanted::Exactly(dtype) = wanted {
            nest.met = Some(dtype);
        }
        return Stacking { nest: &mut nest, known: HashMap::new(), handles: Vec::new() }.stacked(list, 1);
    }
    of_numbers(list, &nest, wanted)
}

/// Lists with tensors in them. What stands in several places is read once; leaves are held until all is stacked.
struct Stacking<'a, 'py> {
    nest: &'a mut Nest,
    known: HashMap<usize, (Bound<'py, PyAny>, Tensor)>,
    handles: Vec<Handle>,
}

impl<'py> Stacking<'_, 'py> {
    fn stacked(&mut self, list: &Bound<'py, PyAny>, depth: usize) -> PyResult<Tensor> {
        let mut parts = Vec::new();
        each(list, |x| {
            let key = x.as_ptr() as usize;
            if let Some((_, known)) = self.known.get(&key) {
                parts.push(known.clone());
                return Ok(());
            }
            let part = self.part(&x, depth)?;
            parts.push(part.clone());
            self.known.insert(key, (x, part));
            Ok(())
        })?;
        core(|| stack(&parts, 0))
    }

    fn part(&mut self, x: &Bound<'py, PyAny>, depth: usize) -> PyResult<Tensor> {
        // Looked at again: making an array of an item may have changed the list.
        if is_list(x) && self.nest.look(x, depth + 1)?.tensors {
            return self.stacked(x, depth + 1);
        }
        let value = match (self.nest.met, is_list(x)) {
            (Some(met), true) => Value::Owned(from_list(x, Wanted::Beside(met))?),
            (met, _) => strong_beside("tensor", x, met)?,
        };
        let tensor = (*value).clone();
        if let Value::Held(handle) = value {
            self.handles.push(handle);
        }
        Ok(tensor)
    }
}

/// The type of a tensor, an array or a NumPy scalar, which is not weak.
fn own_dtype(x: &Bound<'_, PyAny>) -> PyResult<Option<DType>> {
    if let Ok(t) = x.cast::<PyTensor>() {
        return Ok(Some(t.get().like().dtype()));
    }
    match x.is_instance_of::<PyUntypedArray>() || is_numpy_scalar(x)? {
        true => Ok(x.getattr("dtype")?.extract::<Dt>().ok().map(|d| d.0)),
        false => Ok(None),
    }
}

fn array_of<'py>(list: &Bound<'py, PyAny>, dtype: Option<&str>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = list.py();
    let options = PyDict::new(py);
    if let Some(dtype) = dtype {
        options.set_item("dtype", dtype)?;
    }
    let array = numpy(py)?.call_method("array", (list,), Some(&options)).map_err(|error| {
        // NumPy's own words for what is no array; what Python code in the list raises is its own affair.
        if !error.is_instance_of::<PyTypeError>(py) && !error.is_instance_of::<PyValueError>(py) {
            return error;
        }
        let new = PyTypeError::new_err(format!("cannot make a tensor of this list: {}", error.value(py)));
        new.set_cause(py, Some(error));
        new
    })?;
    Ok(array.cast_into()?)
}

fn of_numbers(list: &Bound<'_, PyAny>, nest: &Nest, wanted: Wanted) -> PyResult<Tensor> {
    let py = list.py();
    let mut array = array_of(list, None)?;
    let mut kind = array.dtype().kind();
    let weak = if nest.integers { DType::I64 } else { DType::F64 };
    let whole = match wanted {
        Wanted::Exactly(dtype) => Some(dtype),
        Wanted::Beside(met) => Some(met.promote_weak(weak)),
        _ => None,
    };
    if nest.integers
        && kind != b'b'
        && let Some(dtype) = whole.filter(|d| d.is_int())
    {
        return exact(list, dtype);
    }
    if matches!(kind, b'U' | b'S') {
        return Err(PyTypeError::new_err("cannot make a tensor of a list with str or bytes in it; tensors hold numbers"));
    }
    if nest.integers && (kind == b'O' || (kind == b'u' && array.dtype().itemsize() == 8)) {
        // Integers beyond 64 bits.
        if wanted == Wanted::Indices {
            return Err(PyIndexError::new_err("an index of the list is out of range for any axis"));
        }
        array = array_of(list, Some("float64")).map_err(|error| too_large(error, "float64", py))?;
        kind = b'f';
    }
    if array.is_empty() && kind == b'f' && wanted == Wanted::Indices {
        return core(|| Tensor::full(array.shape(), 0i64, DType::I64));
    }
    let x = from_numpy(&array)?;
    if kind == b'b' || innermost_is_array(list, py)? {
        return Ok(x);
    }
    Ok(match wanted {
        Wanted::Floats => x.cast(DType::F32),
        Wanted::Beside(met) => x.cast(met.promote_weak(weak)),
        Wanted::Indices | Wanted::Exactly(_) => x,
    })
}

fn too_large(error: PyErr, dtype: &str, py: Python<'_>) -> PyErr {
    match error.is_instance_of::<PyOverflowError>(py) {
        true => PyOverflowError::new_err(format!("tensor: an integer of the list does not fit into {dtype}")),
        false => error,
    }
}

/// Integers without a way through floats, each of which must fit.
fn exact(list: &Bound<'_, PyAny>, dtype: DType) -> PyResult<Tensor> {
    let py = list.py();
    let array = array_of(list, Some("int64")).map_err(|error| too_large(error, dtype.name(), py))?;
    if !array.is_empty() {
        for worst in ["min", "max"] {
            let n: i64 = array.call_method0(worst)?.extract()?;
            core(|| Number::Int(n).check("tensor", dtype))?;
        }
    }
    Ok(from_numpy(&array)?.cast(dtype))
}

/// True if a list's innermost lists are NumPy arrays, whose type counts.
fn innermost_is_array(list: &Bound<'_, PyAny>, py: Python<'_>) -> PyResult<bool> {
    let mut now = list.clone();
    for _ in 0..=DEEPEST {
        let first = match (now.cast::<PyList>(), now.cast::<PyTuple>()) {
            (Ok(list), _) => list.iter().next(),
            (_, Ok(tuple)) => tuple.iter().next(),
            _ => return Ok(now.is_instance_of::<PyUntypedArray>()),
        };
        now = first.unwrap_or_else(|| py.None().into_bound(py));
    }
    Ok(false)
}
