//! Runs a plan on the CPU.
pub mod gemm;
pub mod isa;
pub mod lanes;
pub mod math;
