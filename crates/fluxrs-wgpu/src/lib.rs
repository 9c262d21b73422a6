//! The GPU device of fluxrs: runs plans through wgpu.

// The tests name the optimisers' numbers as the papers do.
#![cfg_attr(test, allow(confusable_idents))]

mod adapter;
mod backend;
mod codegen;
mod compile;
mod device;
mod fault;
mod groups;
pub mod library;
mod limits;
mod pace;
mod pipeline;
mod pool;
mod run;
mod steps;
mod template;
#[cfg(test)]
mod tests;
mod transfer;

pub use adapter::{Adapter, VARIABLE, devices};
pub use backend::GpuBackend;
pub use device::{Counters, Gpu, counts, default_number, gpu, gpu_at};
pub use fault::{Fault, Result};
pub use limits::{LIMITS, Limits};
pub use pool::Storage;
pub use steps::Raised;
