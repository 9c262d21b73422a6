//! NumPy's functions on tensors: they give tensors, or say that they cannot. And DLPack.

use crate::convert::numpy;
use crate::error::core;
use crate::export::to_numpy;
use crate::lists::{DEEPEST, each, is_list, too_deep};
use crate::tensor::PyTensor;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::HashMap;

type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// NumPy's names of functions that we have under the second.
const RENAMED: &[(&str, &str)] = &[
    ("absolute", "abs"),
    ("fabs", "abs"),
    ("amax", "max"),
    ("amin", "min"),
    ("permute_dims", "transpose"),
    ("concat", "concatenate"),
];

/// NumPy's universal functions that are operators of Python, by the names of its methods.
const OPERATORS: &[(&str, &str)] = &[
    ("power", "pow"),
    ("float_power", "pow"),
    ("positive", "pos"),
    ("conjugate", "pos"),
    ("invert", "invert"),
    ("bitwise_and", "and"),
    ("bitwise_or", "or"),
    ("bitwise_xor", "xor"),
];

/// NumPy's reductions by a universal function, and running ones.
const BY_UFUNC: &[(&str, &str, &str)] = &[
    ("reduce", "add", "sum"),
    ("reduce", "multiply", "prod"),
    ("reduce", "maximum", "max"),
    ("reduce", "minimum", "min"),
    ("reduce", "logical_and", "all"),
    ("reduce", "logical_or", "any"),
    ("accumulate", "add", "cumsum"),
    ("accumulate", "multiply", "cumprod"),
];

/// Sections whose functions take numbers: with tensors in their place a gradient would be lost.
const OF_NUMBERS: &[&str] = &["Making tensors", "Random numbers"];

/// Our function for NumPy's of this name: the one that has it.
fn ours(name: &str, linear: bool) -> Option<&str> {
    let name = RENAMED.iter().find(|renamed| renamed.0 == name).map_or(name, |renamed| renamed.1);
    // np.linalg has functions of the names of others that mean other axes.
    let section = crate::reference::section(name)?;
    (!OF_NUMBERS.contains(&section) && (!linear || section == "Linear algebra")).then_some(name)
}

/// Functions whose results hold the values, and so have no gradient: they get NumPy arrays.
const OF_VALUES: &[&str] = &["copyto", "unique", "bincount", "histogram"];

/// Functions that ask about values and give nothing to differentiate, or write them out: likewise.
const ON_VALUES: &[&str] = &[
    "allclose",
    "isclose",
    "array_equal",
    "array_equiv",
    "array2string",
    "array_repr",
    "array_str",
    "save",
    "savez",
    "savez_compressed",
    "savetxt",
    "may_share_memory",
    "shares_memory",
    "result_type",
    "can_cast",
    "iscomplexobj",
    "isrealobj",
    "count_nonzero",
    "nonzero",
    "flatnonzero",
    "argwhere",
    "searchsorted",
];

const KEYWORDS: &[(&str, &str)] = &[("a_min", "low"), ("a_max", "high"), ("min", "low"), ("max", "high")];

fn cannot(what: &str) -> PyErr {
    PyTypeError::new_err(format!("{what} does not take tensors; use np.asarray(t) for the value, which has no gradient"))
}

/// How a tensor is made a NumPy array.
type ToArray<'py> = fn(&PyTensor, Python<'py>) -> Object<'py>;

/// The array of a question about values, whose answer has no gradient anyway.
fn asked<'py>(t: &PyTensor, py: Python<'py>) -> Object<'py> {
    to_numpy(py, &*t.value(py)?)
}

/// Tensors in a nest of lists and tuples as NumPy arrays.
fn plain<'py>(x: &Bound<'py, PyAny>, array: ToArray<'py>) -> Object<'py> {
    plain_at(x, array, 0, &mut HashMap::new())
}

/// Lists that are done, and what they became; held, so that no other object comes to lie where one of them was.
type Done<'py> = HashMap<usize, [Bound<'py, PyAny>; 2]>;

fn plain_at<'py>(x: &Bound<'py, PyAny>, array: ToArray<'py>, depth: usize, done: &mut Done<'py>) -> Object<'py> {
    let py = x.py();
    if let Ok(t) = x.cast::<PyTensor>() {
        return array(t.get(), py);
    }
    if !is_list(x) {
        return Ok(x.clone());
    }
    // One level more than an array has: the arguments themselves.
    if depth > DEEPEST {
        return Err(too_deep("a NumPy function"));
    }
    if let Some([_, known]) = done.get(&(x.as_ptr() as usize)) {
        return Ok(known.clone());
    }
    let mut items = Vec::new();
    each(x, |item| {
        items.push(plain_at(&item, array, depth + 1, done)?);
        Ok(())
    })?;
    let list = x.is_instance_of::<PyList>();
    let new = if list { PyList::new(py, items)?.into_bound_py_any(py) } else { PyTuple::new(py, items)?.into_bound_py_any(py) }?;
    done.insert(x.as_ptr() as usize, [x.clone(), new.clone()]);
    Ok(new)
}

fn any_tracked(args: &Bound<'_, PyTuple>) -> bool {
    args.iter().any(|x| x.cast::<PyTensor>().is_ok_and(|t| t.get().is_tracked()))
}

/// A universal function on its operands, one of which is a tensor: an operator, or our function of its name.
fn universal<'py>(name: &str, what: &str, inputs: &Bound<'py, PyTuple>) -> Object<'py> {
    let Some((_, operator)) = OPERATORS.iter().find(|operator| operator.0 == name) else {
        let ours = ours(name, false).ok_or_else(|| cannot(what))?;
        return inputs.py().import("fluxrs._core")?.getattr(ours)?.call1(inputs);
    };
    let x = inputs.get_item(0)?;
    if x.is_instance_of::<PyTensor>() {
        return x.call_method1(format!("__{operator}__"), inputs.get_slice(1, inputs.len()));
    }
    inputs.get_item(1)?.call_method1(format!("__r{operator}__"), (x,))
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// In an operation with an array the tensor's own operators win.
    #[classattr]
    fn __array_priority__() -> f64 {
        1000.0
    }

    #[pyo3(signature = (ufunc, method, *inputs, **options))]
    fn __array_ufunc__<'py>(
        slf: &Bound<'py, Self>,
        ufunc: &Bound<'py, PyAny>,
        method: &str,
        inputs: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Object<'py> {
        let py = slf.py();
        let name: String = ufunc.getattr("__name__")?.extract()?;
        let what = if method == "__call__" { format!("np.{name}") } else { format!("np.{name}.{method}") };
        if options.is_some_and(|o| o.contains("out").unwrap_or(false)) {
            return into_array(ufunc, method, inputs, options, &what);
        }
        if method == "__call__" && options.is_none_or(|o| o.is_empty()) {
            for x in inputs {
                if x.getattr_opt("__array_ufunc__")?.is_some_and(|u| u.is_none()) {
                    return Ok(py.NotImplemented().into_bound(py));
                }
            }
            return universal(&name, &what, inputs);
        }
        let Some((_, _, ours)) = BY_UFUNC.iter().find(|by| by.0 == method && by.1 == name) else { return Err(cannot(&what)) };
        let arguments = PyDict::new(py);
        arguments.set_item("axis", 0)?;
        if let Some(options) = options {
            arguments.update(options.as_mapping())?;
        }
        inputs.get_item(0)?.call_method(ours, (), Some(&arguments))
    }

    fn __array_function__<'py>(
        slf: &Bound<'py, Self>,
        func: &Bound<'py, PyAny>,
        _types: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Object<'py> {
        let py = slf.py();
        let name: String = func.getattr("__name__")?.extract()?;
        let linear = func.getattr("__module__")?.extract::<String>().is_ok_and(|m| m.ends_with("linalg"));
        let full = if linear { format!("linalg.{name}") } else { name.clone() };
        match full.as_str() {
            "shape" => return args.get_item(0)?.getattr("shape"),
            "ndim" => return args.get_item(0)?.getattr("ndim"),
            "size" if args.len() == 1 => return args.get_item(0)?.getattr("size"),
            "copy" => return numpy(py)?.call_method1("array", (args.get_item(0)?,)),
            "linalg.norm" => return norm(args, kwargs),
            "pad" => return pad(args, kwargs),
            "round" | "around" if args.len() == 1 && kwargs.is_empty() => return args.get_item(0)?.call_method0("rint"),
            "linalg.matrix_transpose" | "matrix_transpose" => return args.get_item(0)?.call_method1("swapaxes", (-1, -2)),
            _ => {}
        }
        let array: Option<ToArray> = match full.as_str() {
            of if OF_VALUES.contains(&of) => Some(PyTensor::numpy),
            on if ON_VALUES.contains(&on) => Some(asked),
            _ => None,
        };
        if let Some(array) = array {
            let args = plain(args.as_any(), array)?.cast_into::<PyTuple>()?;
            let plain_kwargs = PyDict::new(py);
            for (k, v) in kwargs.iter() {
                plain_kwargs.set_item(k, plain(&v, array)?)?;
            }
            return func.call(args, Some(&plain_kwargs));
        }
        let Some(ours) = ours(&name, linear) else { return Err(cannot(&format!("np.{full}"))) };
        let options = PyDict::new(py);
        for (k, v) in kwargs.iter() {
            let k: String = k.extract()?;
            if v.is_none() && (k == "out" || k == "dtype") {
                continue;
            }
            let known = if ours == "clip" { KEYWORDS.iter().find(|w| w.0 == k).map_or(k.as_str(), |w| w.1) } else { k.as_str() };
            options.set_item(known, v)?;
        }
        // NumPy's own default.
        if (ours == "std" || ours == "var") && !options.contains("ddof")? {
            options.set_item("ddof", 0)?;
        }
        py.import("fluxrs._core")?.getattr(ours)?.call(args, Some(&options))
    }

    /// DLPack, through NumPy; a consumer that knows no read-only memory gets a copy.
    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(slf: &Bound<'py, Self>, options: Option<&Bound<'py, PyDict>>) -> Object<'py> {
        let array = slf.get().numpy(slf.py())?;
        match array.call_method("__dlpack__", (), options) {
            Err(e) if e.is_instance_of::<PyBufferError>(slf.py()) => {
                array.call_method0("copy")?.call_method("__dlpack__", (), options)
            }
            result => result,
        }
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }
}

/// `np.add(a, t, out=a)` and `a += t`: into the array, if no gradient is lost by it.
fn into_array<'py>(
    ufunc: &Bound<'py, PyAny>,
    method: &str,
    inputs: &Bound<'py, PyTuple>,
    options: Option<&Bound<'py, PyDict>>,
    what: &str,
) -> Object<'py> {
    let out = options.and_then(|o| o.get_item("out").ok().flatten());
    let outs = out.and_then(|o| o.cast_into::<PyTuple>().ok());
    if any_tracked(inputs) || outs.is_some_and(|o| o.iter().any(|x| x.is_instance_of::<PyTensor>())) {
        return Err(PyTypeError::new_err(format!(
            "{what} with out=: a tensor cannot be written, and an array has no gradient; update(array, Δ) adds a value in place"
        )));
    }
    let inputs = plain(inputs.as_any(), PyTensor::numpy)?.cast_into::<PyTuple>()?;
    ufunc.getattr(method)?.call(inputs, options)
}

fn norm<'py>(args: &Bound<'py, PyTuple>, kwargs: &Bound<'py, PyDict>) -> Object<'py> {
    let py = args.py();
    let pick = |i: usize, name: &str| -> PyResult<Option<Bound<'py, PyAny>>> {
        let given = if i < args.len() { Some(args.get_item(i)?) } else { kwargs.get_item(name)? };
        Ok(given.filter(|x| !x.is_none()))
    };
    let x = args.get_item(0)?;
    let (order, axis) = (pick(1, "ord")?, pick(2, "axis")?);
    let matrix = x.getattr("ndim")?.extract::<usize>()? > 1 && axis.as_ref().is_none_or(|a| a.extract::<isize>().is_err());
    if matrix && order.is_some() {
        return Err(cannot("np.linalg.norm of a matrix with ord"));
    }
    let options = PyDict::new(py);
    if let Some(p) = order {
        options.set_item("p", p)?;
    }
    if let Some(axis) = axis {
        options.set_item("axis", axis)?;
    }
    if let Some(keep) = pick(3, "keepdims")? {
        options.set_item("keepdims", keep)?;
    }
    x.call_method("norm", (), Some(&options))
}

fn pad<'py>(args: &Bound<'py, PyTuple>, kwargs: &Bound<'py, PyDict>) -> Object<'py> {
    let mode = if args.len() > 2 { Some(args.get_item(2)?) } else { kwargs.get_item("mode")? };
    if args.len() < 2 || mode.is_some_and(|m| m.extract::<String>().is_ok_and(|m| m != "constant")) {
        return Err(cannot("np.pad with a mode other than 'constant'"));
    }
    let value = kwargs.get_item("constant_values")?;
    args.get_item(0)?.call_method1("pad", (args.get_item(1)?, value))
}

/// `from_dlpack(x)`: the memory of another library's array as a tensor, without a copy where it is aligned; it may not be written afterwards.
#[pyfunction(crate = "crate::keywords")]
fn from_dlpack(x: &Bound<'_, PyAny>) -> PyResult<Py<PyTensor>> {
    if let Ok(t) = x.cast::<PyTensor>() {
        return Ok(t.clone().unbind());
    }
    if !x.hasattr("__dlpack__")? {
        return Err(PyTypeError::new_err(format!("from_dlpack: {} has no __dlpack__", x.get_type().name()?)));
    }
    let array = numpy(x.py())?.call_method1("from_dlpack", (x,))?;
    let shared = crate::arrays::shared(&array)?.map_or_else(|| core(|| fluxrs::bail!(Type, "from_dlpack: not an array")), Ok)?;
    Py::new(x.py(), PyTensor::new(shared))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(from_dlpack, m)?)
}
