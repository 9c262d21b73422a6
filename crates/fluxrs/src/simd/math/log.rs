//! Logarithms: x = m·2^e, and a polynomial in f = m − 1.

use super::float::Float;
use crate::simd::isa::Isa;

/// The value of a logarithm in any base outside (0, ∞).
#[inline(always)]
fn edges<T: Float>(x: T, inside: T) -> T {
    let zero = T::of(0.0);
    let y = if x < T::INFINITY { inside } else { x };
    let y = if x == zero { -T::INFINITY } else { y };
    if x < zero { T::NAN } else { y }
}

/// log(m·2^e) for m = 1 + f.
#[inline(always)]
fn combined<T: Float, I: Isa>(f: T, e: T) -> T {
    let tail = e.fma::<I>(T::LN2[1], T::log_tail::<I>(f));
    e.fma::<I>(T::LN2[0], f + tail)
}

#[inline(always)]
pub(super) fn log<T: Float, I: Isa>(x: T) -> T {
    let (m, e) = x.mantissa_exponent();
    edges(x, combined::<T, I>(m - T::of(1.0), e))
}

#[inline(always)]
pub(super) fn log2<T: Float, I: Isa>(x: T) -> T {
    let (m, e) = x.mantissa_exponent();
    let f = m - T::of(1.0);
    let y = f + T::log_tail::<I>(f);
    edges(x, y.fma::<I>(T::of(std::f64::consts::LOG2_E), e))
}

#[inline(always)]
pub(super) fn log10<T: Float, I: Isa>(x: T) -> T {
    let (m, e) = x.mantissa_exponent();
    let f = m - T::of(1.0);
    let y = f + T::log_tail::<I>(f);
    let low = y.fma::<I>(T::of(std::f64::consts::LOG10_E), e * T::LOG10_2[1]);
    edges(x, e.fma::<I>(T::LOG10_2[0], low))
}

#[inline(always)]
pub(super) fn log1p<T: Float, I: Isa>(x: T) -> T {
    log1p_doubled::<T, I>(x, T::of(0.0))
}

/// log(1 + x) + d·ln 2.
#[inline(always)]
pub(super) fn log1p_doubled<T: Float, I: Isa>(x: T, d: T) -> T {
    let one = T::of(1.0);
    let (_, e) = (one + x).mantissa_exponent();
    // f = (1 + x)/2^e − 1, rounded once. Four times the scale is a normal number for the greatest x too.
    let (scale, quarter) = (T::power_of_two(T::MAGIC + (T::of(2.0) - e)), T::of(0.25));
    let f = (x * quarter).fma::<I>(scale, scale * quarter - one);
    let y = edges(one + x, combined::<T, I>(f, e + d));
    if x.abs() < T::TINY { x * x.fma::<I>(T::of(-0.5), one) } else { y }
}
