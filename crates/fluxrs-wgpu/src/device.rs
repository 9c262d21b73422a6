//! The one device of the process: made at first use, refused after a fork, its errors collected instead of panicking.

use crate::adapter::{self, Adapter, ready};
use crate::fault::{Fault, Result};
use crate::pipeline::Pipelines;
use crate::pool::Pool;
use crate::steps::Steps;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The driver's reports since it was last asked.
#[derive(Default)]
pub(crate) struct Reports {
    error: Mutex<Option<Fault>>,
    lost: Mutex<Option<String>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports {
    fn record(&self, error: wgpu::Error) {
        let fault = match error {
            wgpu::Error::OutOfMemory { .. } => Fault::Memory(0),
            other => Fault::Driver(other.to_string()),
        };
        lock(&self.error).get_or_insert(fault);
    }
}

/// Counts of what the device was asked to do since it was opened: independent of the machine, so tests assert them.
#[derive(Default, Debug)]
pub struct Counters {
    pub bind_groups: AtomicU64,
    pub dispatches: AtomicU64,
    pub submits: AtomicU64,
}

/// Limits that kernels are made for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the largest buffer and of the largest binding.
    pub bytes: u64,
    /// Storage buffers in one kernel.
    pub storage: usize,
    /// Workgroups in one dimension.
    pub groups: u32,
    /// Bytes of workgroup memory.
    pub shared: u32,
    /// Alignment of a slot in the argument buffer.
    pub align: u32,
    /// A software adapter: kernels are not unrolled.
    pub software: bool,
    /// Steps submitted and not yet done: a second submit to a software adapter would block.
    pub flights: usize,
}

/// An open device with its queue, pools and caches.
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pool: Pool,
    pub(crate) pipelines: Pipelines,
    pub(crate) steps: Mutex<Steps>,
    pub adapter: Adapter,
    pub limits: Limits,
    pub counters: Counters,
    reports: Arc<Reports>,
    pid: u32,
}

/// Storage bindings are capped here: Metal returns its buffer length as the limit, and naga computes sizes in u32.
const CAP: u64 = (1 << 31) - 256;

fn limits(adapter: &wgpu::Adapter, software: bool) -> (wgpu::Limits, Limits) {
    let mut all = adapter.limits();
    // DX12 reports a million and sizes its descriptor heap up front.
    all.max_non_sampler_bindings = all.max_non_sampler_bindings.min(8192);
    all.max_storage_buffer_binding_size = all.max_storage_buffer_binding_size.min(CAP);
    let ours = Limits {
        bytes: all.max_storage_buffer_binding_size.min(all.max_buffer_size),
        storage: all.max_storage_buffers_per_shader_stage as usize,
        groups: all.max_compute_workgroups_per_dimension.min(65_535),
        shared: all.max_compute_workgroup_storage_size,
        align: all.min_uniform_buffer_offset_alignment.max(256),
        software,
        flights: if software { 1 } else { 2 },
    };
    (all, ours)
}

impl Gpu {
    /// Opens the adapter that the environment admits. Most callers want [`gpu`].
    pub fn open() -> Result<Gpu> {
        Gpu::open_with(|_| ())
    }

    /// As `open`, with limits changed: tests run the paths of other adapters.
    pub(crate) fn open_with(change: impl FnOnce(&mut Limits)) -> Result<Gpu> {
        let instance = adapter::instance();
        let (adapter, description) = adapter::choose(&instance)?;
        let (required, mut limits) = limits(&adapter, description.kind == "cpu");
        change(&mut limits);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("fluxrs"),
            required_limits: required,
            // Performance would take blocks of 128 MiB and more for the first tensor.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = ready(adapter.request_device(&descriptor))
            .map_err(|why| Fault::Missing(format!("{} did not open: {why}", description.name)))?;
        let reports = Arc::new(Reports::default());
        let errors = reports.clone();
        device.on_uncaptured_error(Arc::new(move |error| errors.record(error)));
        let losses = reports.clone();
        device.set_device_lost_callback(move |_, message| {
            lock(&losses.lost).get_or_insert(message);
        });
        Ok(Gpu {
            pool: Pool::new(limits.bytes),
            pipelines: Pipelines::new(&device),
            steps: Mutex::new(Steps::new(&device)),
            adapter: description,
            limits,
            counters: Counters::default(),
            reports,
            pid: std::process::id(),
            device,
            queue,
        })
    }

    /// Raises what the driver reported, a fork, or a loss.
    pub(crate) fn check(&self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(Fault::Forked);
        }
        if let Some(why) = &*lock(&self.reports.lost) {
            return Err(Fault::Lost(why.clone()));
        }
        match lock(&self.reports.error).take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }
}

// Never dropped: dropping a busy device waits without limit, and in a forked child for ever.
static GPU: OnceLock<Result<Gpu>> = OnceLock::new();

/// The counts of the process's device, by name; none before it was opened.
pub fn counts() -> Vec<(&'static str, u64)> {
    let Some(Ok(gpu)) = GPU.get() else { return Vec::new() };
    let [groups, dispatches, submits] =
        [&gpu.counters.bind_groups, &gpu.counters.dispatches, &gpu.counters.submits].map(|n| n.load(Ordering::Relaxed));
    let (pipelines, buffers) = (gpu.compiled(), gpu.memory().1);
    let made = [("bind_groups", groups), ("pipelines", pipelines), ("buffers", buffers)];
    [made.as_slice(), &[("dispatches", dispatches), ("submits", submits)]].concat()
}

/// The device of the process, opened at the first call. A failure to open is remembered, as is success.
pub fn gpu() -> Result<&'static Gpu> {
    match GPU.get_or_init(Gpu::open) {
        Ok(gpu) if gpu.pid != std::process::id() => Err(Fault::Forked),
        Ok(gpu) => Ok(gpu),
        Err(fault) => Err(fault.clone()),
    }
}
