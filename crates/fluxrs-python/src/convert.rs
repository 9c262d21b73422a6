//! Python objects as tensors: numbers are weak, arrays are copied at the call, lists of numbers are float32.

use crate::arrays::{array_of, from_numpy};
use crate::error::{core, shown};
use crate::lists::{Wanted, from_list, is_list, yielded};
use crate::tensor::{PyTensor, Value};
use fluxrs::device::Device;
use fluxrs::graph::no_grad;
use fluxrs::ops::create::made_on;
use fluxrs::shape::show;
use fluxrs::transfer::to_device;
use fluxrs::{DType, Number, Tensor};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyModule, PyRange, PyTuple};
use smallvec::SmallVec;

pub fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(NUMPY.get_or_try_init(py, || py.import("numpy").map(Bound::unbind))?.bind(py))
}

/// A Python or NumPy number, if it is one.
pub fn number(obj: &Bound<'_, PyAny>) -> PyResult<Option<Number>> {
    if let Ok(x) = obj.cast_exact::<PyFloat>() {
        return Ok(Some(Number::Float(x.value())));
    }
    if let Ok(x) = obj.cast_exact::<PyInt>() {
        return Ok(Some(integer(x)?));
    }
    if let Ok(x) = obj.cast::<PyBool>() {
        return Ok(Some(Number::Bool(x.is_true())));
    }
    if let Ok(x) = obj.cast::<PyFloat>() {
        return Ok(Some(Number::Float(x.value())));
    }
    if let Ok(x) = obj.cast::<PyInt>() {
        return Ok(Some(integer(x)?));
    }
    if is_numpy_scalar(obj)? {
        let item = obj.call_method0("item")?;
        // A time without a unit shows itself as a plain integer.
        let time = matches!(obj.getattr("dtype")?.getattr("kind")?.extract()?, 'm' | 'M');
        if time || is_numpy_scalar(&item)? {
            return Err(unsupported(obj));
        }
        return number(&item);
    }
    Ok(None)
}

fn integer(x: &Bound<'_, PyInt>) -> PyResult<Number> {
    match x.extract::<i64>() {
        Ok(i) => Ok(Number::Int(i)),
        Err(_) => x.extract().map(Number::Huge).map_err(|error| named(error, "a number", x)),
    }
}

/// Python's error for an integer that is too large, as one that names the argument and says what it got; others as they are.
#[cold]
pub fn named(error: PyErr, what: &str, x: &Bound<'_, PyAny>) -> PyErr {
    let is_integer = x.hasattr("__index__").unwrap_or(false);
    if !error.is_instance_of::<PyOverflowError>(x.py()) || !(is_integer || is_list(x)) {
        return error;
    }
    let fits = is_integer && x.extract::<i64>().is_ok();
    let why = if fits { "must be >= 0" } else { "does not fit into 64 bits" };
    PyOverflowError::new_err(format!("{what} {why}: {}", shown(x)))
}

pub fn is_numpy_scalar(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    static GENERIC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let generic = GENERIC.get_or_try_init(obj.py(), || numpy(obj.py())?.getattr("generic").map(Bound::unbind))?;
    obj.is_instance(generic.bind(obj.py()))
}

/// An operand of an op; None for what is no array and no number, so that its own operators may be tried.
#[inline]
pub fn operand<'a>(obj: &'a Bound<'_, PyAny>) -> PyResult<Option<Value<'a>>> {
    if let Ok(x) = obj.cast::<PyTensor>() {
        return x.get().value(obj.py()).map(Some);
    }
    if let Ok(x) = obj.cast_exact::<PyFloat>() {
        return Ok(Some(Value::Owned(Tensor::number(x.value()))));
    }
    other_operand(obj)
}

#[inline(never)]
fn other_operand<'a>(obj: &Bound<'_, PyAny>) -> PyResult<Option<Value<'a>>> {
    if let Some(n) = number(obj)? {
        return Ok(Some(Value::Owned(Tensor::number(n))));
    }
    array_like(obj).map(|x| x.map(Value::Owned))
}

/// Arrays, lists and other things that NumPy can read; None for anything else, and for what
/// asks by `__array_ufunc__ = None` to be left to its own operators.
fn array_like(obj: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    if let Ok(array) = obj.cast::<PyUntypedArray>() {
        return from_numpy(array).map(Some);
    }
    if is_list(obj) {
        return from_list(obj, Wanted::Floats).map(Some);
    }
    if obj.getattr_opt("__array_ufunc__")?.is_some_and(|u| u.is_none()) {
        return Ok(None);
    }
    array_of(obj)?.map(|array| from_numpy(&array)).transpose()
}

/// An argument of a function: anything that can be an array.
pub fn argument<'a>(obj: &'a Bound<'_, PyAny>) -> PyResult<Value<'a>> {
    match taken(obj)? {
        Taken::Value(x) => Ok(x),
        Taken::List(list) => from_list(&list, Wanted::Floats).map(Value::Owned),
    }
}

enum Taken<'a, 'py> {
    Value(Value<'a>),
    /// What an iterator has yielded: the type of its numbers is still open.
    List(Bound<'py, PyAny>),
}

fn taken<'a, 'py>(obj: &'a Bound<'py, PyAny>) -> PyResult<Taken<'a, 'py>> {
    if let Some(x) = operand(obj)? {
        return Ok(Taken::Value(x));
    }
    if let Some(array) = array_of(obj)? {
        return from_numpy(&array).map(Value::Owned).map(Taken::Value);
    }
    yielded(obj)?.map(Taken::List).ok_or_else(|| unsupported(obj))
}

/// The two operands of an op; None if one of them is left to its own operators.
#[inline]
pub fn operands<'a>(a: &'a Bound<'_, PyAny>, b: &'a Bound<'_, PyAny>) -> PyResult<Option<[Value<'a>; 2]>> {
    let Some(x) = operand(a)? else { return operands_of_ranges(a, b) };
    let y = if b.is(a) { Some(x.again()) } else { operand(b)? };
    let Some(y) = y else { return operands_of_ranges(a, b) };
    meeting([a, b], [x, y])
}

#[inline]
fn meeting<'a>(objs: [&Bound<'_, PyAny>; 2], mut xs: [Value<'a>; 2]) -> PyResult<Option<[Value<'a>; 2]>> {
    meet(&objs, &mut xs)?;
    if xs[0].device() != xs[1].device() {
        settle(&objs, &mut xs)?;
    }
    Ok(Some(xs))
}

/// As `operands`, where one is a range: the list of its numbers, as for NumPy.
#[cold]
fn operands_of_ranges<'a>(a: &'a Bound<'_, PyAny>, b: &'a Bound<'_, PyAny>) -> PyResult<Option<[Value<'a>; 2]>> {
    let is_range = |x: &Bound<'_, PyAny>| x.is_instance_of::<PyRange>();
    if !is_range(a) && !is_range(b) {
        return Ok(None);
    }
    let list = |x| if is_range(x) { yielded(x) } else { Ok(None) };
    let lists = [list(a)?, list(b)?];
    let value = |obj: &'a Bound<'_, PyAny>, list: &Option<Bound<'_, PyAny>>| match list {
        Some(list) => from_list(list, Wanted::Floats).map(Value::Owned).map(Some),
        None => operand(obj),
    };
    let (Some(x), Some(y)) = (value(a, &lists[0])?, value(b, &lists[1])?) else { return Ok(None) };
    meeting([lists[0].as_ref().unwrap_or(a), lists[1].as_ref().unwrap_or(b)], [x, y])
}

/// Several arguments of one function.
pub fn arguments<'a, const N: usize>(objs: [&'a Bound<'_, PyAny>; N]) -> PyResult<[Value<'a>; N]> {
    let mut out = [const { None }; N];
    let mut lists = [const { None }; N];
    for (i, obj) in objs.into_iter().enumerate() {
        out[i] = Some(match taken(obj)? {
            Taken::Value(x) => x,
            Taken::List(list) => Value::Owned(from_list(lists[i].insert(list), Wanted::Floats)?),
        });
    }
    let mut xs = out.map(|x| x.expect("every argument was found"));
    let objs: [_; N] = std::array::from_fn(|i| lists[i].as_ref().unwrap_or(objs[i]));
    meet(&objs, &mut xs)?;
    if xs.iter().any(|x| x.device() != xs[0].device()) {
        settle(&objs, &mut xs)?;
    }
    Ok(xs)
}

/// Lists of numbers are weak, as numbers are: made again in the type that they meet, unless that is float32, which they have.
#[inline]
pub fn meet(objs: &[&Bound<'_, PyAny>], xs: &mut [Value<'_>]) -> PyResult<Option<DType>> {
    match xs.iter().all(|x| x.dtype() == DType::F32 || x.is_number()) {
        true => Ok(None),
        false => meet_others(objs, xs),
    }
}

#[inline(never)]
fn meet_others(objs: &[&Bound<'_, PyAny>], xs: &mut [Value<'_>]) -> PyResult<Option<DType>> {
    // A list of numbers is float32 or bool on its own; of another type is one of tensors.
    let own = |obj: &Bound<'_, PyAny>, x: &Tensor| !is_list(obj) || !matches!(x.dtype(), DType::F32 | DType::Bool);
    let strong = objs.iter().zip(&*xs).filter(|(obj, x)| !x.is_number() && own(obj, x));
    let met = strong.map(|(_, x)| x.dtype()).reduce(DType::promote);
    if let Some(met) = met.filter(|&d| d != DType::F32) {
        for (obj, x) in objs.iter().zip(xs).filter(|(obj, _)| is_list(obj)) {
            *x = Value::Owned(from_list(obj, Wanted::Beside(met))?);
        }
    }
    Ok(met)
}

/// Beside a tensor on a GPU, arrays are copied there, and constants and random numbers are made there.
#[cold]
pub fn settle(objs: &[&Bound<'_, PyAny>], xs: &mut [Value<'_>]) -> PyResult<()> {
    let Some(device) = xs.iter().map(|x| x.device()).find(|d| !d.is_cpu()) else { return Ok(()) };
    for (obj, x) in objs.iter().zip(xs) {
        if x.is_number() || !x.device().is_cpu() {
            continue;
        }
        if let Some(there) = brought(obj, x, device)? {
            *x = Value::Owned(there);
        }
    }
    Ok(())
}

/// A constant or an array, on the GPU that it is used on; None for a tensor, which is moved by hand.
fn brought(obj: &Bound<'_, PyAny>, x: &Tensor, device: Device) -> PyResult<Option<Tensor>> {
    match made_on(x, device) {
        None if obj.is_instance_of::<PyTensor>() => Ok(None),
        None => crate::error::detached(obj.py(), || to_device(x, device)).map(Some),
        made => Ok(made),
    }
}

/// An argument whose numbers, if it is a list or yields them, are of a known type.
fn listed<'a>(obj: &'a Bound<'_, PyAny>, wanted: Wanted) -> PyResult<Value<'a>> {
    if is_list(obj) {
        return from_list(obj, wanted).map(Value::Owned);
    }
    match taken(obj)? {
        Taken::Value(x) => Ok(x),
        Taken::List(list) => from_list(&list, wanted).map(Value::Owned),
    }
}

/// An argument of `op` that goes with a tensor like this one: lists of numbers take its type; beside one on a GPU, arrays are copied
/// there and constants made there.
pub fn beside<'a>(op: &str, like: &Tensor, obj: &'a Bound<'_, PyAny>) -> PyResult<Value<'a>> {
    let x = listed(obj, Wanted::Beside(like.dtype()))?;
    let device = like.device();
    if x.device() == device || x.is_number() {
        return Ok(x);
    }
    if !device.is_cpu()
        && let Some(there) = brought(obj, &x, device)?
    {
        return Ok(Value::Owned(there));
    }
    let text = format!("{op}: operands live on {device} and {}; move one with gpu(x) or cpu(x)", x.device());
    Err(crate::error::DeviceError::new_err(text))
}

/// As `beside`, where a number takes that type too.
pub fn strong_like<'a>(op: &str, like: &Tensor, obj: &'a Bound<'_, PyAny>) -> PyResult<Value<'a>> {
    let x = beside(op, like, obj)?;
    Ok(if x.is_number() { Value::Owned(typed(&x, Some(like.dtype()))) } else { x })
}

/// An argument with a type of its own: a number becomes a 0-d tensor, a NumPy scalar keeps its type.
pub fn strong<'a>(obj: &'a Bound<'_, PyAny>) -> PyResult<Value<'a>> {
    if is_numpy_scalar(obj)? {
        let array = numpy(obj.py())?.call_method1("asarray", (obj,))?;
        return from_numpy(array.cast::<PyUntypedArray>()?).map(Value::Owned);
    }
    let x = argument(obj)?;
    Ok(if x.is_number() { Value::Owned(typed(&x, None)) } else { x })
}

/// As `strong`, where a number takes the type that it meets.
pub fn strong_beside<'a>(op: &str, obj: &'a Bound<'_, PyAny>, met: Option<DType>) -> PyResult<Value<'a>> {
    if let (Some(met), Some(n), false) = (met, number(obj)?, is_numpy_scalar(obj)?) {
        core(|| n.check(op, met.promote_weak(n.dtype())))?;
        return Ok(Value::Owned(typed(&Tensor::number(n), Some(met))));
    }
    strong(obj)
}

/// A number as a 0-d tensor: of the type that it has beside one of type `met`.
fn typed(x: &Tensor, met: Option<DType>) -> Tensor {
    let alone = if x.dtype() == DType::Bool { DType::Bool } else { DType::F32 };
    no_grad(|| x.cast(met.map_or(alone, |met| met.promote_weak(x.dtype()))))
}

/// Indices: lists of integers keep their type.
pub fn indices<'a>(obj: &'a Bound<'_, PyAny>) -> PyResult<Value<'a>> {
    let x = listed(obj, Wanted::Indices)?;
    Ok(if x.is_number() { Value::Owned(x.cast(x.dtype())) } else { x })
}

pub fn unsupported(obj: &Bound<'_, PyAny>) -> PyErr {
    let kind = obj.get_type().name().map(|n| n.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!(
        "cannot make a tensor of a {kind}; tensors hold float32, float64, int32, int64 or bool: give numbers, a list of them, or a NumPy array"
    ))
}

/// A dtype given as a name, a NumPy dtype or a Python type.
#[derive(Clone, Copy)]
pub struct Dt(pub DType);

impl<'py> FromPyObject<'_, 'py> for Dt {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, 'py, PyAny>) -> PyResult<Dt> {
        let wrong = || PyTypeError::new_err(format!("dtype {} is none of float32, float64, int32, int64, bool", shown(&obj)));
        let dtype = numpy(obj.py())?.getattr("dtype")?.call1((obj,)).map_err(|_| wrong())?;
        let name: String = dtype.getattr("name")?.extract()?;
        DType::ALL.into_iter().find(|d| d.name() == name).map(Dt).ok_or_else(wrong)
    }
}

fn index_number(obj: &Bound<'_, PyAny>, what: &str) -> PyResult<isize> {
    if obj.is_instance_of::<PyBool>() || !obj.hasattr("__index__")? {
        return Err(PyTypeError::new_err(format!("{what} must be an integer or a tuple of integers, got {}", shown(obj))));
    }
    obj.extract().map_err(|error| named(error, what, obj))
}

/// One axis or several.
#[derive(Clone)]
pub struct Axes(pub SmallVec<[isize; 4]>);

impl<'py> FromPyObject<'_, 'py> for Axes {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, 'py, PyAny>) -> PyResult<Axes> {
        if obj.is_instance_of::<PyTuple>() || obj.is_instance_of::<PyList>() {
            let list = obj.try_iter()?.map(|a| index_number(&a?, "axis")).collect::<PyResult<_>>()?;
            return Ok(Axes(list));
        }
        Ok(Axes(SmallVec::from_slice(&[index_number(&obj, "axis")?])))
    }
}

/// Integers given one by one or as one tuple, such as `(2, 3)` or `2, 3`.
pub fn integers(args: &Bound<'_, PyTuple>, what: &str) -> PyResult<SmallVec<[isize; 4]>> {
    if args.len() == 1 {
        let only = args.get_item(0)?;
        if only.is_instance_of::<PyTuple>() || only.is_instance_of::<PyList>() {
            return only.try_iter()?.map(|a| index_number(&a?, what)).collect();
        }
    }
    args.iter().map(|a| index_number(&a, what)).collect()
}

/// A number of things, which is not negative.
pub fn count(what: &str, n: isize) -> PyResult<usize> {
    usize::try_from(n).map_err(|_| PyValueError::new_err(format!("{what} must be >= 0, got {n}")))
}

/// A shape: integers that are not negative.
pub fn shape(args: &Bound<'_, PyTuple>, op: &str) -> PyResult<SmallVec<[usize; 4]>> {
    let list = integers(args, &format!("{op}: a shape"))?;
    if let Some(bad) = list.iter().find(|&&n| n < 0) {
        return Err(PyValueError::new_err(format!("{op}: lengths must be >= 0, got {bad}")));
    }
    let shape: SmallVec<[usize; 4]> = list.into_iter().map(|n| n as usize).collect();
    core(|| fluxrs::shape::check(op, &shape))?;
    Ok(shape)
}

/// The shape of a tensor that has memory of its own.
pub fn owned_shape(args: &Bound<'_, PyTuple>, op: &str) -> PyResult<SmallVec<[usize; 4]>> {
    let shape = shape(args, op)?;
    check_size(&shape, op)?;
    Ok(shape)
}

/// No machine has as much memory as this many elements take.
const MOST_ELEMENTS: usize = 1 << 45;

pub fn check_size(shape: &[usize], op: &str) -> PyResult<()> {
    core(|| fluxrs::shape::check(op, shape))?;
    if fluxrs::shape::size(shape) > MOST_ELEMENTS {
        return Err(PyMemoryError::new_err(format!("{op}: a tensor of shape {} does not fit into memory", show(shape))));
    }
    Ok(())
}
