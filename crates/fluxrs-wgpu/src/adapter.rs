//! Which adapters there are, and which one is taken.

use crate::fault::{Fault, Result};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// One line of `devices()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    pub name: String,
    /// "discrete", "integrated", "virtual", "cpu" or "other".
    pub kind: &'static str,
    /// "vulkan", "metal" or "dx12".
    pub backend: &'static str,
    /// Driver name and version; on DX12 with the shader compiler, since the old one is slow.
    pub driver: String,
    /// Bytes of device memory, where the driver tells.
    pub memory: Option<u64>,
    /// The reason why fluxrs would not use it; None if it would.
    pub refused: Option<&'static str>,
}

/// The environment variable that admits a software adapter (`cpu`), turns the GPU off (`off`), or names an adapter.
pub const VARIABLE: &str = "FLUXRS_GPU";

const SOFTWARE: &str = "a software adapter; FLUXRS_GPU=cpu admits it";

/// wgpu's futures are ready at once on native platforms.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

pub(crate) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    // Without a threshold a driver may grant memory that does not exist and lose the device when it is touched.
    descriptor.memory_budget_thresholds.for_resource_creation = Some(95);
    wgpu::Instance::new(descriptor)
}

fn kind(info: &wgpu::AdapterInfo) -> &'static str {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

fn backend(info: &wgpu::AdapterInfo) -> &'static str {
    match info.backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        _ => "other",
    }
}

fn driver(info: &wgpu::AdapterInfo) -> String {
    let mut text = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
    if info.backend == wgpu::Backend::Dx12 {
        // Neither static DXC nor dxcompiler.dll travels with the wheel, so wgpu takes FXC.
        text.push_str(" (shader compiler FXC)");
    }
    text
}

/// The sum of the device-local heaps, which only Vulkan tells.
#[cfg(not(target_vendor = "apple"))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handles are used for one query while the adapter is borrowed and are not kept.
    unsafe {
        let hal = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = hal.shared_instance().raw_instance();
        let properties = instance.get_physical_device_memory_properties(hal.raw_physical_device());
        let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
        let local = heaps.iter().filter(|heap| heap.flags.as_raw() & 1 != 0);
        Some(local.map(|heap| heap.size).sum())
    }
}

#[cfg(target_vendor = "apple")]
fn memory(_: &wgpu::Adapter) -> Option<u64> {
    None
}

fn rank(info: &wgpu::AdapterInfo) -> u32 {
    let device = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    2 * device + u32::from(info.backend == wgpu::Backend::Dx12)
}

fn setting() -> String {
    std::env::var(VARIABLE).unwrap_or_default().trim().to_lowercase()
}

fn describe(adapter: &wgpu::Adapter, setting: &str) -> Adapter {
    let info = adapter.get_info();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let named = !matches!(setting, "" | "cpu" | "off" | "0") && !info.name.to_lowercase().contains(setting);
    let refused = if matches!(setting, "off" | "0") {
        Some("FLUXRS_GPU turns the GPU off")
    } else if setting == "cpu" && !software {
        Some("FLUXRS_GPU=cpu asks for a software adapter")
    } else if named {
        Some("FLUXRS_GPU names another adapter")
    } else if software && setting.is_empty() {
        Some(SOFTWARE)
    } else {
        None
    };
    Adapter {
        kind: kind(&info),
        backend: backend(&info),
        driver: driver(&info),
        memory: memory(adapter),
        refused,
        name: info.name,
    }
}

/// Every adapter, best first, one GPU seen through two backends once.
fn adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut all = ready(instance.enumerate_adapters(wgpu::Backends::all()));
    all.sort_by_key(|adapter| rank(&adapter.get_info()));
    let mut seen: Vec<(u32, u32, String)> = Vec::new();
    all.retain(|adapter| {
        let info = adapter.get_info();
        let identity = (info.vendor, info.device, info.device_pci_bus_id);
        let fresh = !seen.contains(&identity);
        seen.push(identity);
        fresh
    });
    all
}

/// The entries of `devices()` beside the CPU; opens no device.
pub fn devices() -> Vec<Adapter> {
    let setting = setting();
    adapters(&instance()).iter().map(|adapter| describe(adapter, &setting)).collect()
}

/// The adapter to use, or a message that names everything that was found and why it was refused.
pub(crate) fn choose(instance: &wgpu::Instance) -> Result<(wgpu::Adapter, Adapter)> {
    let setting = setting();
    let mut refused = Vec::new();
    for adapter in adapters(instance) {
        let description = describe(&adapter, &setting);
        match description.refused {
            None => return Ok((adapter, description)),
            Some(why) => refused.push(format!("{} ({why})", description.name)),
        }
    }
    Err(Fault::Missing(if refused.is_empty() {
        "no Vulkan, Metal or DX12 driver was found; install the driver of your graphics card".to_owned()
    } else {
        format!("found only {}", refused.join(", "))
    }))
}
