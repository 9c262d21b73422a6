//! The calls of ops, graph, tape and leaves to the evaluation. They know nothing else of it: `lib.rs` says which one it is.

use super::Tensor;
use crate::buffer::{Buffer, HostBuffer};
use crate::device::Device;
use crate::error::Result;
use std::sync::Arc;

pub trait Engine: Sync {
    /// Evaluates everything that callers on this thread hold, since there is too much of it.
    fn at_bound(&self);

    /// The buffer of a fresh copy of these elements in row-major order.
    fn own_copy(&self, x: &Tensor) -> Result<Buffer>;

    /// The elements in row-major order in host memory.
    fn to_host(&self, x: &Tensor) -> Result<Arc<HostBuffer>>;

    /// The value on a device, without history; the tensor itself if it is there already.
    fn to_device(&self, x: &Tensor, device: Device) -> Result<Tensor>;

    /// True if every result is computed as soon as it is made, to be debugged.
    fn is_eager(&self) -> bool;

    /// True if gradients are looked at for NaN, by `inspect_gradient`.
    fn looks_for_nan(&self) -> bool;

    /// An error if there is a NaN in a gradient: one that `of` gives to an operand, or one that came to it.
    fn inspect_gradient(&self, of: &Tensor, g: &Tensor, given: bool) -> Result<()>;
}
