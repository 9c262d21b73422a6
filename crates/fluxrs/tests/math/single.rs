//! `f32` against double precision, over random bit patterns and where each function does something interesting.

use super::Bits;
use super::loops::{NAMES, apply};
use fluxrs::simd::isa::{Level, levels};

/// Error in units in the last place of the `f32` nearest to `exact`.
fn ulps(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if nearest.is_nan() || got.is_nan() {
        return if nearest.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if nearest.is_infinite() || got.is_infinite() {
        // One step beyond the greatest number is as good as that number.
        let clip = |x: f64| x.clamp(-2f64.powi(128), 2f64.powi(128));
        return (clip(f64::from(got)) - clip(exact)).abs() / 2f64.powi(104);
    }
    let exponent = exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
    (f64::from(got) - exact).abs() / 2f64.powi(exponent - 23)
}

/// The exact value: the system's library where Rust has the function, our own double precision, tested apart, for the others.
fn exact(name: &str, x: &[f32], y: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let y: Vec<f64> = y.iter().map(|&y| y.into()).collect();
    let unary = |f: fn(f64) -> f64| x.iter().map(|&x| f(x)).collect();
    let binary = |f: fn(f64, f64) -> f64| x.iter().zip(&y).map(|(&x, &y)| f(x, y)).collect();
    match name {
        "exp" => unary(f64::exp),
        "exp2" => unary(f64::exp2),
        "expm1" => unary(f64::exp_m1),
        "log" => unary(f64::ln),
        "log2" => unary(f64::log2),
        "log10" => unary(f64::log10),
        "log1p" => unary(f64::ln_1p),
        "sin" => unary(f64::sin),
        "cos" => unary(f64::cos),
        "tan" => unary(f64::tan),
        "asin" => unary(f64::asin),
        "acos" => unary(f64::acos),
        "atan" => unary(f64::atan),
        "sinh" => unary(f64::sinh),
        "cosh" => unary(f64::cosh),
        "tanh" => unary(f64::tanh),
        "cbrt" => unary(f64::cbrt),
        "sqrt" => unary(f64::sqrt),
        "floor" => unary(f64::floor),
        "ceil" => unary(f64::ceil),
        "trunc" => unary(f64::trunc),
        "round" => unary(f64::round_ties_even),
        "atan2" => binary(f64::atan2),
        "pow" => binary(f64::powf),
        "hypot" => binary(f64::hypot),
        _ => apply(name, Level::Plain, &x, &y),
    }
}

#[test]
fn single_precision() {
    let mut bits = Bits(1);
    let count = 40_000;
    let mut operand = |bounds: f64| -> Vec<f32> {
        (0..count)
            .map(|i| match i % 4 {
                0 => f32::from_bits(bits.next() as u32),
                1 => (bounds * (2.0 * bits.unit() - 1.0)) as f32,
                2 => (2.0 * bits.unit() - 1.0) as f32,
                _ => 1.0 + (0.5 * (2.0 * bits.unit() - 1.0)) as f32,
            })
            .collect()
    };
    let x = [operand(10.0), operand(110.0)].concat();
    let mut y = [operand(10.0), operand(110.0)].concat();
    // Pairs of every kind, not of the same kind only.
    y.rotate_left(count / 3 + 1);
    let mut failures = 0;
    for &(name, operands) in NAMES {
        let y = if operands == 2 { &y[..] } else { &[] };
        let want = exact(name, &x, y);
        for level in levels() {
            let got = apply(name, level, &x, y);
            let worst = (0..x.len()).map(|i| (ulps(got[i], want[i]), i)).fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
            let i = worst.1;
            println!(
                "{level:?} f32 {name}: {:.2} ulp at {:e} {:e}, got {:e} want {:e}",
                worst.0,
                x[i],
                y.get(i).unwrap_or(&0.0),
                got[i],
                want[i]
            );
            failures += usize::from(worst.0 > 4.0);
        }
    }
    assert_eq!(failures, 0, "functions beyond 4 ulp, see above");
}
