//! The error function and its complement.

use super::exp::exp_sum;
use super::float::Float;
use crate::simd::isa::Isa;
use std::f64::consts::FRAC_1_SQRT_2;

/// erf x / x, for |x| < 1/2.
#[inline(always)]
fn ratio<I: Isa>(x: f64) -> f64 {
    const RATIO: &[f64] = &[
        1.1283791670955126,
        -0.37612638903183465,
        0.11283791670924793,
        -0.026866170632708977,
        0.005223977370207039,
        -0.0008548297513200117,
        0.00012053323737801199,
        -1.4845568439389202e-05,
        1.472305130547603e-06,
    ];
    (x * x).polynomial::<I>(RATIO)
}

/// e^(a²)·erfc a, from 1/4 to where erfc underflows.
#[inline(always)]
fn scaled<I: Isa>(a: f64) -> f64 {
    // e^(a²)·erfc a·(1 + 2a) in t = (a − 4)/(a + 4), from 1/2 to where erfc underflows.
    const SCALED: &[f64] = &[
        1.2329951186255526,
        -0.1396211168405625,
        0.01537965210261902,
        0.0680970542546905,
        -0.10103906603625312,
        0.09373283499844363,
        -0.06633036581362653,
        0.037167515535595115,
        -0.01619773403799997,
        0.005031969999268135,
        -0.0007577734506104079,
        -0.00019925684294267118,
        0.00015062250321740847,
        -2.4398540155937258e-05,
        -1.1224752253251362e-05,
        5.7076846420453234e-06,
        2.995864625036666e-07,
        -8.212932541119198e-07,
        6.700307065182336e-08,
        1.0474566703665464e-07,
        -1.2217626138006452e-08,
        -1.0181858579438634e-08,
    ];
    ((a - 4.0) / (a + 4.0)).polynomial::<I>(SCALED) / a.fma::<I>(2.0, 1.0)
}

/// erfc |x|, for |x| ≥ 1/2.
#[inline(always)]
fn complement<I: Isa>(x: f64) -> f64 {
    let a = x.abs().clamped([0.25, 27.3]);
    // e^(-a²) needs all of a².
    let (square, low) = a.exact_product::<I>(a);
    exp_sum::<f64, I>(-square, -low) * scaled::<I>(a)
}

#[inline(always)]
pub(super) fn erf_f64<I: Isa>(x: f64) -> f64 {
    let (ratio, complement) = (ratio::<I>(x), complement::<I>(x));
    if x.abs() < 0.5 { x * ratio } else { (1.0 - complement).copysign(x) }
}

#[inline(always)]
pub(super) fn erfc_f64<I: Isa>(x: f64) -> f64 {
    let (ratio, complement) = (ratio::<I>(x), complement::<I>(x));
    let outside = if x < 0.0 { 2.0 - complement } else { complement };
    if x.abs() < 0.5 { 1.0 - x * ratio } else { outside }
}

/// ½ erfc(−x/√2). The exponent −x²/2 is exact, as the quotient's square would not be.
#[inline(always)]
pub(super) fn normcdf_f64<I: Isa>(x: f64) -> f64 {
    let a = x.abs().clamped([0.5, 38.6]);
    let (square, low) = a.exact_product::<I>(a);
    let tail = 0.5 * exp_sum::<f64, I>(-0.5 * square, -0.5 * low) * scaled::<I>(a * FRAC_1_SQRT_2);
    let outside = if x < 0.0 { tail } else { 1.0 - tail };
    let z = x * FRAC_1_SQRT_2;
    if z.abs() < 0.5 { (0.5 * z).fma::<I>(ratio::<I>(z), 0.5) } else { outside }
}

#[inline(always)]
pub(super) fn normcdf_f32<I: Isa>(x: f32) -> f32 {
    normcdf_f64::<I>(x.into()) as f32
}

/// Single precision loses too much on the way: a square, an exponential, two quotients.
#[inline(always)]
pub(super) fn erfc_f32<I: Isa>(x: f32) -> f32 {
    erfc_f64::<I>(x.into()) as f32
}

/// erf in single precision, with one exponential and no division.
#[inline(always)]
pub(super) fn erf_f32<I: Isa>(x: f32) -> f32 {
    const RATIO: &[f32] = &[1.1283791, -0.37612626, 0.112835854, -0.02685381, 0.0051883208, -8.0101105e-4, 7.853517e-5];
    // log erfc x from 1 to where erf rounds to 1.
    const LOG_ERFC: &[f32] =
        &[2.0471547e-5, -1.1288309, -0.63461405, -0.10701154, 0.024379795, -0.003920408, 3.8883125e-4, -1.7657338e-5];
    let a = x.abs().clamped([0.5, 4.0]);
    let outside = 1.0 - exp_sum::<f32, I>(a.polynomial::<I>(LOG_ERFC), 0.0);
    let inside = x * (x * x).polynomial::<I>(RATIO);
    if x.abs() < 1.0 { inside } else { outside.copysign(x) }
}
