//! sin, cos and tan for `f32`: the angle is reduced in double precision, for every finite x alike.

use super::float::Float;
use crate::cpu::isa::Isa;

/// 1/2π in pieces of 29 bits, whose product with 24 bits is exact, and a last one for the rest.
const TURNS: [f64; 5] = [
    0.15915494225919247,
    8.327028684640414e-10,
    5.690025151837083e-19,
    3.0858908155766275e-27,
    5.595982707708916e-36,
];
const TURNS_REST: f64 = 6.551007954373285e-45;

/// x = π·(n + f + t) with n an integer, |f| ≤ 1/2 and t tiny: f, t, and `MAGIC` + n.
///
/// The nearest that an `f32` comes to a multiple of π/2 is 2⁻³² or so, so f + t must be right to 2⁻⁶⁰: whole turns are dropped
/// from each exact product, its upper bits add up exactly in f, and the lower ones in t.
#[inline(always)]
fn half_turns<I: Isa>(x: f32) -> (f64, f64, f64) {
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
    let half = upper + upper;
    let k = half + f64::MAGIC;
    (half - (k - f64::MAGIC), lower + lower, k)
}

/// sin(π·x) for x between −1/2 and 1/2.
#[inline(always)]
fn sin_pi<I: Isa>(x: f64) -> f32 {
    const P: &[f32] = &[
        -0.16666667,
        0.008333331,
        -1.9840868e-4,
        2.7525373e-6,
        -2.38887e-8,
    ];
    let r = (x * std::f64::consts::PI) as f32;
    let z = r * r;
    (r * z).fma::<I>(z.polynomial::<I>(P), r)
}

/// cos(π·(f + t)), which is sin(π·(1/2 − |f + t|)).
#[inline(always)]
fn cos_pi<I: Isa>(f: f64, t: f64) -> f32 {
    sin_pi::<I>((0.5 - f.abs()) - if f < 0.0 { -t } else { t })
}

/// −y for an odd number of half turns.
#[inline(always)]
fn turned(y: f32, k: f64) -> f32 {
    if k.to_bits() & 1 == 1 { -y } else { y }
}

#[inline(always)]
pub(super) fn sin<I: Isa>(x: f32) -> f32 {
    let (f, t, k) = half_turns::<I>(x);
    let y = turned(sin_pi::<I>(f + t), k);
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub(super) fn cos<I: Isa>(x: f32) -> f32 {
    let (f, t, k) = half_turns::<I>(x);
    turned(cos_pi::<I>(f, t), k)
}

#[inline(always)]
pub(super) fn tan<I: Isa>(x: f32) -> f32 {
    let (f, t, _) = half_turns::<I>(x);
    let y = sin_pi::<I>(f + t) / cos_pi::<I>(f, t);
    if x == 0.0 { x } else { y }
}
