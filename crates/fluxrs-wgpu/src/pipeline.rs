//! Compiled kernels, kept by their source.

use crate::device::{Gpu, lock};
use crate::fault::{Fault, Result};
use fluxrs::cache::Cache;
use fluxrs::stop::go_on;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The access of a kernel to one of its storage buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Bytes of the kernels that are kept, and roughly what a driver takes for one beside its source, or for a layout.
const MAX_BYTES: usize = 64 << 20;
const DRIVER_BYTES: usize = 16 << 10;

/// A compiled kernel.
pub(crate) struct Kernel {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    /// Distinguishes kernels in keys of bind groups.
    pub id: u64,
}

pub(crate) struct Pipelines {
    /// Binding 0 of every kernel is the argument uniform; the storage buffers follow. Layouts by their accesses.
    layouts: Mutex<Cache<Vec<Access>, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>>,
    kernels: Mutex<Cache<Arc<str>, Arc<Kernel>>>,
    compiled: AtomicU64,
}

impl Pipelines {
    pub(crate) fn new() -> Pipelines {
        let (layouts, kernels) = (Mutex::new(Cache::new(MAX_BYTES)), Mutex::new(Cache::new(MAX_BYTES)));
        Pipelines { layouts, kernels, compiled: AtomicU64::new(0) }
    }
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, dynamic: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: None },
        count: None,
    }
}

impl Gpu {
    fn layout(&self, access: &[Access]) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let mut layouts = lock(&self.pipelines.layouts);
        if let Some(found) = layouts.get(access) {
            return found.clone();
        }
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        for (i, &access) in access.iter().enumerate() {
            let read_only = access == Access::Read;
            entries.push(entry(i as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, false));
        }
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some("fluxrs"), entries: &entries };
        let group = self.device.create_bind_group_layout(&descriptor);
        let pipeline = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("fluxrs"),
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        layouts.insert(access.to_vec(), (group.clone(), pipeline.clone()), DRIVER_BYTES);
        (group, pipeline)
    }

    /// The compiled kernels of these sources, with the accesses to their buffers and their names. What was not compiled before
    /// is compiled by several threads: some drivers take a tenth of a second for each. The calling one looks for signals.
    pub(crate) fn kernels(&self, wanted: &[(Arc<str>, Vec<Access>, Arc<str>)]) -> Result<Vec<Arc<Kernel>>> {
        self.check()?;
        let mut missing: Vec<&(Arc<str>, Vec<Access>, Arc<str>)> = Vec::new();
        {
            let mut known = lock(&self.pipelines.kernels);
            let mut seen = FxHashSet::default();
            missing.extend(wanted.iter().filter(|kernel| seen.insert(&kernel.0) && known.get(&*kernel.0).is_none()));
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        let mut made: FxHashMap<&str, Arc<Kernel>> = FxHashMap::default();
        if threads > 0 {
            let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
            let compile = |looks: bool| -> Result<Vec<(&str, Arc<Kernel>)>> {
                let mut own = Vec::new();
                while let Some((source, access, label)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if looks && go_on(0).is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if stop.load(Ordering::Relaxed) {
                        return Err(Fault::Interrupted);
                    }
                    own.push((&**source, self.kernel(source, access, label)?));
                }
                Ok(own)
            };
            let parts: Vec<_> = std::thread::scope(|scope| {
                let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| compile(false))).collect();
                let own = compile(true);
                std::iter::once(Ok(own)).chain(others.into_iter().map(|other| other.join())).collect()
            });
            for part in parts {
                let stopped = || Fault::Driver("a thread that compiled kernels ended in a panic".to_owned());
                made.extend(part.map_err(|_| stopped())??);
            }
        }
        let one = |(source, access, label): &(Arc<str>, Vec<Access>, Arc<str>)| match made.get(&**source) {
            Some(kernel) => Ok(kernel.clone()),
            None => self.kernel(source, access, label),
        };
        wanted.iter().map(one).collect()
    }

    /// The compiled kernel of a source with entry point `main`, from the cache if it was compiled before.
    pub(crate) fn kernel(&self, source: &str, access: &[Access], label: &str) -> Result<Arc<Kernel>> {
        self.check()?;
        if let Some(kernel) = lock(&self.pipelines.kernels).get(source) {
            return Ok(kernel.clone());
        }
        if access.len() > self.limits.storage {
            let what = format!("a kernel of {} buffers (the driver allows {}), for {label}", access.len(), self.limits.storage);
            return Err(Fault::Unsupported(what));
        }
        let refused = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal].map(|f| self.device.push_error_scope(f));
        let (layout, pipeline) = self.compile(source, access, label);
        for scope in refused.into_iter().rev() {
            if let Some(error) = crate::adapter::ready(scope.pop()) {
                self.check()?;
                return Err(Fault::Refused(label.to_owned(), error.to_string()));
            }
        }
        self.check()?;
        let id = self.pipelines.compiled.fetch_add(1, Ordering::Relaxed);
        let kernel = Arc::new(Kernel { pipeline, layout, id });
        lock(&self.pipelines.kernels).insert(source.into(), kernel.clone(), source.len() + DRIVER_BYTES);
        Ok(kernel)
    }

    fn compile(&self, source: &str, access: &[Access], label: &str) -> (wgpu::BindGroupLayout, wgpu::ComputePipeline) {
        let (layout, pipeline_layout) = self.layout(access);
        let label = Some(label);
        let descriptor = wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source.into()) };
        // Under test the kernels are compiled with every check, so that a bad index shows.
        let checked = cfg!(debug_assertions);
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.bounds_checks = checked;
        checks.force_loop_bounding = checked;
        // SAFETY: kernels are ours: every index is guarded by the kernel itself and every loop has a bound.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        (layout, pipeline)
    }

    /// The number of kernels compiled since the device was opened.
    pub fn compiled(&self) -> u64 {
        self.pipelines.compiled.load(Ordering::Relaxed)
    }
}
