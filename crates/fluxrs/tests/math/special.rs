//! Special values: signed zeros, infinities, NaN, poles and the edges of domains, as C and NumPy have them.

use super::loops::{NAMES, apply};
use fluxrs::simd::isa::levels;
use fluxrs::simd::math::Real;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;
const PI: f64 = std::f64::consts::PI;

const UNARY: &[(&str, f64, f64)] = &[
    ("exp", -INF, 0.0),
    ("exp", INF, INF),
    ("exp", 0.0, 1.0),
    ("exp", 1e30, INF),
    ("exp", -1e30, 0.0),
    ("exp2", 10.0, 1024.0),
    ("exp2", -INF, 0.0),
    ("exp2", INF, INF),
    ("expm1", -0.0, -0.0),
    ("expm1", -INF, -1.0),
    ("expm1", INF, INF),
    ("log", 0.0, -INF),
    ("log", -0.0, -INF),
    ("log", -1.0, NAN),
    ("log", INF, INF),
    ("log", 1.0, 0.0),
    ("log2", 8.0, 3.0),
    ("log2", 0.0, -INF),
    ("log10", 1000.0, 3.0),
    ("log10", -INF, NAN),
    ("log1p", -0.0, -0.0),
    ("log1p", -1.0, -INF),
    ("log1p", -2.0, NAN),
    ("log1p", INF, INF),
    ("sin", -0.0, -0.0),
    ("sin", INF, NAN),
    ("cos", 0.0, 1.0),
    ("cos", -INF, NAN),
    ("tan", -0.0, -0.0),
    ("tan", INF, NAN),
    ("asin", -0.0, -0.0),
    ("asin", 1.0, PI / 2.0),
    ("asin", 1.5, NAN),
    ("acos", 1.0, 0.0),
    ("acos", -1.0, PI),
    ("acos", -1.5, NAN),
    ("atan", -0.0, -0.0),
    ("atan", INF, PI / 2.0),
    ("atan", -INF, -PI / 2.0),
    ("sinh", -0.0, -0.0),
    ("sinh", -INF, -INF),
    ("sinh", 1e30, INF),
    ("cosh", -INF, INF),
    ("cosh", 0.0, 1.0),
    ("tanh", -0.0, -0.0),
    ("tanh", INF, 1.0),
    ("tanh", -1e30, -1.0),
    ("asinh", -0.0, -0.0),
    ("asinh", -INF, -INF),
    ("acosh", 1.0, 0.0),
    ("acosh", 0.5, NAN),
    ("acosh", -1e30, NAN),
    ("acosh", INF, INF),
    ("atanh", -0.0, -0.0),
    ("atanh", -1.0, -INF),
    ("atanh", 2.0, NAN),
    ("sigmoid", -INF, 0.0),
    ("sigmoid", INF, 1.0),
    ("sigmoid", 0.0, 0.5),
    ("softplus", -INF, 0.0),
    ("softplus", INF, INF),
    ("erf", -0.0, -0.0),
    ("erf", INF, 1.0),
    ("erf", -INF, -1.0),
    ("erfc", INF, 0.0),
    ("erfc", -INF, 2.0),
    ("erfc", 0.0, 1.0),
    ("normcdf", INF, 1.0),
    ("normcdf", -INF, 0.0),
    ("normcdf", 0.0, 0.5),
    ("normcdf", -60.0, 0.0),
    ("sqrt", -0.0, -0.0),
    ("sqrt", -1.0, NAN),
    ("cbrt", -8.0, -2.0),
    ("cbrt", -0.0, -0.0),
    ("cbrt", -INF, -INF),
    ("floor", -0.5, -1.0),
    ("floor", -0.0, -0.0),
    ("floor", INF, INF),
    ("ceil", -0.5, -0.0),
    ("ceil", 1e30, 1e30),
    ("trunc", -2.75, -2.0),
    ("round", 2.5, 2.0),
    ("round", -3.5, -4.0),
    ("round", -0.25, -0.0),
];

const BINARY: &[(&str, f64, f64, f64)] = &[
    ("pow", NAN, 0.0, 1.0),
    ("pow", 1.0, NAN, 1.0),
    ("pow", 2.0, NAN, NAN),
    ("pow", -2.0, 3.0, -8.0),
    ("pow", -2.0, -2.0, 0.25),
    ("pow", -2.0, 0.5, NAN),
    ("pow", 0.0, 2.0, 0.0),
    ("pow", -0.0, 3.0, -0.0),
    ("pow", -0.0, 0.5, 0.0),
    ("pow", 0.0, -2.0, INF),
    ("pow", -0.0, -3.0, -INF),
    ("pow", INF, 0.5, INF),
    ("pow", INF, -1.0, 0.0),
    ("pow", -INF, 3.0, -INF),
    ("pow", -INF, 0.5, INF),
    ("pow", -INF, -3.0, -0.0),
    ("pow", 2.0, INF, INF),
    ("pow", 2.0, -INF, 0.0),
    ("pow", 0.5, INF, 0.0),
    ("pow", -0.5, -INF, INF),
    ("pow", -1.0, INF, 1.0),
    ("pow", -1.0, 1e30, 1.0),
    ("pow", 3.0, 4.0, 81.0),
    ("pow", 10.0, -1e30, 0.0),
    ("atan2", 0.0, -0.0, PI),
    ("atan2", -0.0, 0.0, -0.0),
    ("atan2", -0.0, -1.0, -PI),
    ("atan2", 1.0, 0.0, PI / 2.0),
    ("atan2", INF, INF, PI / 4.0),
    ("atan2", -INF, -INF, -3.0 * PI / 4.0),
    ("atan2", 1.0, -INF, PI),
    ("atan2", INF, 1.0, PI / 2.0),
    ("atan2", NAN, 1.0, NAN),
    ("hypot", -3.0, 4.0, 5.0),
    ("hypot", INF, NAN, INF),
    ("hypot", NAN, 1.0, NAN),
];

fn same<T: Real<Truth = bool>>(got: T, want: f64) -> bool {
    let want = T::of(want);
    let one = T::of(1.0);
    (got == want && one.signed(got) == one.signed(want)) || (got.isnan() && want.isnan())
}

fn check<T: Real<Truth = bool>>() {
    for level in levels() {
        for &(name, x, want) in UNARY {
            let got = apply(name, level, &[T::of(x)], &[])[0];
            assert!(same(got, want), "{level:?} {name}({x}) = {got:?}, not {want}");
        }
        for &(name, x, y, want) in BINARY {
            let got = apply(name, level, &[T::of(x)], &[T::of(y)])[0];
            assert!(same(got, want), "{level:?} {name}({x}, {y}) = {got:?}, not {want}");
        }
        for &(name, operands) in NAMES {
            let y = [T::of(2.0)];
            let got = apply(name, level, &[T::NAN], &y[..operands - 1])[0];
            assert!(got.isnan(), "{level:?} {name}(NaN) = {got:?}");
        }
    }
}

#[test]
fn single_precision() {
    check::<f32>();
}

#[test]
fn double_precision() {
    check::<f64>();
}

#[test]
fn classification() {
    for x in [NAN, INF, -INF, 0.0, f64::MAX] {
        assert_eq!((x.isnan(), x.isinf(), x.isfinite()), (x.is_nan(), x.is_infinite(), x.is_finite()));
    }
}
