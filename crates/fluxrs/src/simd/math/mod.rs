//! Scalar mathematics that vectorises: every function is branch-free, calls nothing, and is generic over the instruction set.

// Coefficients stand as they were fitted: a nearby constant, or fewer digits, would be another function.
#![allow(clippy::approx_constant, clippy::excessive_precision)]

mod erf;
mod exp;
mod float;
mod hyperbolic;
mod inverse;
mod log;
mod num;
mod power;
mod real;
mod trig32;
mod trig64;

pub use float::Float;
pub use num::{Cast, Num};
pub use real::{Precise, Real};
