//! Inverse trigonometric functions.

use super::float::Float;
use crate::simd::isa::Isa;

/// asin of x or, beyond 1/2, of √((1 − |x|)/2): which of them, and the angle.
#[inline(always)]
fn asin_part<T: Float, I: Isa>(x: T) -> (bool, T) {
    let (half, a) = (T::of(0.5), x.abs());
    let big = a > half;
    let z = if big { (T::of(1.0) - a) * half } else { a * a };
    let s = if big { z.root() } else { a };
    (big, (s * z).fma::<I>(z.polynomial::<I>(T::ASIN_P), s))
}

#[inline(always)]
pub(super) fn asin<T: Float, I: Isa>(x: T) -> T {
    let (big, p) = asin_part::<T, I>(x);
    let turned = T::PI_2[0] - ((p + p) - T::PI_2[1]);
    (if big { turned } else { p }).signed(x)
}

#[inline(always)]
pub(super) fn acos<T: Float, I: Isa>(x: T) -> T {
    let (big, p) = asin_part::<T, I>(x);
    let negative = x < T::of(0.0);
    let centre = T::PI_2[0] - (p.signed(x) - T::PI_2[1]);
    let left = T::PI[0] - ((p + p) - T::PI[1]);
    let side = if negative { left } else { p + p };
    if big { side } else { centre }
}

/// atan(y/x) for y, x ≥ 0, not both 0 or ∞.
#[inline(always)]
fn atan_ratio<T: Float, I: Isa>(y: T, x: T) -> T {
    let zero = T::of(0.0);
    // Turned by π/4 or π/2 until the tangent is within tan π/8.
    let steep = y > x * T::of(2.414213562373095);
    let middle = y > x * T::of(0.41421356237309503);
    let (top, bottom) = (if middle { y - x } else { y }, if middle { y + x } else { x });
    let (top, bottom) = (if steep { -x } else { top }, if steep { y } else { bottom });
    let turn = |k: usize| {
        let turn = if middle { T::PI_4[k] } else { zero };
        if steep { T::PI_2[k] } else { turn }
    };
    let t = top / bottom;
    let z = t * t;
    let tail = (t * z).fma::<I>(z.polynomial::<I>(T::ATAN_P), turn(1));
    turn(0) + (t + tail)
}

#[inline(always)]
pub(super) fn atan<T: Float, I: Isa>(x: T) -> T {
    atan_ratio::<T, I>(x.abs(), T::of(1.0)).signed(x)
}

#[inline(always)]
pub(super) fn atan2<T: Float, I: Isa>(y: T, x: T) -> T {
    let (zero, one) = (T::of(0.0), T::of(1.0));
    let (a, b) = (y.abs(), x.abs());
    // y + x must not overflow, and ∞/∞ is taken as 1, 0/0 as 0.
    let huge = T::MAX * T::of(0.25);
    let scale = if a > huge || b > huge { T::of(0.25) } else { one };
    let both_infinite = a == T::INFINITY && b == T::INFINITY;
    let both_zero = a == zero && b == zero;
    let top = if both_infinite { one } else { a * scale };
    let bottom = if both_infinite || both_zero { one } else { b * scale };
    let angle = atan_ratio::<T, I>(top, bottom);
    let left = one.signed(x) < zero;
    let angle = if left { T::PI[0] - (angle - T::PI[1]) } else { angle };
    angle.signed(y)
}
