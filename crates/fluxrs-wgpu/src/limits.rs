//! Limits that kernels are made for: the adapter's, or lower ones that the environment asks for.

use crate::fault::{Fault, Result};

/// The environment variable that lowers limits, as in `buffers=8,flights=2`, so that the paths of other adapters can be tested.
pub const LIMITS: &str = "FLUXRS_GPU_LIMITS";

/// Storage buffers that a kernel may need, however it is cut.
pub(crate) const LEAST: usize = 8;

/// Storage bindings are capped here: Metal returns its buffer length as the limit, and naga computes sizes in u32.
const CAP: u64 = (1 << 31) - 256;

/// Descriptors of DX12's heap, which is made at once: adapters report a million.
pub(crate) const BINDINGS: u32 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Inner loops are written out. A software driver's compiler takes time quadratic in a kernel's loads.
    pub unroll: bool,
    /// Steps submitted and not yet done: a second submit to a software adapter would block.
    pub flights: usize,
    /// Bytes of all tensors, if that is bounded.
    pub memory: Option<u64>,
    /// Bytes of freed buffers that are kept.
    pub idle: u64,
    /// Nanoseconds of one CPU core's work in one dispatch at most, and nanoseconds that one submit may take.
    pub dispatch: usize,
    pub submit: u64,
    /// Nanoseconds of this device in one of a CPU core, before any was measured.
    pub speed: f64,
}

impl Limits {
    /// Of an adapter of which `memory` bytes are known.
    pub(crate) fn of(adapter: &wgpu::Limits, software: bool, memory: Option<u64>) -> Limits {
        Limits {
            bytes: adapter.max_storage_buffer_binding_size.min(adapter.max_buffer_size).min(CAP),
            storage: adapter.max_storage_buffers_per_shader_stage as usize,
            groups: adapter.max_compute_workgroups_per_dimension.min(65_535),
            shared: adapter.max_compute_workgroup_storage_size,
            align: adapter.min_uniform_buffer_offset_alignment.max(256),
            unroll: !software,
            flights: if software { 1 } else { 2 },
            memory: None,
            // Freed buffers that a step gives back to the driver are made again by the next.
            idle: if software { 2 << 30 } else { memory.map_or(2 << 30, |bytes| (bytes / 2).max(2 << 30)) },
            dispatch: 10_000_000_000,
            submit: 200_000_000,
            speed: if software { 1.0 } else { 0.01 },
        }
    }

    /// The reason why an adapter with these limits cannot be used.
    pub(crate) fn refusal(&self) -> Option<String> {
        let few = self.storage < LEAST;
        few.then(|| format!("it binds {} storage buffers in a kernel, of the {LEAST} that are needed", self.storage))
    }

    /// These, lowered as the environment asks.
    pub(crate) fn lowered(mut self, setting: &str) -> Result<Limits> {
        for item in setting.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').map(|(name, value)| (name.trim(), value.trim())).unwrap_or((item, ""));
            let Some(value) = number(value) else {
                return Err(Fault::Missing(format!("{LIMITS}: {item:?} is not NAME=NUMBER, as buffers=8 or binding=16M")));
            };
            match name {
                "buffers" => self.storage = self.storage.min(value as usize),
                "binding" => self.bytes = self.bytes.min(value.max(256)),
                "groups" => self.groups = self.groups.min(value.max(1) as u32),
                "memory" => self.memory = Some(value),
                "idle" => self.idle = value,
                "flights" => self.flights = value.clamp(1, 8) as usize,
                "unroll" => self.unroll = value != 0,
                "dispatch" => self.dispatch = value.max(1) as usize,
                "submit" => self.submit = value.max(1),
                _ => {
                    let names = "buffers, binding, groups, memory, idle, flights, unroll, dispatch and submit";
                    return Err(Fault::Missing(format!("{LIMITS}: there is no limit {name:?}; there are {names}")));
                }
            }
        }
        match self.refusal() {
            Some(why) => Err(Fault::Missing(format!("{LIMITS}: {why}"))),
            None => Ok(self),
        }
    }
}

/// A whole number, in units of 2^10, 2^20 or 2^30 behind K, M or G.
fn number(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lowered_by_name() {
        let most = Limits::of(&wgpu::Limits::default(), false, None);
        let least = most.lowered("buffers=8, binding=16M,flights=3,unroll=0,memory=2G").unwrap();
        assert_eq!((least.storage, least.bytes, least.flights, least.unroll), (8, 16 << 20, 3, false));
        assert_eq!((least.memory, most.lowered("").unwrap()), (Some(2 << 30), most));
        for (setting, message) in [
            ("buffers=2", "binds 2 storage buffers in a kernel, of the 8 that are needed"),
            ("buffers", "is not NAME=NUMBER"),
            ("binding=3KM", "is not NAME=NUMBER"),
            ("speed=3", "there is no limit \"speed\""),
        ] {
            let Err(Fault::Missing(text)) = most.lowered(setting) else { panic!("{setting}") };
            assert!(text.contains(message), "{text}");
        }
    }
}
