//! The interface of a device. The CPU is built in; others register.

use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::plan::{Bindings, Plan};
use std::sync::{Arc, RwLock};

/// A plan made ready for one device.
pub trait Executable: Send + Sync {
    /// Runs the whole plan. Nothing in `bindings.outputs` that is overwritten in place may have changed when this returns an error.
    fn run(&self, bindings: &mut Bindings<'_>) -> Result<()>;
    /// Memory of the host that it takes beside the plan.
    fn bytes(&self) -> usize;
    /// True if a run may begin only when all before it are known to have ended well.
    fn runs_alone(&self) -> bool {
        false
    }
    /// The calls whose errors may come after a run has returned.
    fn late_calls(&self) -> Vec<u32> {
        Vec::new()
    }
}

pub trait Backend: Send + Sync {
    fn name(&self) -> String;
    /// True if the device can hold and compute with this type.
    fn supports(&self, dtype: DType) -> bool;
    /// Memory for `len` elements; a device may hold a type in another width than the host.
    fn allocate(&self, len: usize, dtype: DType) -> Result<Buffer>;
    /// A copy of host elements of this type.
    fn upload(&self, host: &[u8], dtype: DType) -> Result<Buffer>;
    /// Copies the first elements back, as many as fill `out`, waiting for what is under way.
    fn download(&self, buffer: &Buffer, dtype: DType, out: &mut [u8]) -> Result<()>;
    fn compile(&self, plan: &Arc<Plan>) -> Result<Box<dyn Executable>>;
    /// Waits until there is room for another run, and raises what went wrong in an earlier one that had returned by then.
    fn ready(&self) -> Result<()> {
        Ok(())
    }
    /// Waits until all that was submitted is done, and raises what went wrong there.
    fn synchronize(&self) -> Result<()>;
}

static BACKENDS: RwLock<Vec<Option<Arc<dyn Backend>>>> = RwLock::new(Vec::new());

/// Adds a device; its number is returned.
pub fn register(backend: Arc<dyn Backend>) -> Device {
    let mut all = BACKENDS.write().unwrap_or_else(|e| e.into_inner());
    all.push(Some(backend));
    Device(all.len() as u8)
}

/// Adds a device under a number that it is known by.
pub fn register_as(device: Device, backend: Arc<dyn Backend>) {
    let mut all = BACKENDS.write().unwrap_or_else(|e| e.into_inner());
    let place = device.0 as usize - 1;
    if all.len() <= place {
        all.resize(place + 1, None);
    }
    all[place] = Some(backend);
}

/// The backend of a device; the CPU's is always there.
pub fn backend(device: Device) -> Arc<dyn Backend> {
    if device.is_cpu() {
        return crate::CPU();
    }
    let all = BACKENDS.read().unwrap_or_else(|e| e.into_inner());
    all[device.0 as usize - 1].clone().expect("a device has a backend before it has tensors")
}
