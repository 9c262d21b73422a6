//! Runs plans on the CPU.

mod accumulate;
mod block;
pub mod fold;
pub mod gemm;
mod jit;
mod loops;
pub(crate) mod lower;
mod memory;
mod pair;
mod product;
mod repeat;
mod rows;
mod run;
mod sparse;
mod workspace;

pub use workspace::kept_workspace;

use crate::backend::{Backend, Executable};
use crate::bail;
use crate::buffer::{Buffer, HostBuffer};
use crate::dtype::DType;
use crate::error::Result;
use crate::plan::Plan;
use std::sync::{Arc, OnceLock};

struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> String {
        format!("CPU, {:?}, {} threads", crate::simd::isa::level(), crate::pool::threads())
    }

    fn supports(&self, _: DType) -> bool {
        true
    }

    fn allocate(&self, len: usize, dtype: DType) -> Result<Buffer> {
        Buffer::host(crate::buffer::byte_len(len, dtype)?)
    }

    fn upload(&self, host: &[u8], _: DType) -> Result<Buffer> {
        Ok(Buffer::Host(Arc::new(HostBuffer::from_slice(host)?)))
    }

    fn download(&self, buffer: &Buffer, _: DType, out: &mut [u8]) -> Result<()> {
        let Some(host) = buffer.as_host() else { bail!(Device, "the buffer is not on the CPU") };
        out.copy_from_slice(&host.as_slice::<u8>()[..out.len()]);
        Ok(())
    }

    fn compile(&self, plan: &Arc<Plan>) -> Result<Box<dyn Executable>> {
        Ok(Box::new(run::CpuPlan::new(plan)?))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn backend() -> Arc<dyn Backend> {
    static CPU: OnceLock<Arc<dyn Backend>> = OnceLock::new();
    CPU.get_or_init(|| Arc::new(Cpu)).clone()
}
