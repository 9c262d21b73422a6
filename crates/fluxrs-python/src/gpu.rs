//! Devices: which there are, and tensors from one to another.

use crate::error::detached;
use crate::tensor::{Inner, PyTensor, leaf_object};
use fluxrs::device::Device;
use fluxrs::leaf::Leaf;
use fluxrs::{Tensor, transfer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[cfg(feature = "gpu")]
mod found {
    use fluxrs::backend::register_as;
    use fluxrs::device::Device;
    use fluxrs_wgpu::{Adapter, GpuBackend};
    use std::sync::{Arc, Mutex, PoisonError};

    /// The GPU of a number, or the one that is taken where none is named; opened and made known at the first call.
    pub fn device(number: Option<usize>) -> fluxrs::Result<Device> {
        static KNOWN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        let number = number.map_or_else(fluxrs_wgpu::default_number, Ok)?;
        let backend = GpuBackend::open(number)?;
        let device = Device(number as u8 + 1);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&number) {
            register_as(device, Arc::new(backend));
            known.push(number);
        }
        Ok(device)
    }

    /// The adapters, usable or refused; opens no device.
    pub fn adapters() -> &'static [Adapter] {
        fluxrs_wgpu::devices()
    }

    pub fn describe(adapter: &Adapter) -> String {
        let Adapter { name, kind, backend, driver, memory, buffers, binding, .. } = adapter;
        let mut text = format!("{name}, {kind}, {backend}, {driver}");
        if let Some(bytes) = memory {
            text += &format!(", {:.1} GB", *bytes as f64 / 1e9);
        }
        text + &format!(", {buffers} buffers of {} MiB a kernel", binding >> 20)
    }
}

/// The devices that tensors can live on, each with its name; after them adapters that are not used, with the reason.
#[pyfunction(crate = "crate::keywords")]
fn devices(py: Python<'_>) -> Vec<String> {
    let mut all = vec!["cpu".to_string()];
    #[cfg(feature = "gpu")]
    for (i, adapter) in py.detach(found::adapters).iter().enumerate() {
        let text = found::describe(adapter);
        all.push(match &adapter.refused {
            None => format!("gpu:{i} ({text})"),
            Some(why) => format!("not used: {text} ({why})"),
        });
    }
    let _ = py;
    all
}

/// Limits and features of each adapter, in the order of `devices()`.
#[pyfunction]
fn gpu_details(py: Python<'_>) -> Vec<String> {
    #[cfg(feature = "gpu")]
    return py.detach(found::adapters).iter().map(|adapter| adapter.details.clone()).collect();
    #[cfg(not(feature = "gpu"))]
    {
        let _ = py;
        vec![]
    }
}

/// True if a GPU can be used.
#[pyfunction(crate = "crate::keywords")]
fn has_gpu(py: Python<'_>) -> bool {
    #[cfg(feature = "gpu")]
    return py.detach(|| found::adapters().iter().any(|adapter| adapter.refused.is_none()));
    #[cfg(not(feature = "gpu"))]
    {
        let _ = py;
        false
    }
}

fn gpu_device(number: Option<usize>) -> fluxrs::Result<Device> {
    #[cfg(feature = "gpu")]
    return found::device(number);
    #[cfg(not(feature = "gpu"))]
    let _ = number;
    #[cfg(not(feature = "gpu"))]
    Err(fluxrs::Error::Device("this build has no GPU support".into()))
}

/// A tensor's value on a device, without history; a leaf gives a leaf. What is there already is itself.
fn moved(x: &Bound<'_, PyTensor>, device: Device) -> PyResult<Py<PyTensor>> {
    let (py, tensor) = (x.py(), x.get());
    if tensor.like().device() == device {
        return Ok(x.clone().unbind());
    }
    let value = tensor.value(py)?;
    let there: Tensor = detached(py, || transfer::to_device(&value.detached(), device))?;
    match &tensor.inner {
        Inner::Leaf(leaf) => leaf_object(py, &detached(py, || Leaf::of(&there, leaf.is_tracked()))?),
        _ => Py::new(py, PyTensor::new(there)),
    }
}

/// `gpu(x)`: the tensor on the GPU; float64 becomes float32.
#[pyfunction(crate = "crate::keywords")]
fn gpu(x: &Bound<'_, PyTensor>) -> PyResult<Py<PyTensor>> {
    moved(x, detached(x.py(), || gpu_device(None))?)
}

/// `cpu(x)`: the tensor on the CPU.
#[pyfunction(crate = "crate::keywords")]
fn cpu(x: &Bound<'_, PyTensor>) -> PyResult<Py<PyTensor>> {
    moved(x, Device::CPU)
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// `x.to(device)`: the value on `'cpu'`, `'gpu'` or one of several as `'gpu:1'`, without history; a parameter gives a parameter.
    #[pyo3(signature = (device, /))]
    fn to(slf: &Bound<'_, Self>, device: &str) -> PyResult<Py<PyTensor>> {
        match device {
            "cpu" => moved(slf, Device::CPU),
            "gpu" => moved(slf, detached(slf.py(), || gpu_device(None))?),
            _ => match device.strip_prefix("gpu:").and_then(|number| number.parse().ok()) {
                Some(number) => moved(slf, detached(slf.py(), || gpu_device(Some(number)))?),
                None => Err(PyValueError::new_err(format!("to: there is no device {device:?}; use 'cpu', 'gpu' or 'gpu:1'"))),
            },
        }
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(devices, m)?)?;
    m.add_function(wrap_pyfunction!(has_gpu, m)?)?;
    m.add_function(wrap_pyfunction!(gpu_details, m)?)?;
    m.add_function(wrap_pyfunction!(gpu, m)?)?;
    m.add_function(wrap_pyfunction!(cpu, m)?)
}
