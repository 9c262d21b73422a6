//! Indexing by NumPy's rules: integers, slices, None, Ellipsis, arrays of integers, boolean masks, and mixtures.

use crate::convert::{from_numpy, indices, numpy};
use crate::error::core;
use crate::export::to_numpy;
use crate::tensor::{PyTensor, made};
use fluxrs::ops::index::{take, take_along_axes};
use fluxrs::ops::view::Slice;
use fluxrs::shape::show;
use fluxrs::{DType, Tensor};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyIterator, PyList, PySlice, PyTuple};

/// One entry of a key.
enum Entry<'py> {
    Int(isize),
    Slice(Bound<'py, PySlice>),
    NewAxis,
    Rest,
    /// Integers, and whether they were known at the call (and so are checked there).
    Array(Tensor, bool),
    /// Where a mask is true along one of its axes, the mask's shape, and which axis that is.
    Mask(Tensor, Vec<usize>, usize),
}

/// Row `i` of a tensor.
pub fn row(x: &Tensor, i: usize) -> fluxrs::Result<Tensor> {
    let slices: Vec<Slice> =
        whole(x.shape(), |axis, len| if axis == 0 { Slice { start: i, step: 1, len: 1 } } else { full(len) });
    let rest: Vec<isize> = x.shape()[1..].iter().map(|&n| n as isize).collect();
    x.slice(&slices).reshape(&rest)
}

fn full(len: usize) -> Slice {
    Slice { start: 0, step: 1, len }
}

fn whole(shape: &[usize], f: impl Fn(usize, usize) -> Slice) -> Vec<Slice> {
    shape.iter().enumerate().map(|(axis, &len)| f(axis, len)).collect()
}

fn parse<'py>(key: &Bound<'py, PyAny>, out: &mut Vec<Entry<'py>>) -> PyResult<()> {
    let py = key.py();
    if let Ok(slice) = key.cast::<PySlice>() {
        out.push(Entry::Slice(slice.clone()));
    } else if key.is_none() {
        out.push(Entry::NewAxis);
    } else if key.is_instance_of::<PyEllipsis>() {
        out.push(Entry::Rest);
    } else if key.is_instance_of::<PyInt>() && !key.is_instance_of::<PyBool>() {
        out.push(Entry::Int(key.extract()?));
    } else if key.is_instance_of::<PyTensor>()
        || key.is_instance_of::<PyList>()
        || key.is_instance_of::<PyTuple>()
        || key.is_instance_of::<PyBool>()
        || key.hasattr("__array__")?
    {
        let array = indices(key)?;
        let known = !key.is_instance_of::<PyTensor>();
        match array.dtype() {
            DType::Bool => {
                if array.ndim() == 0 {
                    let text = "True and False alone are no index; t[None] adds an axis, and a mask has the shape of what it selects from";
                    return Err(PyIndexError::new_err(text));
                }
                // How many elements a mask selects is known only by its value.
                let mask = to_numpy(py, &array)?;
                for (axis, at) in numpy(py)?.call_method1("nonzero", (mask,))?.try_iter()?.enumerate() {
                    let at = from_numpy(at?.cast::<PyUntypedArray>()?)?;
                    out.push(Entry::Mask(at, array.shape().to_vec(), axis));
                }
            }
            d if d.is_int() && array.ndim() == 0 && known => out.push(Entry::Int(key.call_method0("__index__")?.extract()?)),
            d if d.is_int() => out.push(Entry::Array(array.into_owned(), known)),
            d => {
                return Err(PyIndexError::new_err(format!(
                    "an index is an integer, a slice, None, Ellipsis, integers or a mask; got {d}"
                )));
            }
        }
    } else if key.hasattr("__index__")? {
        out.push(Entry::Int(key.call_method0("__index__")?.extract()?));
    } else {
        let kind = key.get_type().name()?;
        return Err(PyIndexError::new_err(format!(
            "an index is an integer, a slice, None, Ellipsis, integers or a mask; got {kind}"
        )));
    }
    Ok(())
}

fn consumed(entries: &[Entry<'_>]) -> usize {
    entries.iter().filter(|e| !matches!(e, Entry::NewAxis | Entry::Rest)).count()
}

fn out_of_range(index: i64, axis: usize, size: usize) -> PyErr {
    PyIndexError::new_err(format!("index {index} is out of range for axis {axis} of size {size}"))
}

/// Checks indices that were given as values.
fn check_known(py: Python<'_>, at: &Tensor, axis: usize, size: usize) -> PyResult<()> {
    if at.size() == 0 {
        return Ok(());
    }
    let array = to_numpy(py, at)?;
    for worst in ["min", "max"] {
        let i: i64 = array.call_method0(worst)?.extract()?;
        if i < -(size as i64) || i >= size as i64 {
            return Err(out_of_range(i, axis, size));
        }
    }
    Ok(())
}

pub fn get(x: &Tensor, key: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = key.py();
    let mut entries = Vec::new();
    match key.cast::<PyTuple>() {
        Ok(tuple) => {
            for k in tuple.iter() {
                parse(&k, &mut entries)?;
            }
        }
        Err(_) => parse(key, &mut entries)?,
    }
    let used = consumed(&entries);
    if used > x.ndim() {
        return Err(PyIndexError::new_err(format!(
            "{used} indices for a tensor of {} axes (shape {})",
            x.ndim(),
            show(x.shape())
        )));
    }
    if entries.iter().filter(|e| matches!(e, Entry::Rest)).count() > 1 {
        return Err(PyIndexError::new_err("an index can have one Ellipsis only"));
    }
    if !entries.iter().any(|e| matches!(e, Entry::Rest)) {
        entries.push(Entry::Rest);
    }
    let mixed = entries.iter().any(|e| matches!(e, Entry::Array(..) | Entry::Mask(..)));

    // First what is a view: slices, integers, new axes. Arrays leave their axis whole, and beside an array an integer is one.
    let mut slices: Vec<Slice> = Vec::with_capacity(x.ndim());
    let mut kept: Vec<isize> = Vec::new();
    let mut arrays: Vec<(usize, Tensor)> = Vec::new();
    for entry in entries {
        let axis = slices.len();
        let size = x.shape().get(axis).copied().unwrap_or(0);
        match entry {
            Entry::NewAxis => kept.push(1),
            Entry::Rest => {
                for &n in &x.shape()[axis..axis + x.ndim() - used] {
                    slices.push(full(n));
                    kept.push(n as isize);
                }
            }
            Entry::Slice(s) => {
                let at = s.indices(size as isize)?;
                slices.push(Slice { start: at.start.max(0) as usize, step: at.step, len: at.slicelength });
                kept.push(at.slicelength as isize);
            }
            Entry::Int(i) => {
                let plain = if i < 0 { i + size as isize } else { i };
                if plain < 0 || plain >= size as isize {
                    return Err(out_of_range(i as i64, axis, size));
                }
                if mixed {
                    slices.push(full(size));
                    arrays.push((kept.len(), Tensor::full(&[], i as i64, DType::I64)));
                    kept.push(size as isize);
                } else {
                    slices.push(Slice { start: plain as usize, step: 1, len: 1 });
                }
            }
            Entry::Array(at, known) => {
                if known {
                    check_known(py, &at, axis, size)?;
                }
                slices.push(full(size));
                arrays.push((kept.len(), at));
                kept.push(size as isize);
            }
            Entry::Mask(at, mask, which) => {
                if mask[which] != size {
                    return Err(PyIndexError::new_err(format!(
                        "a mask of shape {} does not fit axis {} and following of a tensor of shape {}",
                        show(&mask),
                        axis - which,
                        show(x.shape())
                    )));
                }
                slices.push(full(size));
                arrays.push((kept.len(), at));
                kept.push(size as isize);
            }
        }
    }
    core(|| {
        let view = x.slice(&slices).reshape(&kept)?;
        if arrays.is_empty() { Ok(view) } else { gather(&view, arrays) }
    })
}

/// Elements at arrays of indices into some axes. Where these stand together the result's axes stand there, else in front.
fn gather(x: &Tensor, arrays: Vec<(usize, Tensor)>) -> fluxrs::Result<Tensor> {
    let (axes, at): (Vec<usize>, Vec<Tensor>) = arrays.into_iter().unzip();
    if let [axis] = axes[..] {
        return take(x, &at[0], axis as isize);
    }
    let rest = (0..x.ndim()).filter(|a| !axes.contains(a));
    let order: Vec<isize> = axes.iter().copied().chain(rest).map(|a| a as isize).collect();
    let out = take_along_axes(&x.transpose(Some(&order))?, &at, &axes)?;
    let together = axes.windows(2).all(|w| w[1] == w[0] + 1);
    if !together || axes[0] == 0 {
        return Ok(out);
    }
    // The new axes go behind those that stood before the first indexed one.
    let new = out.ndim() - (x.ndim() - axes.len());
    let before = new..new + axes[0];
    let order: Vec<isize> = before.clone().chain(0..new).chain(before.end..out.ndim()).map(|a| a as isize).collect();
    out.transpose(Some(&order))
}

#[pymethods]
impl PyTensor {
    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let x = self.value(key.py())?;
        let found = get(&x, key)?;
        made(|| Ok(found))
    }

    fn __len__(&self) -> PyResult<usize> {
        match self.like().shape().first() {
            Some(&n) => Ok(n),
            None => Err(PyTypeError::new_err("a 0-d tensor has no len")),
        }
    }

    /// Over the first axis.
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let x = self.value(py)?;
        let Some(&n) = x.shape().first() else {
            return Err(PyTypeError::new_err("a 0-d tensor cannot be iterated over"));
        };
        let rows = (0..n).map(|i| made(|| row(&x, i))).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, rows.into_iter().map(|r| Py::new(py, r)).collect::<PyResult<Vec<_>>>()?)?.try_iter()
    }

    /// Whether an element equals `x`.
    fn __contains__(slf: &Bound<'_, Self>, x: &Bound<'_, PyAny>) -> PyResult<bool> {
        slf.as_any().eq_elementwise(x)?.call_method0("any")?.is_truthy()
    }
}

/// `==` with its elementwise meaning.
trait EqElementwise<'py> {
    fn eq_elementwise(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
}

impl<'py> EqElementwise<'py> for Bound<'py, PyAny> {
    fn eq_elementwise(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.rich_compare(other, pyo3::basic::CompareOp::Eq)
    }
}
