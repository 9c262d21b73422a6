//! The GPU device of fluxrs: runs plans through wgpu.

// The tests name the optimisers' numbers as the papers do.
#![cfg_attr(test, allow(confusable_idents))]

mod adapter;
mod backend;
mod codegen;
mod compile;
mod device;
mod fault;
pub mod library;
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
pub use device::{Counters, Gpu, Limits, counts, gpu};
pub use fault::{Fault, Result};
pub use pool::Storage;
pub use steps::Raised;
