//! Devices, by number.

use std::fmt;

/// 0 is the CPU; others count in the order in which they registered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Device(pub u8);

impl Device {
    pub const CPU: Device = Device(0);

    pub fn is_cpu(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_cpu() { f.write_str("cpu") } else { write!(f, "gpu:{}", self.0 - 1) }
    }
}
