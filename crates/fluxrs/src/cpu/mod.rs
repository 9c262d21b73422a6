//! Runs a plan on the CPU.
pub mod gemm;
