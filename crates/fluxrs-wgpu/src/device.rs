//! The devices of the process: each made at first use, refused after a fork, its errors collected instead of panicking.

use crate::adapter::{self, Adapter, ready};
use crate::fault::{Fault, Result};
use crate::groups::Groups;
use crate::limits::{self, Limits};
use crate::pace::Pace;
use crate::pipeline::Pipelines;
use crate::pool::Pool;
use crate::steps::Steps;
use std::ops::Deref;
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
            wgpu::Error::OutOfMemory { .. } => Fault::Memory("the GPU's memory is full".to_owned()),
            other => Fault::Driver(other.to_string()),
        };
        lock(&self.error).get_or_insert(fault);
    }

    fn lose(&self, why: String) {
        lock(&self.lost).get_or_insert(why);
    }
}

/// Counts of what the device was asked to do since it was opened: independent of the machine, so tests assert them.
#[derive(Default, Debug)]
pub struct Counters {
    pub bind_groups: AtomicU64,
    pub dispatches: AtomicU64,
    pub submits: AtomicU64,
}

/// An open device with its queue, pools and caches.
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pool: Pool,
    pub(crate) pipelines: Pipelines,
    pub(crate) groups: Groups,
    pub(crate) pace: Pace,
    pub(crate) steps: Mutex<Steps>,
    pub adapter: Adapter,
    pub limits: Limits,
    pub counters: Counters,
    reports: Arc<Reports>,
    pid: u32,
}

impl Gpu {
    /// Opens the first adapter that the environment admits, with its limits changed: tests run the paths of other adapters.
    #[cfg(test)]
    pub(crate) fn open_with(change: impl Fn(&mut Limits)) -> Result<Gpu> {
        adapter::first_open(&adapter::candidates()?, |number| Gpu::open(number, &change))
    }

    fn open(number: usize, change: &dyn Fn(&mut Limits)) -> Result<Gpu> {
        let instance = adapter::instance();
        let (adapter, description) = adapter::choose(&instance, number)?;
        let mut required = adapter.limits();
        required.max_non_sampler_bindings = required.max_non_sampler_bindings.min(limits::BINDINGS);
        let limits = Limits::of(&required, description.kind == "cpu", description.memory);
        required.max_storage_buffer_binding_size = limits.bytes;
        let mut limits = limits.lowered(&std::env::var(limits::LIMITS).unwrap_or_default())?;
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
        device.set_device_lost_callback(move |_, message| losses.lose(message));
        Ok(Gpu {
            pool: Pool::new(&limits),
            pipelines: Pipelines::new(),
            groups: Groups::default(),
            steps: Mutex::new(Steps::new(&device)),
            adapter: description,
            limits,
            pace: Pace::new(limits.speed),
            counters: Counters::default(),
            reports,
            pid: std::process::id(),
            device,
            queue,
        })
    }

    /// Raises what the driver reported, a fork, or a loss.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_foreign() {
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

    /// Marks the device as lost, for good.
    pub(crate) fn lose(&self, why: &str) -> Fault {
        self.reports.lose(why.to_owned());
        Fault::Lost(why.to_owned())
    }

    /// True in a child of the process that opened it.
    pub(crate) fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }
}

/// An object of the driver. In a child of the process that made it it is leaked: the driver is not there.
pub(crate) struct Own<T>(Option<T>, u32);

impl<T> Own<T> {
    pub fn new(value: T) -> Own<T> {
        Own(Some(value), std::process::id())
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if self.1 != std::process::id() {
            std::mem::forget(self.0.take());
        }
    }
}

/// Adapters of one process at most.
const MOST: usize = 16;

// Never dropped: dropping a busy device waits without limit, and in a forked child for ever.
static GPUS: [OnceLock<Result<Gpu>>; MOST] = [const { OnceLock::new() }; MOST];

/// The counts of the process's devices, by name; none before one was opened.
pub fn counts() -> Vec<(&'static str, u64)> {
    let mut all: Vec<(&'static str, u64)> = Vec::new();
    for gpu in GPUS.iter().filter_map(|gpu| gpu.get()?.as_ref().ok()) {
        let c = &gpu.counters;
        let [groups, dispatches, submits] = [&c.bind_groups, &c.dispatches, &c.submits].map(|n| n.load(Ordering::Relaxed));
        let (pipelines, (_, buffers), released) = (gpu.compiled(), gpu.memory(), gpu.released());
        let counts = [
            ("bind_groups", groups),
            ("pipelines", pipelines),
            ("buffers", buffers),
            ("released", released),
            ("dispatches", dispatches),
            ("submits", submits),
        ];
        match all.is_empty() {
            true => all = counts.to_vec(),
            false => all.iter_mut().zip(counts).for_each(|(sum, (_, count))| sum.1 += count),
        }
    }
    all
}

/// The device of an adapter, by its number among those that can be used; opened at the first call. A failure to open is
/// remembered, as is success.
pub fn gpu_at(number: usize) -> Result<&'static Gpu> {
    let Some(gpu) = GPUS.get(number) else { return Err(Fault::Missing(format!("there is no gpu:{number}"))) };
    match gpu.get_or_init(|| Gpu::open(number, &|_| ())) {
        Ok(gpu) if gpu.is_foreign() => Err(Fault::Forked),
        Ok(gpu) => Ok(gpu),
        Err(fault) => Err(fault.clone()),
    }
}

/// The number of the adapter that is taken where none is named: the best that opens.
pub fn default_number() -> Result<usize> {
    adapter::first_open(&adapter::candidates()?, |number| gpu_at(number).map(|_| number))
}

/// The device of that adapter.
pub fn gpu() -> Result<&'static Gpu> {
    gpu_at(default_number()?)
}
