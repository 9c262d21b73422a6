//! Powers and roots: pow, cbrt and hypot.

use super::exp::exp_sum;
use super::float::Float;
use crate::simd::isa::Isa;

/// The edges of pow, given |x|^y for finite x ≠ 0 and finite y.
#[inline(always)]
fn with_edges<T: Float, I: Isa>(x: T, y: T, magnitude: T) -> T {
    let (zero, one, half) = (T::of(0.0), T::of(1.0), T::of(0.5));
    let integral = y.rint::<I>() == y;
    let odd = integral && (y * half).rint::<I>() != y * half;
    let z = if x.abs() == one { one } else { magnitude };
    let z = if odd { z.signed(x) } else { z };
    let z = if x < zero && x > -T::INFINITY && !integral { T::NAN } else { z };
    let z = if x.abs() >= zero && y.abs() >= zero { z } else { T::NAN };
    if y == zero || x == one { one } else { z }
}

/// A logarithm outside the positive finite numbers.
#[inline(always)]
fn log_edges<T: Float>(a: T, inside: T) -> T {
    let y = if a == T::of(0.0) { -T::INFINITY } else { inside };
    if a == T::INFINITY { a } else { y }
}

/// 2^(y·log₂|x|) in double precision, which is more than single precision needs.
#[inline(always)]
pub(super) fn pow_f32<I: Isa>(x: f32, y: f32) -> f32 {
    const LOG2: &[f64] = &[
        1.4426950408685983,
        -0.721347520871495,
        0.48089836145107245,
        -0.36067367441286896,
        0.28853728865984246,
        -0.24045318124067558,
        0.2061755111808928,
        -0.1803004217858625,
        0.15876775877084529,
        -0.1431563919183591,
        0.1447589977402281,
        -0.14284685371292483,
        0.07736226559118389,
    ];
    const EXP2: &[f64] = &[
        1.0,
        0.6931471807054815,
        0.24022651066516287,
        0.05550410364116678,
        0.009618038123702913,
        0.0013333935592701523,
        0.00015466762508004254,
        1.5196194556169935e-05,
    ];
    let a = f64::from(x.abs());
    let (m, e) = a.mantissa_exponent();
    let f = m - 1.0;
    let log2 = log_edges(a, f.polynomial::<I>(LOG2).fma::<I>(f, e));
    let power = (f64::from(y) * log2).clamped([-200.0, 200.0]);
    let k = power + f64::MAGIC;
    let r = power - (k - f64::MAGIC);
    let magnitude = r.polynomial::<I>(EXP2) * f64::power_of_two(k);
    with_edges::<f32, I>(x, y, magnitude as f32)
}

/// log a for a positive and finite, as the sum of two numbers, to 2⁻⁶⁴ of its value.
#[inline(always)]
fn log_pair<I: Isa>(a: f64) -> (f64, f64) {
    // log m = 2s + s·z·(2/3 + z·Q(z)) with s = f/(2 + f), z = s².
    const Q: &[f64] = &[
        0.40000000000002256,
        0.28571428570099655,
        0.22222222519919846,
        0.18181784366920892,
        0.15386757348229343,
        0.13256817342009608,
        0.13196331737215428,
    ];
    const TWO_THIRDS: [f64; 2] = [2.0 / 3.0, 3.700743415417188e-17];
    let (m, e) = a.mantissa_exponent();
    let f = m - 1.0;
    let (d, d_low) = 2f64.exact_sum_ordered(f);
    let inverse = 1.0 / d;
    let s = f * inverse;
    let (sd, sd_low) = s.exact_product::<I>(d);
    let s_low = (((f - sd) - sd_low) - s * d_low) * inverse;
    let (z, z_low) = s.exact_product::<I>(s);
    let z_low = (s + s).fma::<I>(s_low, z_low);
    let (w, w_low) = TWO_THIRDS[0].exact_sum_ordered(z * z.polynomial::<I>(Q));
    let w_low = w_low + TWO_THIRDS[1];
    let (t, t_low) = z.exact_product::<I>(w);
    let t_low = z.fma::<I>(w_low, z_low.fma::<I>(w, t_low));
    let (u, u_low) = s.exact_product::<I>(t);
    let u_low = s.fma::<I>(t_low, s_low.fma::<I>(t, u_low));
    let (sum, rest) = (s + s).exact_sum_ordered(u);
    let (high, rest_2) = (e * f64::LN2[0]).exact_sum_ordered(sum);
    let low = e.fma::<I>(f64::LN2[1], rest_2 + (rest + (u_low + (s_low + s_low))));
    (high, low)
}

#[inline(always)]
pub(super) fn pow_f64<I: Isa>(x: f64, y: f64) -> f64 {
    let a = x.abs();
    let (high, low) = log_pair::<I>(a);
    let high = log_edges(a, high);
    let (power, rest) = high.exact_product::<I>(y);
    let rest = low.fma::<I>(y, rest);
    // Outside, the result is 0 or ∞ whatever the rest is; it may be NaN there.
    let inside = power.abs() < 800.0;
    let magnitude = exp_sum::<f64, I>(power.clamped(f64::EXP), if inside { rest } else { 0.0 });
    with_edges::<f64, I>(x, y, magnitude)
}

/// Cube root of a positive normal number to 5 bits, by dividing the exponent by three.
#[inline(always)]
fn cbrt_guess(a: f64) -> f64 {
    // A third of the upper word: 0xAAAAAAAB is 2³³/3.
    let third = ((a.to_bits() >> 32) * 0xAAAA_AAAB) >> 33;
    f64::from_bits((third + 715_094_163) << 32)
}

/// x itself where a cube root is x: 0, ∞ and NaN.
#[inline(always)]
fn cbrt_edges<T: Float>(x: T, root: T) -> T {
    let a = x.abs();
    if a > T::of(0.0) && a < T::INFINITY { root.signed(x) } else { x }
}

#[inline(always)]
pub(super) fn cbrt_f32<I: Isa>(x: f32) -> f32 {
    // r^(-1/3) near 1.
    const P: &[f64] = &[
        1.9975890748417553,
        -2.4967307235100935,
        2.8505406463141387,
        -1.991577863124846,
        0.7638446198944114,
        -0.12366575193575126,
    ];
    let a = f64::from(x.abs());
    let t = cbrt_guess(a);
    let r = t * t * (t / a);
    cbrt_edges(x, (t * r.polynomial::<I>(P)) as f32)
}

#[inline(always)]
pub(super) fn cbrt_f64<I: Isa>(x: f64) -> f64 {
    const P: &[f64] = &[1.8727621102768162, -1.8723556073917988, 1.6027190672719587, -0.746089583726956, 0.14296400341609755];
    let a = x.abs();
    let subnormal = a < f64::MIN_POSITIVE;
    let a = if subnormal { a * 18014398509481984.0 } else { a };
    let t = cbrt_guess(a);
    let t = t * (t * t * (t / a)).polynomial::<I>(P);
    // Rounded to 26 bits, so that its square is exact; then one step of Newton's.
    let t = f64::from_bits((t.to_bits() + 0x0400_0000) & !0x07FF_FFFF);
    let r = a / (t * t);
    let t = ((r - t) / (t + t + r)).fma::<I>(t, t);
    cbrt_edges(x, if subnormal { t * 3.814697265625e-6 } else { t })
}

#[inline(always)]
fn hypot_edges<T: Float>(x: T, y: T, root: T) -> T {
    if x.abs() == T::INFINITY || y.abs() == T::INFINITY { T::INFINITY } else { root }
}

#[inline(always)]
pub(super) fn hypot_f32<I: Isa>(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    hypot_edges(x, y, a.fma::<I>(a, b * b).sqrt() as f32)
}

#[inline(always)]
pub(super) fn hypot_f64<I: Isa>(x: f64, y: f64) -> f64 {
    const UP: f64 = f64::from_bits((1023 + 600) << 52);
    const DOWN: f64 = f64::from_bits((1023 - 600) << 52);
    let greatest = if x.abs() > y.abs() { x.abs() } else { y.abs() };
    let (huge, tiny) = (greatest > 1e150, greatest < 1e-150);
    let scale = if tiny { UP } else { 1.0 };
    let scale = if huge { DOWN } else { scale };
    let back = if tiny { DOWN } else { 1.0 };
    let back = if huge { UP } else { back };
    let (a, b) = (x * scale, y * scale);
    hypot_edges(x, y, a.fma::<I>(a, b * b).sqrt() * back)
}
