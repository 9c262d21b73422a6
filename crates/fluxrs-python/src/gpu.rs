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
    use fluxrs::backend::register;
    use fluxrs::device::Device;
    use fluxrs::error::Error;
    use fluxrs_wgpu::{Adapter, GpuBackend};
    use std::sync::{Arc, OnceLock};

    /// The GPU, opened and made known at the first call.
    pub fn device() -> fluxrs::Result<Device> {
        static DEVICE: OnceLock<Result<Device, Error>> = OnceLock::new();
        let open = || Ok(register(Arc::new(GpuBackend::open()?)));
        DEVICE.get_or_init(open).clone()
    }

    /// The adapters, usable or refused; opens no device.
    pub fn adapters() -> &'static [Adapter] {
        static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
        ADAPTERS.get_or_init(fluxrs_wgpu::devices)
    }

    pub fn describe(adapter: &Adapter) -> String {
        let mut text = format!("{}, {}, {}, {}", adapter.name, adapter.kind, adapter.backend, adapter.driver);
        if let Some(bytes) = adapter.memory {
            text += &format!(", {:.1} GB", bytes as f64 / 1e9);
        }
        text
    }
}

/// The devices that tensors can live on, each with its name; after them adapters that are not used, with the reason.
#[pyfunction(crate = "crate::keywords")]
fn devices(py: Python<'_>) -> Vec<String> {
    let mut all = vec!["cpu".to_string()];
    #[cfg(feature = "gpu")]
    {
        let found = py.detach(found::adapters);
        let used = found.iter().find(|adapter| adapter.refused.is_none());
        all.extend(used.map(|adapter| format!("gpu:0 ({})", found::describe(adapter))));
        let refused = found.iter().filter_map(|adapter| adapter.refused.map(|why| (adapter, why)));
        all.extend(refused.map(|(adapter, why)| format!("not used: {} ({why})", found::describe(adapter))));
    }
    let _ = py;
    all
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

fn gpu_device() -> fluxrs::Result<Device> {
    #[cfg(feature = "gpu")]
    return found::device();
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
    moved(x, detached(x.py(), gpu_device)?)
}

/// `cpu(x)`: the tensor on the CPU.
#[pyfunction(crate = "crate::keywords")]
fn cpu(x: &Bound<'_, PyTensor>) -> PyResult<Py<PyTensor>> {
    moved(x, Device::CPU)
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    /// `x.to(device)`: the value on `'cpu'` or `'gpu'`, without history; a parameter gives a parameter.
    #[pyo3(signature = (device, /))]
    fn to(slf: &Bound<'_, Self>, device: &str) -> PyResult<Py<PyTensor>> {
        match device {
            "cpu" => moved(slf, Device::CPU),
            "gpu" | "gpu:0" => moved(slf, detached(slf.py(), gpu_device)?),
            _ => Err(PyValueError::new_err(format!("to: there is no device {device:?}; use 'cpu' or 'gpu'"))),
        }
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(devices, m)?)?;
    m.add_function(wrap_pyfunction!(has_gpu, m)?)?;
    m.add_function(wrap_pyfunction!(gpu, m)?)?;
    m.add_function(wrap_pyfunction!(cpu, m)?)
}
