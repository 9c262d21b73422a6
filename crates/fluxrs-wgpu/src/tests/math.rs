//! The library's f32 functions against f64 over their whole range, and at the special values.

use super::{device, run, words};
use crate::library;

fn kernel(expression: &str, inputs: usize) -> String {
    let mut text = String::from("@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 16>;\n");
    for i in 0..inputs {
        text += &format!("@group(0) @binding({}) var<storage, read> in{i}: array<f32>;\n", i + 1);
    }
    text += &format!("@group(0) @binding({}) var<storage, read_write> out: array<u32>;\n", inputs + 1);
    text += &library::used_by(expression);
    text += "@compute @workgroup_size(64)\nfn main(@builtin(global_invocation_id) id: vec3<u32>) {\n";
    text += "    if (id.x >= args[0].x) { return; }\n    let x = in0[id.x];\n";
    if inputs > 1 {
        text += "    let y = in1[id.x];\n";
    }
    text + &format!("    out[id.x] = bitcast<u32>({expression});\n}}\n")
}

fn evaluate(expression: &str, inputs: &[Vec<f32>]) -> Option<Vec<f32>> {
    let gpu = device()?;
    let n = inputs[0].len();
    let data: Vec<Vec<u32>> = inputs.iter().map(|input| words(input)).collect();
    let data: Vec<&[u32]> = data.iter().map(Vec::as_slice).collect();
    let source = kernel(expression, inputs.len());
    let out = run(gpu, &source, &[n as u32], &data, n, [n.div_ceil(64) as u32, 1, 1]);
    Some(out.into_iter().map(f32::from_bits).collect())
}

/// The error of `got` in units in the last place of f32 at `want`. A subnormal may be flushed: accepted as zero.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if rounded.is_nan() || got.is_nan() {
        return if rounded.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got == rounded || (rounded.abs() < f32::MIN_POSITIVE && got == 0.0) {
        return 0.0;
    }
    if got.is_infinite() || rounded.is_infinite() {
        // At the edge of overflow a function may be an ulp or two early.
        let close = want.abs() > 3.4028e38 && got.abs() > 3.4028e38 && (got > 0.0) == (want > 0.0);
        return if close { 1.0 } else { f64::INFINITY };
    }
    let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

pub(super) fn specials() -> Vec<f32> {
    let mut all = vec![0.0, 1e-45, 1e-40, f32::MIN_POSITIVE, 1e-30, 1e-10, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 88.0, 89.0];
    all.extend([127.0, 128.0, 1e10, 16777216.0, 16777215.0, 8388609.0, 1e30, f32::MAX, f32::INFINITY, f32::NAN]);
    let negative: Vec<f32> = all.iter().map(|value| -value).collect();
    all.extend(negative);
    all
}

/// Evenly spaced values of the range, then as many evenly spaced bit patterns within it, then the specials.
pub(super) fn spread(low: f32, high: f32, n: usize) -> Vec<f32> {
    let mut all = specials();
    let width = f64::from(high) - f64::from(low);
    all.extend((0..n).map(|i| (f64::from(low) + width * (i as f64 + 0.37) / n as f64) as f32));
    for i in 0..n {
        let value = f32::from_bits((i as f64 / n as f64 * f64::from(0x7f80_0000u32)) as u32);
        all.extend([value, -value].into_iter().filter(|value| (low..=high).contains(value)));
    }
    all
}

pub(super) type Row = (&'static str, fn(f64) -> f64, f32, f32, f64);

#[rustfmt::skip]
pub(super) const UNARY: &[Row] = &[
    ("fx_exp(x)", f64::exp, -110.0, 95.0, 2.0),
    ("fx_exp2(x)", f64::exp2, -155.0, 130.0, 2.0),
    ("fx_expm1(x)", f64::exp_m1, -40.0, 95.0, 3.0),
    ("fx_log(x)", f64::ln, -1.0, f32::MAX, 2.0),
    ("fx_log(x)", f64::ln, 0.5, 2.0, 2.0),
    ("fx_log2(x)", f64::log2, 0.4, 2.5, 3.0),
    ("fx_log2(x)", f64::log2, -1.0, f32::MAX, 3.0),
    ("fx_log10(x)", f64::log10, 0.4, 2.5, 3.0),
    ("fx_log10(x)", f64::log10, -1.0, f32::MAX, 3.0),
    ("fx_log1p(x)", f64::ln_1p, -1.2, 3.0, 4.0),
    ("fx_log1p(x)", f64::ln_1p, -1.2, f32::MAX, 4.0),
    ("fx_sigmoid(x)", |x| 1.0 / (1.0 + (-x).exp()), -100.0, 100.0, 4.0),
    ("fx_softplus(x)", |x| x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }, -100.0, 100.0, 4.0),
    ("fx_sin(x)", f64::sin, -f32::MAX, f32::MAX, 3.0),
    ("fx_sin(x)", f64::sin, -50.0, 50.0, 3.0),
    ("fx_cos(x)", f64::cos, -f32::MAX, f32::MAX, 3.0),
    ("fx_cos(x)", f64::cos, -50.0, 50.0, 3.0),
    ("fx_tan(x)", f64::tan, -f32::MAX, f32::MAX, 5.0),
    ("fx_tan(x)", f64::tan, -50.0, 50.0, 5.0),
    ("fx_asin(x)", f64::asin, -1.01, 1.01, 4.0),
    ("fx_acos(x)", f64::acos, -1.01, 1.01, 4.0),
    ("fx_atan(x)", f64::atan, -f32::MAX, f32::MAX, 3.0),
    ("fx_atan(x)", f64::atan, -4.0, 4.0, 3.0),
    ("fx_sinh(x)", f64::sinh, -95.0, 95.0, 4.0),
    ("fx_cosh(x)", f64::cosh, -95.0, 95.0, 4.0),
    ("fx_tanh(x)", f64::tanh, -20.0, 20.0, 3.0),
    ("fx_asinh(x)", f64::asinh, -5.0, 5.0, 4.0),
    ("fx_asinh(x)", f64::asinh, -f32::MAX, f32::MAX, 4.0),
    ("fx_acosh(x)", f64::acosh, 0.5, 10.0, 4.0),
    ("fx_acosh(x)", f64::acosh, 0.5, f32::MAX, 4.0),
    ("fx_atanh(x)", f64::atanh, -1.1, 1.1, 5.0),
    ("fx_erf(x)", libm::erf, -5.0, 5.0, 3.0),
    ("fx_erfc(x)", libm::erfc, -6.0, 11.0, 5.0),
    ("fx_normcdf(x)", |x| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2), -15.0, 6.0, 5.0),
    ("fx_cbrt(x)", f64::cbrt, -f32::MAX, f32::MAX, 3.0),
    ("fx_cbrt(x)", f64::cbrt, -30.0, 30.0, 3.0),
    ("fx_round(x)", f64::round_ties_even, -20.0, 20.0, 0.0),
    ("fx_trunc(x)", f64::trunc, -20.0, 20.0, 0.0),
    ("fx_abs(x)", f64::abs, -20.0, 20.0, 0.0),
    ("fx_neg(x)", |x| -x, -20.0, 20.0, 0.0),
    ("fx_relu(x)", |x| if x > 0.0 || x.is_nan() { x } else { 0.0 }, -20.0, 20.0, 0.0),
];

pub(super) fn worst(expression: &str, got: &[f32], want: impl Fn(usize) -> f64, at: impl Fn(usize) -> String) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for (i, &got) in got.iter().enumerate() {
        let error = ulps(got, want(i));
        if error > worst.0 {
            worst = (error, format!("{expression} at {}: {got:e} instead of {:e}, {error:.1} ulp", at(i), want(i)));
        }
    }
    worst
}

#[test]
fn functions_of_one_number_are_accurate_over_the_whole_range() {
    let mut failures = Vec::new();
    for &(expression, want, low, high, limit) in UNARY {
        let x = spread(low, high, 20_000);
        let Some(got) = evaluate(expression, std::slice::from_ref(&x)) else {
            return;
        };
        let (error, text) = worst(expression, &got, |i| want(f64::from(x[i])), |i| format!("{:e}", x[i]));
        println!("{expression:16} [{low:e}, {high:e}] {error:.2} ulp");
        if error > limit {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

pub(super) fn pairs(values: &[f32], extra: usize, scale: f32) -> (Vec<f32>, Vec<f32>) {
    let mut x = Vec::new();
    let mut y = Vec::new();
    for &a in values {
        for &b in values {
            x.push(a);
            y.push(b);
        }
    }
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    for _ in 0..extra {
        x.push((random() * 2.0 - 1.0) * scale);
        y.push((random() * 2.0 - 1.0) * scale);
        x.push((random() * 200.0 - 100.0).exp2());
        y.push(random() * 20.0 - 10.0);
        x.push(1.0 + random() * 0.01);
        y.push(random() * 20000.0 - 10000.0);
    }
    (x, y)
}

fn python_rem(x: f64, y: f64) -> f64 {
    let r = x % y;
    if r == 0.0 {
        0f64.copysign(y)
    } else if (r < 0.0) != (y < 0.0) {
        // Rounded once, as an f32 addition would be.
        f64::from(r as f32 + y as f32)
    } else {
        r
    }
}

pub(super) type Pair = (&'static str, fn(f64, f64) -> f64, f64);

pub(super) const BINARY: &[Pair] = &[
    ("fx_pow(x, y)", |x, y| if y == 0.0 || x == 1.0 { 1.0 } else { x.powf(y) }, 4.0),
    ("fx_atan2(x, y)", f64::atan2, 4.0),
    (
        "fx_hypot(x, y)",
        |x, y| {
            if x.is_infinite() || y.is_infinite() { f64::INFINITY } else { x.hypot(y) }
        },
        3.0,
    ),
    ("fx_rem(x, y)", python_rem, 0.0),
    (
        "fx_max(x, y)",
        |x, y| {
            if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }
        },
        0.0,
    ),
    (
        "fx_min(x, y)",
        |x, y| {
            if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }
        },
        0.0,
    ),
];

#[test]
fn functions_of_two_numbers_are_accurate_over_the_whole_range() {
    let (x, y) = pairs(&specials(), 20_000, 30.0);
    let mut failures = Vec::new();
    for &(expression, want, limit) in BINARY {
        let Some(got) = evaluate(expression, &[x.clone(), y.clone()]) else {
            return;
        };
        let (error, text) =
            worst(expression, &got, |i| want(f64::from(x[i]), f64::from(y[i])), |i| format!("({:e}, {:e})", x[i], y[i]));
        println!("{expression:16} {error:.2} ulp");
        if error > limit {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn signs_of_zero_are_kept() {
    for expression in [
        "fx_sin(x)",
        "fx_tan(x)",
        "fx_asin(x)",
        "fx_atan(x)",
        "fx_sinh(x)",
        "fx_tanh(x)",
        "fx_asinh(x)",
        "fx_atanh(x)",
        "fx_expm1(x)",
        "fx_log1p(x)",
        "fx_cbrt(x)",
        "fx_erf(x)",
        "fx_round(x)",
        "fx_trunc(x)",
    ] {
        let Some(got) = evaluate(expression, &[vec![0.0, -0.0]]) else {
            return;
        };
        assert_eq!(words(&got), words(&[0.0, -0.0]), "{expression}");
    }
}
