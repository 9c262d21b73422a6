//! Loops over slices of numbers, compiled for every instruction set: what the ops' formulas and the CPU's kernels are made of.

pub mod isa;
pub mod lanes;
pub mod math;
pub mod trace;
