//! The error function, its complement and its inverse.

use super::exp::exp_sum;
use super::float::Float;
use crate::cpu::isa::Isa;

/// erf x / x for |x| < 1/2, and erfc |x| for the rest.
#[inline(always)]
fn parts<T: Float, I: Isa>(x: T) -> (T, T) {
    let one = T::of(1.0);
    let ratio = (x * x).polynomial::<I>(T::ERF_P);
    let a = x.abs().clamped([T::of(0.25), T::ERFC]);
    // e^(-a²) needs all of a²; e^(a²)·erfc a is smooth.
    let (square, low) = a.exact_product::<I>(a);
    let t = (a - T::ERFCX_K) / (a + T::ERFCX_K);
    let scaled = t.polynomial::<I>(T::ERFCX_P) / a.fma::<I>(T::of(2.0), one);
    (ratio, exp_sum::<T, I>(-square, -low) * scaled)
}

#[inline(always)]
pub(super) fn erf<T: Float, I: Isa>(x: T) -> T {
    let (ratio, complement) = parts::<T, I>(x);
    let outside = (T::of(1.0) - complement).signed(x);
    if x.abs() < T::of(0.5) { x * ratio } else { outside }
}

#[inline(always)]
pub(super) fn erfc<T: Float, I: Isa>(x: T) -> T {
    let (ratio, complement) = parts::<T, I>(x);
    let outside = if x < T::of(0.0) { T::of(2.0) - complement } else { complement };
    if x.abs() < T::of(0.5) { T::of(1.0) - x * ratio } else { outside }
}

/// erf for `f32`, with one exponential and no division.
#[inline(always)]
pub(super) fn erf_f32<I: Isa>(x: f32) -> f32 {
    const P: &[f32] = &[1.1283791, -0.37612626, 0.112835854, -0.02685381, 0.0051883208, -8.0101105e-4, 7.853517e-5];
    // log erfc x from 1 to where erf rounds to 1.
    const LOG_ERFC: &[f32] =
        &[2.0471547e-5, -1.1288309, -0.63461405, -0.10701154, 0.024379795, -0.003920408, 3.8883125e-4, -1.7657338e-5];
    let a = x.abs().clamped([0.5, 4.0]);
    let outside = 1.0 - exp_sum::<f32, I>(a.polynomial::<I>(LOG_ERFC), 0.0);
    let inside = x * (x * x).polynomial::<I>(P);
    if x.abs() < 1.0 { inside } else { outside.copysign(x) }
}
