//! The GPU device of fluxrs: runs plans through wgpu.

mod adapter;
mod device;
mod fault;
pub mod library;
mod pipeline;
mod pool;
mod template;
#[cfg(test)]
mod tests;
mod transfer;

pub use adapter::{Adapter, VARIABLE, devices};
pub use device::{Gpu, Limits, gpu};
pub use fault::{Fault, Result};
pub use pool::Storage;
