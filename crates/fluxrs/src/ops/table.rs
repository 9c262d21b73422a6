//! The table of elementwise ops: one entry each, from which everything else comes.
//!
//! An entry: doc line; name and operands; class (which types it takes and gives, see [`Class`](super::Class)); the CPU expression over
//! scalars of type `T` for the instruction set `I`; the WGSL expression, and a `wide` one for int64 where the result may not fit the 32
//! bits that it has on a GPU; the gradients towards each operand, written in the forward ops
//! (`g` the gradient of the result, `out` the result; `none` where there is none); the accuracy in units of the last place; the
//! domain that tests draw each operand from.

#[rustfmt::skip]
#[macro_export]
macro_rules! elementwise_table { ($callback:ident) => { $callback! {
    /// Sum, x + y.
    add(x, y): num { cpu: x.add(y), wgsl: "x + y", wide: "fx_wide_add(x, y)", grad(g, out): [g.clone(), g.clone()], ulp: 0, domain: [(-10.0, 10.0), (-10.0, 10.0)] }
    /// Difference, x − y.
    subtract(x, y): num { cpu: x.sub(y), wgsl: "x - y", wide: "fx_wide_sub(x, y)", grad(g, out): [g.clone(), -g], ulp: 0, domain: [(-10.0, 10.0), (-10.0, 10.0)] }
    /// Product, x · y.
    multiply(x, y): num { cpu: x.mul(y), wgsl: "x * y", wide: "fx_wide_mul(x, y)", grad(g, out): [g * y, g * x], ulp: 0, domain: [(-10.0, 10.0), (-10.0, 10.0)] }
    /// Quotient, x / y; integers are divided as floats.
    divide(x, y): real { cpu: x / y, wgsl: "x / y", grad(g, out): [g / y, -(g * out / y)], ulp: 0, domain: [(-10.0, 10.0), (0.5, 10.0)] }
    /// The floor of x / y.
    floor_divide(x, y): num { cpu: x.floor_divide(y), wgsl: "fx_floordiv(x, y)", wide: "fx_wide_floordiv(x, y)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0), (0.5, 10.0)] }
    /// The remainder of floor division, x − ⌊x/y⌋·y; it has the sign of y.
    remainder(x, y): num { cpu: x.remainder(y), wgsl: "fx_rem(x, y)", grad(g, out): [g.clone(), -(g * x.floor_divide(y))], ulp: 0, domain: [(-10.0, 10.0), (0.5, 10.0)] }
    /// x to the power y. Integers stay integers: a negative number as y is an error, to a negative element of y the power is 0, unless x is 1 or −1.
    power(x, y): num { cpu: x.power::<I>(y), wgsl: "fx_pow(x, y)", wide: "fx_wide_pow(x, y)", grad(g, out): [g * $crate::ops::rules::power_slope(x, y), g * out * $crate::ops::rules::safe_log(x)], ulp: 4, domain: [(0.1, 5.0), (-3.0, 3.0)] }
    /// The angle of the point (y, x): atan(x / y), in the right quadrant.
    arctan2(x, y): real { cpu: x.atan2::<I>(y), wgsl: "fx_atan2(x, y)", grad(g, out): [$crate::ops::rules::over_square(&(g * y), x, y), -$crate::ops::rules::over_square(&(g * x), x, y)], ulp: 4, domain: [(0.5, 5.0), (-5.0, -0.5)] }
    /// √(x² + y²), without overflow.
    hypot(x, y): real { cpu: x.hypot::<I>(y), wgsl: "fx_hypot(x, y)", grad(g, out): [g * $crate::ops::rules::ratio(x, out), g * $crate::ops::rules::ratio(y, out)], ulp: 4, domain: [(0.5, 5.0), (-5.0, -0.5)] }
    /// log(eˣ + eʸ), without overflow. Near 0 it is accurate to some ulp of its operands, not of itself.
    logaddexp(x, y): real { cpu: if x == y { x + T::of(std::f64::consts::LN_2) } else { x.maximum(y) + (-(x - y).abs()).softplus::<I>() }, wgsl: "select(fx_max(x, y) + fx_softplus(-abs(x - y)), x + 0.6931472, fx_eq(x, y))", grad(g, out): [g * $crate::ops::rules::weight(x, y), g * $crate::ops::rules::weight(y, x)], ulp: 4, domain: [(0.5, 5.0), (0.5, 5.0)] }
    /// The larger of two; NaN if either is. Equal operands share the gradient.
    maximum(x, y): num { cpu: x.maximum(y), wgsl: "fx_max(x, y)", grad(g, out): [$crate::ops::rules::share(g, x, y), $crate::ops::rules::share(g, y, x)], ulp: 0, domain: [(-10.0, 10.0), (-10.0, 10.0)] }
    /// The smaller of two; NaN if either is. Equal operands share the gradient.
    minimum(x, y): num { cpu: x.minimum(y), wgsl: "fx_min(x, y)", grad(g, out): [$crate::ops::rules::share(g, y, x), $crate::ops::rules::share(g, x, y)], ulp: 0, domain: [(-10.0, 10.0), (-10.0, 10.0)] }

    /// −x.
    negative(x): num { cpu: x.neg(), wgsl: "-(x)", wide: "fx_wide_sub(0, x)", grad(g, out): [-g], ulp: 0, domain: [(-10.0, 10.0)] }
    /// |x|.
    abs(x): num { cpu: x.abs(), wgsl: "abs(x)", wide: "fx_wide_abs(x)", grad(g, out): [g * x.sign()], ulp: 0, domain: [(-10.0, 10.0)] }
    /// −1, 0 or 1 by the sign of x; NaN stays NaN.
    sign(x): num { cpu: x.sign(), wgsl: "fx_sign(x)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0)] }
    /// x².
    square(x): num { cpu: x.mul(x), wgsl: "x * x", wide: "fx_wide_mul(x, x)", grad(g, out): [g * (x * 2i64)], ulp: 0, domain: [(-10.0, 10.0)] }
    /// 1 / x.
    reciprocal(x): real { cpu: T::of(1.0) / x, wgsl: "1.0 / x", grad(g, out): [-(g * out * out)], ulp: 0, domain: [(0.5, 10.0)] }
    /// √x.
    sqrt(x): real { cpu: x.sqrt::<I>(), wgsl: "sqrt(x)", grad(g, out): [g * 0.5 / out], ulp: 1, domain: [(0.1, 10.0)] }
    /// The cube root, also of negative numbers.
    cbrt(x): real { cpu: x.cbrt::<I>(), wgsl: "fx_cbrt(x)", grad(g, out): [g / out / (out * 3.0)], ulp: 4, domain: [(0.1, 10.0)] }
    /// eˣ.
    exp(x): real { cpu: x.exp::<I>(), wgsl: "fx_exp(x)", grad(g, out): [g * out], ulp: 4, domain: [(-5.0, 5.0)] }
    /// 2ˣ.
    exp2(x): real { cpu: x.exp2::<I>(), wgsl: "fx_exp2(x)", grad(g, out): [g * out * std::f64::consts::LN_2], ulp: 4, domain: [(-5.0, 5.0)] }
    /// eˣ − 1, accurate near 0.
    expm1(x): real { cpu: x.expm1::<I>(), wgsl: "fx_expm1(x)", grad(g, out): [g * x.exp()], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The natural logarithm.
    log(x): real { cpu: x.log::<I>(), wgsl: "fx_log(x)", grad(g, out): [g / x], ulp: 4, domain: [(0.1, 10.0)] }
    /// The logarithm to base 2.
    log2(x): real { cpu: x.log2::<I>(), wgsl: "fx_log2(x)", grad(g, out): [g / (x * std::f64::consts::LN_2)], ulp: 4, domain: [(0.1, 10.0)] }
    /// The logarithm to base 10.
    log10(x): real { cpu: x.log10::<I>(), wgsl: "fx_log10(x)", grad(g, out): [g / (x * std::f64::consts::LN_10)], ulp: 4, domain: [(0.1, 10.0)] }
    /// log(1 + x), accurate near 0.
    log1p(x): real { cpu: x.log1p::<I>(), wgsl: "fx_log1p(x)", grad(g, out): [g / (x + 1.0)], ulp: 4, domain: [(-0.5, 10.0)] }
    /// The sine of an angle in radians.
    sin(x): real { cpu: x.sin::<I>(), wgsl: "fx_sin(x)", grad(g, out): [g * x.cos()], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The cosine of an angle in radians.
    cos(x): real { cpu: x.cos::<I>(), wgsl: "fx_cos(x)", grad(g, out): [-(g * x.sin())], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The tangent of an angle in radians.
    tan(x): real { cpu: x.tan::<I>(), wgsl: "fx_tan(x)", grad(g, out): [g * (out * out + 1.0)], ulp: 4, domain: [(-1.2, 1.2)] }
    /// The inverse sine, in radians.
    arcsin(x): real { cpu: x.asin::<I>(), wgsl: "fx_asin(x)", grad(g, out): [g / $crate::ops::rules::beside_one(x).sqrt()], ulp: 4, domain: [(-0.9, 0.9)] }
    /// The inverse cosine, in radians.
    arccos(x): real { cpu: x.acos::<I>(), wgsl: "fx_acos(x)", grad(g, out): [-(g / $crate::ops::rules::beside_one(x).sqrt())], ulp: 4, domain: [(-0.9, 0.9)] }
    /// The inverse tangent, in radians.
    arctan(x): real { cpu: x.atan::<I>(), wgsl: "fx_atan(x)", grad(g, out): [g / (x * x + 1.0)], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The hyperbolic sine.
    sinh(x): real { cpu: x.sinh::<I>(), wgsl: "fx_sinh(x)", grad(g, out): [g * x.cosh()], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The hyperbolic cosine.
    cosh(x): real { cpu: x.cosh::<I>(), wgsl: "fx_cosh(x)", grad(g, out): [g * x.sinh()], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The hyperbolic tangent.
    tanh(x): real { cpu: x.tanh::<I>(), wgsl: "fx_tanh(x)", grad(g, out): [g * (1.0 - out * out)], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The inverse hyperbolic sine.
    arcsinh(x): real { cpu: x.asinh::<I>(), wgsl: "fx_asinh(x)", grad(g, out): [g / x.hypot(&Tensor::number(1.0))], ulp: 4, domain: [(-5.0, 5.0)] }
    /// The inverse hyperbolic cosine.
    arccosh(x): real { cpu: x.acosh::<I>(), wgsl: "fx_acosh(x)", grad(g, out): [g / (x - 1.0).sqrt() / (x + 1.0).sqrt()], ulp: 4, domain: [(1.2, 10.0)] }
    /// The inverse hyperbolic tangent.
    arctanh(x): real { cpu: x.atanh::<I>(), wgsl: "fx_atanh(x)", grad(g, out): [g / $crate::ops::rules::beside_one(x)], ulp: 4, domain: [(-0.9, 0.9)] }
    /// The error function, 2/√π ∫₀ˣ e^(−t²) dt.
    erf(x): real { cpu: x.erf::<I>(), wgsl: "fx_erf(x)", grad(g, out): [g * (-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI], ulp: 4, domain: [(-2.0, 2.0)] }
    /// The complement of the error function, 1 − erf x, accurate where that is small.
    erfc(x): real { cpu: x.erfc::<I>(), wgsl: "fx_erfc(x)", grad(g, out): [-(g * (-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI)], ulp: 8, domain: [(-2.0, 2.0)] }
    /// The greatest integer not above x.
    floor(x): round { cpu: x.floor::<I>(), wgsl: "floor(x)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0)] }
    /// The least integer not below x.
    ceil(x): round { cpu: x.ceil::<I>(), wgsl: "ceil(x)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0)] }
    /// The integer next to x towards 0.
    trunc(x): round { cpu: x.trunc::<I>(), wgsl: "trunc(x)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0)] }
    /// The nearest integer, the even one of two.
    rint(x): round { cpu: x.round::<I>(), wgsl: "fx_round(x)", grad(g, out): none, ulp: 0, domain: [(-10.0, 10.0)] }

    /// The logistic function, 1 / (1 + e⁻ˣ).
    sigmoid(x): real { cpu: x.sigmoid::<I>(), wgsl: "fx_sigmoid(x)", grad(g, out): [g * (out * (-x).sigmoid())], ulp: 4, domain: [(-5.0, 5.0)] }
    /// log(1 + eˣ), for any x.
    softplus(x): real { cpu: x.softplus::<I>(), wgsl: "fx_softplus(x)", grad(g, out): [g * x.sigmoid()], ulp: 4, domain: [(-5.0, 5.0)] }
    /// max(x, 0).
    relu(x): num { cpu: x.maximum(T::of(0.0)), wgsl: "fx_relu(x)", grad(g, out): [$crate::ops::rules::choose(&out.greater_than(0.0), g, out)], ulp: 0, domain: [(-5.0, 5.0)] }
    /// x where it is positive, else y · x.
    leakyrelu(x, y): real { cpu: T::choose(T::of(0.0).less(x), x, y * x), wgsl: "select(y * x, x, x > 0.0)", grad(g, out): [$crate::ops::rules::choose(&x.greater_than(0.0), g, &(g * y)), $crate::ops::rules::choose(&x.greater_than(0.0), 0.0, &(g * x))], ulp: 0, domain: [(-5.0, 5.0), (0.01, 0.5)] }
    /// x where it is positive, else y · (eˣ − 1).
    elu(x, y): real { cpu: T::choose(T::of(0.0).less(x), x, y * x.expm1::<I>()), wgsl: "select(y * fx_expm1(x), x, x > 0.0)", grad(g, out): [$crate::ops::rules::choose(&x.greater_than(0.0), g, &(g * (y * x.minimum_with(0.0).exp()))), $crate::ops::rules::choose(&x.greater_than(0.0), 0.0, &(g * x.minimum_with(0.0).expm1()))], ulp: 4, domain: [(-5.0, 5.0), (0.5, 2.0)] }
    /// x · sigmoid(x).
    swish(x): real { cpu: x.maximum(T::of(-1e38)) * x.sigmoid::<I>(), wgsl: "fx_max(x, -1e38) * fx_sigmoid(x)", grad(g, out): [g * $crate::ops::rules::swish_slope(x)], ulp: 4, domain: [(-5.0, 5.0)] }
    /// x / (1 + |x|).
    softsign(x): real { cpu: x.maximum(T::of(-1e38)).minimum(T::of(1e38)) / (T::of(1.0) + x.abs().minimum(T::of(1e38))), wgsl: "fx_clip(x, -1e38, 1e38) / (1.0 + fx_min(abs(x), 1e38))", grad(g, out): [g / (x.abs() + 1.0).square()], ulp: 2, domain: [(-5.0, 5.0)] }
    /// The distribution function of the normal distribution, Φ(x) = ½ erfc(−x/√2), accurate where that is small.
    normcdf(x): real { cpu: x.normcdf::<I>(), wgsl: "fx_normcdf(x)", grad(g, out): [g * (x * x * -0.5).exp() * $crate::ops::rules::ROOT_OF_TAU.recip()], ulp: 4, domain: [(-1.5, 1.5)] }
    /// (x + 3) / 6, but at least 0 and at most 1.
    hardsigmoid(x): real { cpu: ((x + T::of(3.0)) / T::of(6.0)).maximum(T::of(0.0)).minimum(T::of(1.0)), wgsl: "fx_clip((x + 3.0) / 6.0, 0.0, 1.0)", grad(g, out): [$crate::ops::rules::within(x, 3.0, 0.0, 0.0, &(g / 6.0))], ulp: 2, domain: [(-5.0, 5.0)] }
    /// x · hardsigmoid(x).
    hardswish(x): real { cpu: x.maximum(T::of(-3.0)) * ((x + T::of(3.0)) / T::of(6.0)).maximum(T::of(0.0)).minimum(T::of(1.0)), wgsl: "fx_max(x, -3.0) * fx_clip((x + 3.0) / 6.0, 0.0, 1.0)", grad(g, out): [$crate::ops::rules::within(x, 3.0, 0.0, g, &(g * ((x + x + 3.0) / 6.0)))], ulp: 4, domain: [(-5.0, 5.0)] }
    /// x · tanh(log(1 + eˣ)).
    mish(x): real { cpu: { let n = x.minimum(T::of(30.0)).exp::<I>(); let w = n * (n + T::of(2.0)); x.maximum(T::of(-1e38)) * (w / (w + T::of(2.0))) }, wgsl: "fx_max(x, -1e38) * fx_tanh(fx_softplus(x))", grad(g, out): [g * $crate::ops::rules::mish_slope(x)], ulp: 6, domain: [(-5.0, 5.0)] }
    /// x where it is not negative, else y · (e^(x/y) − 1), for positive y.
    celu(x, y): real { cpu: T::choose(T::of(0.0).at_most(x), x, y * (x / y).expm1::<I>()), wgsl: "select(y * fx_expm1(x / y), x, x >= 0.0)", grad(g, out): [g * $crate::ops::rules::below_zero(x, y).exp(), g * $crate::ops::rules::celu_slope(x, y)], ulp: 6, domain: [(-5.0, 5.0), (0.5, 2.0)] }

    /// True where x = y.
    equal(x, y): compare { cpu: x.equals(y), wgsl: "fx_eq(x, y)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x ≠ y.
    not_equal(x, y): compare { cpu: x.differs(y), wgsl: "!fx_eq(x, y)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x < y.
    less(x, y): compare { cpu: x.less(y), wgsl: "fx_lt(x, y)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x ≤ y.
    less_equal(x, y): compare { cpu: x.at_most(y), wgsl: "fx_le(x, y)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x > y.
    greater(x, y): compare { cpu: y.less(x), wgsl: "fx_lt(y, x)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x ≥ y.
    greater_equal(x, y): compare { cpu: y.at_most(x), wgsl: "fx_le(y, x)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0), (-3.0, 3.0)] }
    /// True where x is not a number.
    isnan(x): test { cpu: x.isnan(), wgsl: "fx_isnan(x)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0)] }
    /// True where x is +∞ or −∞.
    isinf(x): test { cpu: x.isinf(), wgsl: "fx_isinf(x)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0)] }
    /// True where x is neither infinite nor NaN.
    isfinite(x): test { cpu: x.isfinite(), wgsl: "fx_isfinite(x)", grad(g, out): none, ulp: 0, domain: [(-3.0, 3.0)] }
    /// x and y, as truth values.
    logical_and(x, y): logic { cpu: x & y, wgsl: "x && y", grad(g, out): none, ulp: 0, domain: [(-1.0, 1.0), (-1.0, 1.0)] }
    /// x or y, as truth values.
    logical_or(x, y): logic { cpu: x | y, wgsl: "x || y", grad(g, out): none, ulp: 0, domain: [(-1.0, 1.0), (-1.0, 1.0)] }
    /// True where exactly one of x and y is true.
    logical_xor(x, y): logic { cpu: x ^ y, wgsl: "x != y", grad(g, out): none, ulp: 0, domain: [(-1.0, 1.0), (-1.0, 1.0)] }
    /// True where x is false.
    logical_not(x): logic { cpu: !x, wgsl: "!x", grad(g, out): none, ulp: 0, domain: [(-1.0, 1.0)] }
    /// y where the condition x holds, else z.
    r#where(x, y, z): select { cpu: if x { y } else { z }, wgsl: "select(z, y, x)", grad(g, out): [none, $crate::ops::rules::choose(x, g, 0.0), $crate::ops::rules::choose(x, 0.0, g)], ulp: 0, domain: [(-1.0, 1.0), (-10.0, 10.0), (-10.0, 10.0)] }
} } }
