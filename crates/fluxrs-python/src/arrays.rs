//! NumPy arrays, and what NumPy can read, as tensors.

use crate::convert::numpy;
use crate::error::core;
use fluxrs::buffer::{Buffer, HostBuffer};
use fluxrs::device::Device;
use fluxrs::dtype::Element;
use fluxrs::{DType, Tensor};
use numpy::{PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The result of an object's `__array__` or `__dlpack__`; None for one that has neither.
pub fn array_of<'py>(x: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let how = match (x.hasattr("__array__")?, x.hasattr("__dlpack__")?) {
        // A subclass stays one, so that its mask is seen.
        (true, _) => "asanyarray",
        (false, true) => "from_dlpack",
        (false, false) => return Ok(None),
    };
    Ok(Some(numpy(x.py())?.call_method1(how, (x,))?.cast_into()?))
}

/// An error for an array with a mask: a tensor would show what the mask hides.
pub fn refuse_mask(x: &Bound<'_, PyAny>) -> PyResult<()> {
    static MASKED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = x.py();
    if !x.is_instance_of::<PyUntypedArray>() || x.get_type().is(py.get_type::<PyUntypedArray>()) {
        return Ok(());
    }
    let masked = MASKED.get_or_try_init(py, || numpy(py)?.getattr("ma")?.getattr("MaskedArray").map(Bound::unbind))?;
    if x.is_instance(masked.bind(py))? {
        return Err(PyTypeError::new_err("a tensor has no mask: give a masked array as a.filled(v), or its data and a.mask"));
    }
    Ok(())
}

/// True if these bytes are bools: 0 or 1.
fn are_truth_values(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b <= 1)
}

/// A copy of a NumPy array.
pub fn from_numpy(array: &Bound<'_, PyUntypedArray>) -> PyResult<Tensor> {
    let py = array.py();
    refuse_mask(array.as_any())?;
    let dtype = array.dtype();
    if array.is_c_contiguous()
        && array.is_aligned()
        && let Some(ours) = plain_dtype(&dtype)
    {
        return copied(array, ours);
    }
    let ours = match (dtype.kind(), dtype.itemsize()) {
        (b'b', _) => DType::Bool,
        (b'i', 1..=4) | (b'u', 1..=2) => DType::I32,
        (b'i', 8) | (b'u', 4) => DType::I64,
        (b'f', 2..=4) => DType::F32,
        (b'f', 8) => DType::F64,
        _ => {
            return Err(PyTypeError::new_err(format!(
                "cannot make a tensor of a NumPy array of {dtype}: convert it with .astype() to float32, float64, int32, int64 or bool"
            )));
        }
    };
    let options = PyDict::new(py);
    options.set_item("dtype", ours.name())?;
    options.set_item("order", "C")?;
    let plain = numpy(py)?.call_method("array", (array,), Some(&options))?;
    copied(plain.cast::<PyUntypedArray>()?, ours)
}

/// Our type for NumPy's, if the elements look the same in memory.
fn plain_dtype(dtype: &Bound<'_, numpy::PyArrayDescr>) -> Option<DType> {
    let native = dtype.is_native_byteorder().unwrap_or(true);
    match (dtype.kind(), dtype.itemsize()) {
        _ if !native => None,
        (b'f', 4) => Some(DType::F32),
        (b'f', 8) => Some(DType::F64),
        (b'i', 4) => Some(DType::I32),
        (b'i', 8) => Some(DType::I64),
        (b'b', 1) => Some(DType::Bool),
        _ => None,
    }
}

fn copied(array: &Bound<'_, PyUntypedArray>, dtype: DType) -> PyResult<Tensor> {
    fn copy<T: Element, N: numpy::Element>(array: &Bound<'_, PyUntypedArray>) -> PyResult<Tensor> {
        debug_assert_eq!(size_of::<T>(), size_of::<N>());
        // SAFETY: the caller has seen that the array is C-contiguous, aligned, and of elements that look as `T` in memory.
        let data = unsafe {
            let typed = array.cast_unchecked::<PyArrayDyn<N>>();
            std::slice::from_raw_parts(typed.data().cast::<T>(), array.len())
        };
        core(|| Tensor::from_slice(data, array.shape()))
    }
    match dtype {
        // NumPy's are any bytes where a program has made them of others with `.view(bool)`.
        DType::Bool => {
            // SAFETY: as above; the bytes are read as bytes, whatever they are.
            let bytes = unsafe { std::slice::from_raw_parts(array.cast_unchecked::<PyArrayDyn<u8>>().data(), array.len()) };
            match are_truth_values(bytes) {
                true => core(|| Tensor::from_slice(bytes, array.shape())),
                false => core(|| Tensor::from_slice(&bytes.iter().map(|&b| (b != 0) as u8).collect::<Vec<_>>(), array.shape())),
            }
        }
        DType::I32 => copy::<i32, i32>(array),
        DType::I64 => copy::<i64, i64>(array),
        DType::F32 => copy::<f32, f32>(array),
        DType::F64 => copy::<f64, f64>(array),
    }
}

/// A tensor of an array's own memory, if that lies as ours does; the array lives as long as the tensor.
pub fn shared(x: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    let numpy = numpy(x.py())?;
    let array = match x.cast::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) if x.hasattr("__dlpack__")? => numpy.call_method1("from_dlpack", (x,))?.cast_into::<PyUntypedArray>()?,
        Err(_) => match array_of(x)? {
            Some(array) => array,
            None => return Ok(None),
        },
    };
    refuse_mask(array.as_any())?;
    let Some(dtype) = plain_dtype(&array.dtype()).filter(|_| array.is_c_contiguous() && array.is_aligned()) else {
        return from_numpy(&array).map(Some);
    };
    core(|| fluxrs::shape::check("asarray", array.shape()))?;
    // SAFETY: contiguous and aligned, as just seen; the owner keeps the memory, and `asarray` says that it may not be written.
    let buffer = unsafe {
        let data = array.cast_unchecked::<PyArrayDyn<u8>>().data();
        let Some(data) = std::ptr::NonNull::new(data) else {
            return from_numpy(&array).map(Some);
        };
        if dtype == DType::Bool && !are_truth_values(std::slice::from_raw_parts(data.as_ptr(), array.len())) {
            return from_numpy(&array).map(Some);
        }
        HostBuffer::foreign(data, array.len() * dtype.bytes(), Box::new(array.clone().into_any().unbind()))
    };
    let buffer = Buffer::Host(Arc::new(buffer));
    Ok(Some(Tensor::from_buffer(buffer, array.shape(), dtype, Device::CPU)))
}
