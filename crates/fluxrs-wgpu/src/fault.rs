//! Faults of the device.

use crate::steps::Raised;
use std::fmt;

pub type Result<T> = std::result::Result<T, Fault>;

/// A failure of the device, of its driver or of what was asked of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// No usable adapter; the message says what was found and what to do.
    Missing(String),
    /// The device was used in a child of the process that made it.
    Forked,
    /// Memory that cannot be had; says how much, and what there is.
    Memory(String),
    /// A kernel that the driver does not take: its ops, and why.
    Refused(String, String),
    /// The device is gone, with everything that was only there.
    Lost(String),
    /// The driver or wgpu refused something that should be valid.
    Driver(String),
    /// Something that the device does not do yet; names the operation.
    Unsupported(String),
    /// The stop flag was raised while waiting.
    Interrupted,
    /// A kernel raised a flag.
    Raised(Raised),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(why) => write!(f, "no GPU: {why}"),
            Fault::Forked => f.write_str(
                "the GPU was opened by the parent process and cannot be used after a fork; \
                 start workers with multiprocessing.set_start_method(\"spawn\"), or use the GPU in one process only",
            ),
            Fault::Memory(why) => f.write_str(why),
            Fault::Refused(kernel, why) => write!(
                f,
                "the GPU's driver does not take the kernel of {kernel} ({}); this is a fault of fluxrs or of the driver: please \
                 report it with what fluxrs.gpu_report() prints, and use cpu(x) until then",
                why.trim()
            ),
            Fault::Lost(why) => write!(
                f,
                "the GPU was lost ({why}), and with it every tensor that was only there; restart the process to use it again, and see fluxrs.gpu_report()"
            ),
            Fault::Driver(why) => write!(f, "the GPU driver reported an error: {why}"),
            Fault::Unsupported(what) => write!(f, "the GPU does not do {what} yet; move the tensor with cpu(x)"),
            Fault::Raised(Raised::Loss { .. }) => f.write_str(
                "the loss is Inf or NaN: no parameter was changed. Look for a log or a division of 0, a learning rate \
                 that is too large, or NaN in the data",
            ),
            Fault::Raised(Raised::Call { error, .. }) => error.fmt(f),
            Fault::Raised(Raised::Overflow) => f.write_str(
                "a result of int64 does not fit the 32 bits that the GPU has for integers; move the tensor with cpu(x)",
            ),
            Fault::Interrupted => f.write_str("interrupted while waiting for the GPU"),
        }
    }
}

impl std::error::Error for Fault {}
