//! sin, cos and tan for `f64`: the angle is reduced with as many digits of 2/π as its exponent asks for.

use super::float::Float;
use crate::simd::isa::Isa;

/// The binary digits of 2/π after the point.
const TWO_OVER_PI: [u64; 20] = [
    0xA2F9_836E_4E44_1529,
    0xFC27_57D1_F534_DDC0,
    0xDB62_9599_3C43_9041,
    0xFE51_63AB_DEBB_C561,
    0xB724_6E3A_424D_D2E0,
    0x0649_2EEA_09D1_921C,
    0xFE1D_EB1C_B129_A73E,
    0xE882_35F5_2EBB_4484,
    0xE99C_7026_B45F_7E41,
    0x3991_D639_8353_39F4,
    0x9C84_5F8B_BDF9_283B,
    0x1FF8_97FF_DE05_980F,
    0xEF2F_118B_5A0A_6D1F,
    0x6D36_7ECF_27CB_09B7,
    0x4F46_3F66_9E5F_EA2D,
    0x7527_BAC7_EBE5_F17B,
    0x3D07_39F7_8A52_92EA,
    0x6BFB_5FB1_1F8D_5D08,
    0x5603_3046_FC7B_6BAB,
    0xF0CF_BC20_9AF4_361D,
];

/// Digits of 2/π that one step of the exponent index leaves out.
const STEP: u32 = 16;

/// `PIECES[j][i]`: the digits of 2/π from 16·i + 53·j on, 53 of them, as a number below 2^(−53·j).
static PIECES: [[f64; 64]; 4] = {
    let mut pieces = [[0.0; 64]; 4];
    let mut j = 0;
    while j < 4 {
        let mut i = 0;
        while i < 64 {
            let first = STEP * i + 53 * j;
            let (word, bit) = ((first / 64) as usize, first % 64);
            let both = (TWO_OVER_PI[word] as u128) << 64 | TWO_OVER_PI[word + 1] as u128;
            let digits = ((both << bit) >> (128 - 53)) as u64;
            let scale = f64::from_bits((1023 - 53 * (j as u64 + 1)) << 52);
            pieces[j as usize][i as usize] = digits as f64 * scale;
            i += 1;
        }
        j += 1;
    }
    pieces
};

/// x = (n + h)·π/2 with |h| ≤ 1/2: h·π/2 in two parts, and `MAGIC` + n.
///
/// Digits of 2/π that make multiples of 4 are left out by scaling x and choosing a later piece; of what is left, multiples of 4
/// are dropped term by term. The nearest that an `f64` comes to a multiple of π/2 is 2⁻⁶¹ or so, hence the exact sums.
#[inline(always)]
fn quarter_turns<I: Isa>(x: f64) -> (f64, f64, f64) {
    let exponent = (x.to_bits() >> 52) & 0x7FF;
    let index = exponent.saturating_sub(1023 + 54) / u64::from(STEP);
    let scaled = f64::from_bits(x.to_bits() - ((index * u64::from(STEP)) << 52));
    let scaled = if exponent == 0x7FF { f64::NAN } else { scaled };
    let piece = |j: usize| PIECES[j][index as usize & 63];
    let drop = |v: f64| (-4f64).fma::<I>((v * 0.25).rint::<I>(), v);

    let (a, b) = scaled.exact_product::<I>(piece(0));
    let (c, d) = scaled.exact_product::<I>(piece(1));
    let (e, f) = scaled.exact_product::<I>(piece(2));
    let g = scaled * piece(3);

    let (h, e1) = drop(a).exact_sum(drop(b));
    let (h, e2) = h.exact_sum(drop(c));
    let k = h + f64::MAGIC;
    let h = h - (k - f64::MAGIC);
    let (h, e3) = h.exact_sum(d);
    let (h, e4) = h.exact_sum(e);
    let (low, e5) = e1.exact_sum(e2);
    let (low, e6) = low.exact_sum(e3);
    let (low, e7) = low.exact_sum(e4);
    let (h, low) = h.exact_sum(low);
    let low = low + ((e5 + e6) + (e7 + (f + g)));

    let [pi_2, pi_2_low] = f64::PI_2;
    let (r, r_low) = h.exact_product::<I>(pi_2);
    (r, r_low + h.fma::<I>(pi_2_low, low * pi_2), k)
}

/// sin(r + low) for |r| ≤ π/4.
#[inline(always)]
fn sin_part<I: Isa>(r: f64, low: f64) -> f64 {
    const P: &[f64] = &[
        -0.1666666666666663,
        0.008333333333322115,
        -0.00019841269829585213,
        2.7557313619504517e-06,
        -2.5050747411628994e-08,
        1.589620682314219e-10,
    ];
    let z = r * r;
    r + (r * z).fma::<I>(z.polynomial::<I>(P), low)
}

/// cos(r + low) for |r| ≤ π/4.
#[inline(always)]
fn cos_part<I: Isa>(r: f64, low: f64) -> f64 {
    const P: &[f64] = &[
        0.041666666666666595,
        -0.001388888888887304,
        2.4801587288841448e-05,
        -2.7557314176250587e-07,
        2.0875700417115312e-09,
        -1.1358513988589977e-11,
    ];
    let z = r * r;
    let half = 0.5 * z;
    let w = 1.0 - half;
    w + (((1.0 - w) - half) + (z * z).fma::<I>(z.polynomial::<I>(P), -r * low))
}

/// sin of the angle turned by `quarters` quarter turns more.
#[inline(always)]
fn sin_turned<I: Isa>(x: f64, quarters: u64) -> f64 {
    let (r, low, k) = quarter_turns::<I>(x);
    let n = k.to_bits().wrapping_add(quarters);
    let (s, c) = (sin_part::<I>(r, low), cos_part::<I>(r, low));
    let y = if n & 1 == 1 { c } else { s };
    if n & 2 == 2 { -y } else { y }
}

#[inline(always)]
pub(super) fn sin<I: Isa>(x: f64) -> f64 {
    let y = sin_turned::<I>(x, 0);
    if x.abs() < f64::TINY { x } else { y }
}

#[inline(always)]
pub(super) fn cos<I: Isa>(x: f64) -> f64 {
    sin_turned::<I>(x, 1)
}

#[inline(always)]
pub(super) fn tan<I: Isa>(x: f64) -> f64 {
    let (r, low, k) = quarter_turns::<I>(x);
    let (s, c) = (sin_part::<I>(r, low), cos_part::<I>(r, low));
    let odd = k.to_bits() & 1 == 1;
    let y = (if odd { -c } else { s }) / (if odd { s } else { c });
    if x.abs() < f64::TINY { x } else { y }
}
