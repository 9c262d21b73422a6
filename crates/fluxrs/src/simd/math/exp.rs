//! Exponentials: x = n·ln 2 + r, a polynomial in r, and 2^n put in by the exponent's bits.

use super::float::Float;
use crate::simd::isa::Isa;

/// x = n·ln 2 + r: r, and `MAGIC` + n.
#[inline(always)]
fn reduced<T: Float, I: Isa>(x: T) -> (T, T) {
    let k = x.fma::<I>(T::of(std::f64::consts::LOG2_E), T::MAGIC);
    let n = k - T::MAGIC;
    let r = (-n).fma::<I>(T::LN2[1], (-n).fma::<I>(T::LN2[0], x));
    (r, k)
}

/// e^r − 1 for |r| ≤ ln 2 / 2.
#[inline(always)]
fn near_zero<T: Float, I: Isa>(r: T) -> T {
    (r * r).fma::<I>(r.polynomial::<I>(T::EXP_Q), r)
}

/// eˣ⁺ˡ for a small l, with x already between the bounds `T::EXP`.
#[inline(always)]
pub(super) fn exp_sum<T: Float, I: Isa>(x: T, low: T) -> T {
    let (r, k) = reduced::<T, I>(x);
    let [a, b] = T::powers_of_two(k);
    (near_zero::<T, I>(r + low) + T::of(1.0)) * a * b
}

#[inline(always)]
pub(super) fn exp<T: Float, I: Isa>(x: T) -> T {
    let (r, k) = reduced::<T, I>(x.clamped(T::EXP));
    let [a, b] = T::powers_of_two(k);
    (near_zero::<T, I>(r) + T::of(1.0)) * a * b
}

#[inline(always)]
pub(super) fn exp2<T: Float, I: Isa>(x: T) -> T {
    let x = x.clamped(T::EXP2);
    let k = x + T::MAGIC;
    let [a, b] = T::powers_of_two(k);
    let r = (x - (k - T::MAGIC)) * T::of(std::f64::consts::LN_2);
    (near_zero::<T, I>(r) + T::of(1.0)) * a * b
}

/// eˣ / 4, which cannot overflow before cosh does.
#[inline(always)]
pub(super) fn quarter_exp<T: Float, I: Isa>(x: T) -> T {
    let (r, k) = reduced::<T, I>(x);
    let scale = T::power_of_two(k - T::of(2.0));
    scale.fma::<I>(near_zero::<T, I>(r), scale)
}

/// (eˣ − 1) / 4, for x above where it is −1/4.
#[inline(always)]
pub(super) fn quarter_expm1<T: Float, I: Isa>(x: T) -> T {
    let (r, k) = reduced::<T, I>(x);
    let scale = T::power_of_two(k - T::of(2.0));
    scale.fma::<I>(near_zero::<T, I>(r), scale - T::of(0.25))
}

#[inline(always)]
pub(super) fn expm1<T: Float, I: Isa>(x: T) -> T {
    let y = T::of(4.0) * quarter_expm1::<T, I>(x.clamped([T::of(-50.0), T::EXP[1]]));
    T::choose(x.abs().less(T::TINY), x * x.fma::<I>(T::of(0.5), T::of(1.0)), y)
}
