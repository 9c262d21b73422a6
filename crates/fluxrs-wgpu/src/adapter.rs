//! Which adapters there are, and which one is taken.

use crate::fault::{Fault, Result};
use crate::limits::Limits;
use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
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
    /// Storage buffers in a kernel, and bytes of the largest.
    pub buffers: usize,
    pub binding: u64,
    /// Numbers, limits and features, for a report.
    pub details: String,
    /// The reason why fluxrs would not use it; None if it would.
    pub refused: Option<String>,
}

/// The environment variable that admits a software adapter (`cpu`), turns the GPU off (`off`), or says which adapter `gpu(x)`
/// takes: a part of its name, or its number among those that can be used (`gpu:1`).
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

/// The number in `gpu:1`.
fn place(setting: &str) -> Option<usize> {
    setting.strip_prefix("gpu:")?.parse().ok()
}

/// The reason why a setting of the environment keeps an adapter out.
fn kept_out(setting: &str, name: &str, software: bool) -> Option<&'static str> {
    let named = !matches!(setting, "" | "cpu") && place(setting).is_none();
    if matches!(setting, "off" | "0") {
        Some("FLUXRS_GPU turns the GPU off")
    } else if setting == "cpu" && !software {
        Some("FLUXRS_GPU=cpu asks for a software adapter")
    } else if named && !name.to_lowercase().contains(setting) {
        Some("FLUXRS_GPU names another adapter")
    } else {
        (software && !named && setting != "cpu").then_some(SOFTWARE)
    }
}

fn describe(adapter: &wgpu::Adapter, setting: &str) -> Adapter {
    let info = adapter.get_info();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let limits = Limits::of(&adapter.limits(), software, None);
    let refused = kept_out(setting, &info.name, software).map(str::to_owned).or_else(|| limits.refusal());
    let known = adapter.limits();
    let details = format!(
        "vendor {:#x}, device {:#x}, bus {:?}; buffers up to {}, bindings up to {}, {} storage buffers a stage, workgroups of {} \
         threads and {} bytes, {} workgroups a dimension; features: {:?}",
        info.vendor,
        info.device,
        info.device_pci_bus_id,
        known.max_buffer_size,
        known.max_storage_buffer_binding_size,
        known.max_storage_buffers_per_shader_stage,
        known.max_compute_invocations_per_workgroup,
        known.max_compute_workgroup_storage_size,
        known.max_compute_workgroups_per_dimension,
        adapter.features(),
    );
    Adapter {
        buffers: limits.storage,
        binding: limits.bytes,
        details,
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
    let seen: Vec<_> = all.iter().map(|adapter| identity(&adapter.get_info())).collect();
    let mut i = 0;
    all.retain(|_| {
        i += 1;
        is_first(&seen[..i])
    });
    all
}

/// The GPU that an adapter is, and the backend that it is seen through.
fn identity(info: &wgpu::AdapterInfo) -> ((u32, u32, String), wgpu::Backend) {
    ((info.vendor, info.device, info.device_pci_bus_id.clone()), info.backend)
}

/// False if the last of these was seen through another backend before. Two GPUs of one kind are two.
fn is_first<I: PartialEq>(seen: &[(I, wgpu::Backend)]) -> bool {
    let Some(((gpu, backend), before)) = seen.split_last() else { return true };
    before.iter().all(|(other, through)| other != gpu || through == backend)
}

/// Every adapter with its description, the usable ones first: their places are the numbers of `gpu:0`, `gpu:1`, ….
fn described(instance: &wgpu::Instance) -> Vec<(wgpu::Adapter, Adapter)> {
    let setting = setting();
    let mut all: Vec<_> = adapters(instance).into_iter().map(|adapter| (describe(&adapter, &setting), adapter)).collect();
    all.sort_by_key(|(description, _)| description.refused.is_some());
    all.into_iter().map(|(description, adapter)| (adapter, description)).collect()
}

/// The entries of `devices()` beside the CPU; opens no device. They are looked for once.
pub fn devices() -> &'static [Adapter] {
    static DEVICES: OnceLock<Vec<Adapter>> = OnceLock::new();
    DEVICES.get_or_init(|| described(&instance()).into_iter().map(|(_, description)| description).collect())
}

fn usable(all: &[Adapter]) -> usize {
    all.iter().filter(|adapter| adapter.refused.is_none()).count()
}

/// The numbers of the adapters that `gpu(x)` may take, in the order in which they are tried.
pub(crate) fn candidates() -> Result<Vec<usize>> {
    let count = usable(devices());
    match place(&setting()) {
        Some(number) if number < count => Ok(vec![number]),
        Some(number) => Err(Fault::Missing(format!("{VARIABLE}=gpu:{number} asks for one of {count} that can be used"))),
        None if count > 0 => Ok((0..count).collect()),
        None => Err(Fault::Missing(nothing(devices()))),
    }
}

/// The names of all that was found and why it was refused.
fn nothing(all: &[Adapter]) -> String {
    let refused: Vec<String> = all.iter().map(|a| format!("{} ({})", a.name, a.refused.as_deref().unwrap_or_default())).collect();
    match refused.is_empty() {
        true => "no Vulkan, Metal or DX12 driver was found; install the driver of your graphics card".to_owned(),
        false => format!("found only {}", refused.join(", ")),
    }
}

/// The first of the candidates that opens; if none does, why.
pub(crate) fn first_open<T>(candidates: &[usize], mut open: impl FnMut(usize) -> Result<T>) -> Result<T> {
    let mut reasons = Vec::new();
    for &number in candidates {
        match open(number) {
            Err(Fault::Missing(why)) => reasons.push(why),
            other => return other,
        }
    }
    Err(Fault::Missing(reasons.join("; ")))
}

/// The adapter of a number.
pub(crate) fn choose(instance: &wgpu::Instance, number: usize) -> Result<(wgpu::Adapter, Adapter)> {
    let all = described(instance);
    let found = all.into_iter().filter(|(_, description)| description.refused.is_none()).nth(number);
    found.ok_or_else(|| {
        let count = usable(devices());
        Fault::Missing(if count == 0 { nothing(devices()) } else { format!("there is no gpu:{number}; {count} can be used") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_does_not_open_is_passed_over() {
        let open = |number: usize| match number {
            0 => Err(Fault::Missing("A did not open: busy".to_owned())),
            n => Ok(n),
        };
        assert_eq!(first_open(&[0, 1, 2], open), Ok(1));
        assert_eq!(first_open(&[0], open), Err(Fault::Missing("A did not open: busy".to_owned())));
        let lost = Fault::Lost("gone".to_owned());
        assert_eq!(first_open::<usize>(&[0, 1], |_| Err(lost.clone())), Err(lost.clone()));
    }

    #[test]
    fn a_setting_keeps_adapters_out() {
        for (setting, name, software, kept) in [
            ("", "Radeon", false, true),
            ("", "llvmpipe", true, false),
            ("cpu", "llvmpipe", true, true),
            ("cpu", "Radeon", false, false),
            ("off", "Radeon", false, false),
            ("radeon", "AMD Radeon", false, true),
            ("geforce", "AMD Radeon", false, false),
            ("llvm", "llvmpipe", true, true),
            ("gpu:1", "Radeon", false, true),
            ("gpu:1", "llvmpipe", true, false),
        ] {
            assert_eq!(kept_out(setting, name, software).is_none(), kept, "{setting} {name}");
        }
    }

    #[test]
    fn one_gpu_through_two_backends_is_one_and_two_of_a_kind_are_two() {
        use wgpu::Backend::{Dx12, Vulkan};
        assert!(is_first(&[(1, Vulkan), (1, Vulkan)]));
        assert!(is_first(&[(1, Vulkan), (2, Dx12)]));
        assert!(!is_first(&[(1, Vulkan), (2, Vulkan), (1, Dx12)]));
    }
}
