//! sin, cos and tan for `f32`: the angle is reduced in double precision, for every finite x alike.

use super::float::Float;
use crate::simd::isa::Isa;

/// 1/2π in pieces of 29 bits, whose product with 24 bits is exact, and a last one for the rest.
const TURNS: [f64; 5] =
    [0.15915494225919247, 8.327028684640414e-10, 5.690025151837083e-19, 3.0858908155766275e-27, 5.595982707708916e-36];
const TURNS_REST: f64 = 6.551007954373285e-45;

/// x = (n + h)·π/2 with n an integer and |h| ≤ 1/2: h·π/2, and `MAGIC` + n.
///
/// The nearest that an `f32` comes to a multiple of π/2 is 2⁻³² or so, so h must be right to 2⁻⁶⁰: whole turns are dropped from
/// each exact product, its upper bits add up exactly, and the lower ones apart.
#[inline(always)]
fn quarter_turns<I: Isa>(x: f32) -> (f32, f64) {
    const COARSE: f64 = f64::MAGIC / (1u64 << 24) as f64;
    let x = f64::from(x);
    let mut upper = 0.0;
    let mut lower = x * TURNS_REST;
    for piece in TURNS {
        let turns = x * piece;
        let part = turns - turns.rint::<I>();
        let head = (part + COARSE) - COARSE;
        upper += head;
        lower += part - head;
    }
    let quarters = 4.0 * upper;
    let k = quarters + f64::MAGIC;
    let h = 4f64.fma::<I>(lower, quarters - (k - f64::MAGIC));
    ((h * std::f64::consts::FRAC_PI_2) as f32, k)
}

/// sin r for |r| ≤ π/4.
#[inline(always)]
fn sin_part<I: Isa>(r: f32) -> f32 {
    const P: &[f32] = &[-0.16666655, 0.008332156, -1.9514629e-4];
    let z = r * r;
    (r * z).fma::<I>(z.polynomial::<I>(P), r)
}

/// cos r for |r| ≤ π/4.
#[inline(always)]
fn cos_part<I: Isa>(r: f32) -> f32 {
    const P: &[f32] = &[0.041666646, -0.0013887312, 2.4432526e-5];
    let z = r * r;
    (z * z).fma::<I>(z.polynomial::<I>(P), z.fma::<I>(-0.5, 1.0))
}

/// sin of the angle turned by `quarters` quarter turns more.
#[inline(always)]
fn sin_turned<I: Isa>(x: f32, quarters: u64) -> f32 {
    let (r, k) = quarter_turns::<I>(x);
    let n = k.to_bits().wrapping_add(quarters);
    let (s, c) = (sin_part::<I>(r), cos_part::<I>(r));
    let y = if n & 1 == 1 { c } else { s };
    if n & 2 == 2 { -y } else { y }
}

#[inline(always)]
pub(super) fn sin<I: Isa>(x: f32) -> f32 {
    let y = sin_turned::<I>(x, 0);
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub(super) fn cos<I: Isa>(x: f32) -> f32 {
    sin_turned::<I>(x, 1)
}

#[inline(always)]
pub(super) fn tan<I: Isa>(x: f32) -> f32 {
    let (r, k) = quarter_turns::<I>(x);
    let (s, c) = (sin_part::<I>(r), cos_part::<I>(r));
    let odd = k.to_bits() & 1 == 1;
    let y = (if odd { -c } else { s }) / (if odd { s } else { c });
    if x == 0.0 { x } else { y }
}
