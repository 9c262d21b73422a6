//! Hyperbolic functions and what neural networks make of exp: sigmoid and softplus.

use super::exp::{exp, quarter_exp, quarter_expm1};
use super::float::Float;
use super::log::{log1p, log1p_doubled};
use crate::simd::isa::Isa;

/// f(|x|) with the sign of x; x itself where that is what f rounds to.
#[inline(always)]
fn odd<T: Float>(x: T, magnitude: T) -> T {
    let y = magnitude.signed(x);
    T::choose(x.abs().less(T::TINY), x, y)
}

#[inline(always)]
pub(super) fn sinh<T: Float, I: Isa>(x: T) -> T {
    let a = x.abs().clamped([T::of(0.0), T::SINH]);
    // With t = eᵃ − 1: sinh a = (t + t/(t + 1))/2; a quarter of t is finite where sinh has overflowed.
    let quarter = quarter_expm1::<T, I>(a);
    odd(x, T::of(2.0) * (quarter + quarter / (T::of(4.0) * quarter + T::of(1.0))))
}

#[inline(always)]
pub(super) fn cosh<T: Float, I: Isa>(x: T) -> T {
    let a = x.abs().clamped([T::of(0.0), T::SINH]);
    let quarter = quarter_exp::<T, I>(a);
    quarter + quarter + T::of(0.125) / quarter
}

#[inline(always)]
pub(super) fn tanh<T: Float, I: Isa>(x: T) -> T {
    let a = x.abs().clamped([T::of(0.0), T::TANH]);
    // With t = e²ᵃ − 1: tanh a = t/(t + 2).
    let quarter = quarter_expm1::<T, I>(a + a);
    odd(x, quarter / (quarter + T::of(0.5)))
}

#[inline(always)]
pub(super) fn asinh<T: Float, I: Isa>(x: T) -> T {
    let (zero, one) = (T::of(0.0), T::of(1.0));
    let a = x.abs();
    let square = a * a;
    let t = a + square / (one + (square + one).root());
    let big = a > T::BIG;
    let (t, d) = (if big { a } else { t }, if big { one } else { zero });
    odd(x, log1p_doubled::<T, I>(t, d))
}

#[inline(always)]
pub(super) fn acosh<T: Float, I: Isa>(x: T) -> T {
    let (zero, one) = (T::of(0.0), T::of(1.0));
    let t = x - one;
    let sum = t + t.fma::<I>(t, t + t).root();
    let big = x > T::BIG;
    let (t, d) = (if big { x } else { sum }, if big { one } else { zero });
    let y = log1p_doubled::<T, I>(t, d);
    if x < one { T::NAN } else { y }
}

#[inline(always)]
pub(super) fn atanh<T: Float, I: Isa>(x: T) -> T {
    let a = x.abs();
    odd(x, T::of(0.5) * log1p::<T, I>((a + a) / (T::of(1.0) - a)))
}

#[inline(always)]
pub(super) fn sigmoid<T: Float, I: Isa>(x: T) -> T {
    // e^-|x| never overflows, and keeps the left tail down to the subnormals.
    let e = exp::<T, I>(-x.abs());
    let one = T::of(1.0);
    T::choose(x.less(T::of(0.0)), e, one) / (one + e)
}

#[inline(always)]
pub(super) fn softplus<T: Float, I: Isa>(x: T) -> T {
    let positive = T::choose(T::of(0.0).less(x), x, T::of(0.0));
    let e = exp::<T, I>(-x.abs());
    // log(1 + e) = t + t·z·P(z)/2 with t = 2e/(2 + e), z = t²/4: for e ≤ 1 without exponents or edges.
    let t = (e + e) / (e + T::of(2.0));
    let half = T::of(0.5) * t;
    let z = half * half;
    positive + (half * z).fma::<I>(z.polynomial::<I>(T::LOG_P), t)
}
