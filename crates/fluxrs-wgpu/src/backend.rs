//! The device as the core sees it.

use crate::compile::WORD;
use crate::device::{Gpu, Own, gpu_at, lock};
use crate::fault::{Fault, Result};
use crate::pool::Storage;
use crate::run::GpuPlan;
use crate::steps::Raised;
use fluxrs::backend::{Backend, Executable};
use fluxrs::buffer::{Buffer, DeviceBuffer};
use fluxrs::dtype::DType;
use fluxrs::error::Error;
use fluxrs::plan::Plan;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Memory of the device, held by tensors of the core.
struct GpuBuffer(Storage);

impl DeviceBuffer for GpuBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The device's memory in a buffer of the core.
pub(crate) fn storage(buffer: &Buffer) -> Result<&Storage> {
    let found = match buffer {
        Buffer::Device(buffer) => buffer.as_any().downcast_ref::<GpuBuffer>(),
        Buffer::Host(_) => None,
    };
    found.map(|buffer| &buffer.0).ok_or_else(|| Fault::Driver("a tensor of another device was given".to_owned()))
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Interrupted => Error::Interrupted,
            Fault::Memory(_) => Error::Memory(fault.to_string()),
            Fault::Raised(Raised::Loss { .. }) => Error::BadLoss(fault.to_string()),
            Fault::Raised(Raised::Call { error, .. }) => error,
            other => Error::Device(other.to_string()),
        }
    }
}

/// Host bytes as words of the device: bool and int64 take one word an element there.
fn widen(host: &[u8], dtype: DType) -> Result<Vec<u8>> {
    match dtype {
        DType::Bool => Ok(host.iter().flat_map(|&byte| u32::from(byte != 0).to_le_bytes()).collect()),
        DType::I64 => {
            let mut out = Vec::with_capacity(host.len() / 2);
            for bytes in host.chunks_exact(8) {
                let wide = i64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
                let Ok(narrow) = i32::try_from(wide) else {
                    let what = format!("integers beyond 32 bits ({wide} in an int64 tensor)");
                    return Err(Fault::Unsupported(what));
                };
                out.extend(narrow.to_le_bytes());
            }
            Ok(out)
        }
        DType::I32 | DType::F32 => Ok(host.to_vec()),
        DType::F64 => Err(Fault::Unsupported("float64 (use astype(\"float32\"))".to_owned())),
    }
}

/// Words of the device as host bytes.
fn narrow(words: &[u8], dtype: DType, out: &mut [u8]) {
    match dtype {
        DType::Bool => out.iter_mut().zip(words.chunks_exact(4)).for_each(|(byte, word)| *byte = u8::from(word != [0; 4])),
        DType::I64 => out.chunks_exact_mut(8).zip(words.chunks_exact(4)).for_each(|(wide, word)| {
            let value = i32::from_le_bytes(word.try_into().expect("four bytes"));
            wide.copy_from_slice(&i64::from(value).to_ne_bytes());
        }),
        _ => out.copy_from_slice(words),
    }
}

/// The GPU of the process; it is opened when a tensor first goes there.
pub struct GpuBackend {
    gpu: &'static Gpu,
}

impl GpuBackend {
    /// Opens the GPU of this number, or says why there is none.
    pub fn open(number: usize) -> Result<GpuBackend> {
        Ok(GpuBackend { gpu: gpu_at(number)? })
    }

    #[cfg(test)]
    pub(crate) fn over(gpu: &'static Gpu) -> GpuBackend {
        GpuBackend { gpu }
    }

    pub fn gpu(&self) -> &'static Gpu {
        self.gpu
    }

    fn read(&self, buffer: &Buffer, dtype: DType, out: &mut [u8]) -> Result<()> {
        let gpu = self.gpu;
        let mut words = vec![0u8; out.len() / dtype.bytes() * WORD as usize];
        if !words.is_empty() {
            gpu.download(storage(buffer)?, &mut words)?;
        }
        narrow(&words, dtype, out);
        self.settle(0)
    }

    /// Waits until at most `most` steps are on their way, and raises the first flag among those that have ended.
    fn settle(&self, most: usize) -> Result<()> {
        self.gpu.check()?;
        let mut steps = lock(&self.gpu.steps);
        steps.wait(self.gpu, most, Some(&AtomicBool::new(false)))?;
        match steps.take_raised(self.gpu)? {
            Some(raised) => Err(Fault::Raised(raised)),
            None => Ok(()),
        }
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> String {
        format!("{} ({})", self.gpu.adapter.name, self.gpu.adapter.backend)
    }

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F64
    }

    fn allocate(&self, len: usize, _: DType) -> fluxrs::error::Result<Buffer> {
        let storage = self.gpu.storage((len as u64 * WORD).max(WORD))?;
        Ok(Buffer::Device(Arc::new(GpuBuffer(storage))))
    }

    fn upload(&self, host: &[u8], dtype: DType) -> fluxrs::error::Result<Buffer> {
        let words = widen(host, dtype)?;
        let storage = self.gpu.storage((words.len() as u64).max(WORD))?;
        if !words.is_empty() {
            self.gpu.upload(&storage, &words)?;
        }
        Ok(Buffer::Device(Arc::new(GpuBuffer(storage))))
    }

    fn download(&self, buffer: &Buffer, dtype: DType, out: &mut [u8]) -> fluxrs::error::Result<()> {
        Ok(self.read(buffer, dtype, out)?)
    }

    fn compile(&self, plan: &Arc<Plan>) -> fluxrs::error::Result<Box<dyn Executable>> {
        self.gpu.check()?;
        Ok(Box::new(Own::new(GpuPlan::new(self.gpu, plan)?)))
    }

    fn ready(&self) -> fluxrs::error::Result<()> {
        Ok(self.settle(self.gpu.limits.flights - 1)?)
    }

    fn synchronize(&self) -> fluxrs::error::Result<()> {
        Ok(self.settle(0)?)
    }
}
