//! Compiled kernels, kept by their source.

use crate::device::{Gpu, lock};
use crate::fault::{Fault, Result};
use fluxrs::cache::Cache;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(crate) fn new(_: &wgpu::Device) -> Pipelines {
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
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let group = self.device.create_bind_group_layout(&descriptor);
        let pipeline = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        layouts.insert(access.to_vec(), (group.clone(), pipeline.clone()), DRIVER_BYTES);
        (group, pipeline)
    }

    /// The compiled kernel of a source with entry point `main`, from the cache if it was compiled before.
    pub(crate) fn kernel(&self, source: &str, access: &[Access]) -> Result<Arc<Kernel>> {
        if let Some(kernel) = lock(&self.pipelines.kernels).get(source) {
            return Ok(kernel.clone());
        }
        if access.len() > self.limits.storage {
            let what = format!("a kernel of {} buffers (the driver allows {})", access.len(), self.limits.storage);
            return Err(Fault::Unsupported(what));
        }
        self.check()?;
        let (layout, pipeline_layout) = self.layout(access);
        let descriptor = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) };
        // Under test the kernels are compiled with every check, so that a bad index shows.
        let checked = cfg!(debug_assertions);
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.bounds_checks = checked;
        checks.force_loop_bounding = checked;
        // SAFETY: kernels are ours: every index is guarded by the kernel itself and every loop has a bound.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.check()?;
        let id = self.pipelines.compiled.fetch_add(1, Ordering::Relaxed);
        let kernel = Arc::new(Kernel { pipeline, layout, id });
        lock(&self.pipelines.kernels).insert(source.into(), kernel.clone(), source.len() + DRIVER_BYTES);
        Ok(kernel)
    }

    /// The number of kernels compiled since the device was opened.
    pub fn compiled(&self) -> u64 {
        self.pipelines.compiled.load(Ordering::Relaxed)
    }
}
