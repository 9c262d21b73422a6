//! A device that runs nothing: it takes plans, makes their kernels and has each of them checked. So every kernel that the
//! tests' programs come to is checked on machines without a driver.

use super::shaders::validate;
use crate::compile::lower;
use crate::limits::Limits;
use fluxrs::backend::{Backend, Executable, register};
use fluxrs::buffer::{Buffer, DeviceBuffer};
use fluxrs::device::Device;
use fluxrs::dtype::DType;
use fluxrs::error::Result;
use fluxrs::plan::{Bindings, Plan};
use std::any::Any;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};

struct Nothing;

impl DeviceBuffer for Nothing {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Executable for Nothing {
    fn bytes(&self) -> usize {
        0
    }

    fn run(&self, _: &mut Bindings<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Recorder {
    seen: Mutex<HashSet<String>>,
}

fn nothing() -> Result<Buffer> {
    Ok(Buffer::Device(Arc::new(Nothing)))
}

/// A portable GPU of the least kind, and a software adapter.
fn limits(software: bool) -> Limits {
    let storage = if software { 48 } else { 8 };
    Limits { bytes: 1 << 27, storage, unroll: !software, flights: 2, ..Limits::of(&wgpu::Limits::default(), software, None) }
}

impl Backend for Recorder {
    fn name(&self) -> String {
        "recorder".to_owned()
    }

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F64
    }

    fn allocate(&self, _: usize, _: DType) -> Result<Buffer> {
        nothing()
    }

    fn upload(&self, _: &[u8], _: DType) -> Result<Buffer> {
        nothing()
    }

    fn download(&self, _: &Buffer, _: DType, out: &mut [u8]) -> Result<()> {
        out.fill(0);
        Ok(())
    }

    fn compile(&self, plan: &Arc<Plan>) -> Result<Box<dyn Executable>> {
        for software in [false, true] {
            let limits = limits(software);
            for launch in lower(plan, &limits)?.launches {
                assert!(launch.bindings.len() <= limits.storage, "{}", launch.source);
                if self.seen.lock().unwrap().insert(launch.source.to_string()) {
                    validate(&launch.source);
                }
            }
        }
        Ok(Box::new(Nothing))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// The recording device.
pub(crate) fn recorder() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| register(Arc::new(Recorder::default())))
}
