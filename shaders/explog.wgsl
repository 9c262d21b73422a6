// Exponentials, logarithms, powers and what is made of them. Polynomials are minimax fits of our own.

// e^r = 1 + r + r² p(r), |r| <= 0.347.
fn fx_exp_poly(r: f32) -> f32 {
    return ((((1.9846647e-4 * r + 1.39407662e-3) * r + 8.33338872e-3) * r + 4.16663587e-2) * r + 0.166666657) * r + 0.5;
}

// x, in a way that a fast-math compiler cannot take it apart and put it together with others: the last bit of a small whole
// number is 0, which no compiler knows.
fn fx_alone(x: f32, whole: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | (bitcast<u32>(whole) & 1u));
}

// x - n ln 2; the head of ln 2 has nine bits, so its product with n is exact.
fn fx_exp_rest(x: f32, n: f32) -> f32 {
    return fx_alone(x - n * 0.693359375, n) - n * -2.12194440e-4;
}

fn fx_exp(x: f32) -> f32 {
    let c = select(select(x, 90.0, x > 90.0), -105.0, x < -105.0);
    let n = floor(c * 1.44269504 + 0.5);
    let r = fx_exp_rest(c, n);
    let y = fx_scale(1.0 + (r + r * r * fx_exp_poly(r)), i32(n));
    let z = select(select(y, fx_inf(), x > 88.7228394), 0.0, x < -103.972084);
    return select(z, fx_quiet(x), fx_isnan(x));
}

fn fx_exp2(x: f32) -> f32 {
    let c = select(select(x, 129.0, x > 129.0), -151.0, x < -151.0);
    let n = floor(c + 0.5);
    let r = (c - n) * 0.693147181;
    let y = fx_scale(1.0 + (r + r * r * fx_exp_poly(r)), i32(n));
    let z = select(select(y, fx_inf(), x >= 128.0), 0.0, x < -150.0);
    return select(z, fx_quiet(x), fx_isnan(x));
}

fn fx_expm1(x: f32) -> f32 {
    let c = select(select(x, 60.0, x > 60.0), -30.0, x < -30.0);
    let n = floor(c * 1.44269504 + 0.5);
    let r = fx_exp_rest(c, n);
    let e = r + r * r * fx_exp_poly(r);
    let s = fx_two(i32(n));
    let y = select(s * e + (s - 1.0), e, n == 0.0);
    return fx_copysign(select(y, fx_exp(x), x > 50.0 || fx_isnan(x)), x);
}

// x = (1 + f) 2^k with 1 + f between sqrt(1/2) and sqrt(2), for positive finite x; gives (f, k).
fn fx_log_split(x: f32) -> vec2<f32> {
    let raw = bitcast<u32>(x);
    let shift = select(0u, countLeadingZeros(raw) - 8u, raw < 0x800000u);
    let b = raw << shift;
    let m = bitcast<f32>((b & 0x7fffffu) | 0x3f800000u);
    let big = m > 1.41421356;
    let k = i32(b >> 23u) - 127 - i32(shift) + select(0, 1, big);
    return vec2<f32>(select(m, m * 0.5, big) - 1.0, f32(k));
}

// log(1 + f) - f for f as above.
fn fx_log_tail(f: f32) -> f32 {
    let a = ((0.067458652 * f - 0.116617583) * f + 0.118804701) * f - 0.124076158;
    let p = ((((a * f + 0.142210424) * f - 0.166679204) * f + 0.200020269) * f - 0.250000089) * f + 0.333333135;
    return f * f * (f * p - 0.5);
}

// What a logarithm is outside the positive finite numbers.
fn fx_log_edge(x: f32, y: f32) -> f32 {
    // By the bits: where subnormals are flushed they would compare as 0, and a fast-math compiler knows no infinity.
    let z = select(y, fx_inf(), fx_isinf(x));
    let w = select(select(z, fx_nan(), fx_signbit(x)), fx_neg(fx_inf()), fx_iszero(x));
    return select(w, fx_quiet(x), fx_isnan(x));
}

fn fx_log(x: f32) -> f32 {
    let s = fx_log_split(x);
    return fx_log_edge(x, s.y * 0.693359375 + (s.x + (fx_log_tail(s.x) + s.y * -2.12194440e-4)));
}

fn fx_log2(x: f32) -> f32 {
    let s = fx_log_split(x);
    let t = fx_log_tail(s.x);
    return fx_log_edge(x, ((t * 0.442695041 + s.x * 0.442695041) + t) + s.x + s.y);
}

fn fx_log10(x: f32) -> f32 {
    let s = fx_log_split(x);
    let t = fx_log_tail(s.x);
    let low = s.y * 2.48745664e-4 + (s.x + t) * 7.00731903e-4 + t * 0.43359375;
    return fx_log_edge(x, (low + s.x * 0.43359375) + s.y * 0.30078125);
}

fn fx_log1p(x: f32) -> f32 {
    if (x > -0.292 && x < 0.414) {
        return x + fx_log_tail(x);
    }
    return fx_log(1.0 + x);
}

fn fx_sigmoid(x: f32) -> f32 {
    let e = fx_exp(fx_neg(fx_abs(x)));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn fx_softplus(x: f32) -> f32 {
    return fx_relu(x) + fx_log1p(fx_exp(fx_neg(fx_abs(x))));
}

// log(1/(1+e^-x)) = -softplus(-x).
fn fx_logsigmoid(x: f32) -> f32 {
    return fx_neg(fx_softplus(fx_neg(x)));
}

fn fx_sinh(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 1.0) {
        let z = x * x;
        return x + x * z * (((2.81695156e-6 * z + 1.98361595e-4) * z + 8.3333496e-3) * z + 0.166666672);
    }
    let half = fx_exp(a * 0.5);
    let e = fx_exp(a);
    return fx_copysign(select(0.5 * e - 0.5 / e, fx_scale(half, -1) * half, a > 88.0), x);
}

fn fx_cosh(x: f32) -> f32 {
    let a = fx_abs(x);
    let half = fx_exp(a * 0.5);
    let e = fx_exp(a);
    return select(0.5 * e + 0.5 / e, fx_scale(half, -1) * half, a > 88.0);
}

fn fx_tanh(x: f32) -> f32 {
    let a = fx_abs(x);
    let z = x * x;
    let a1 = ((2.15476262e-3 * z - 8.19211639e-3) * z + 2.17076614e-2) * z - 5.39482981e-2;
    let small = x + x * z * ((a1 * z + 0.133332208) * z - 0.333333313);
    let large = 1.0 - 2.0 / (fx_exp(2.0 * a) + 1.0);
    return select(fx_copysign(select(large, small, a < 0.625), x), fx_quiet(x), fx_isnan(x));
}

fn fx_asinh(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 0.5) {
        let z = x * x;
        let p = ((((9.2208311e-3 * z - 2.00219732e-2) * z + 3.00255269e-2) * z - 4.46150079e-2) * z + 7.49990046e-2) * z - 0.166666657;
        return fx_copysign(x + x * z * p, x);
    }
    let big = a > 1.0e9;
    let b = select(a, 1.0, big);
    let y = select(fx_log1p(b + b * b / (1.0 + sqrt(1.0 + b * b))), fx_log(a) + 0.693147181, big);
    return fx_copysign(y, x);
}

fn fx_acosh(x: f32) -> f32 {
    let z = x - 1.0;
    if (z <= 0.5 && z >= 0.0) {
        let p = ((-5.79586718e-4 * z + 2.48242309e-3) * z - 7.84249883e-3) * z + 2.65109576e-2;
        return sqrt(z) * ((p * z - 0.1178509) * z + 1.41421354);
    }
    let big = x > 1.0e9;
    let b = select(x, 2.0, big);
    let y = select(fx_log(b + sqrt(b * b - 1.0)), fx_log(x) + 0.693147181, big);
    return select(select(y, fx_nan(), x < 1.0), fx_quiet(x), fx_isnan(x));
}

fn fx_atanh(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 0.5) {
        let z = x * x;
        let p = ((((0.174417481 * z + 2.59298123e-2) * z + 0.102311447) * z + 0.109766543) * z + 0.142939463) * z + 0.199997693;
        return x + x * z * (p * z + 0.333333343);
    }
    return fx_copysign(select(0.5 * fx_log((1.0 + a) / (1.0 - a)), fx_nan(), a > 1.0), x);
}

fn fx_erf(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 0.86) {
        let z = x * x;
        let p = ((8.73331082e-5 * z - 8.22328147e-4) * z + 5.20770159e-3) * z - 2.68619265e-2;
        return x + x * (((p * z + 0.112837382) * z - 0.376126349) * z + 0.128379166);
    }
    return select(fx_copysign(1.0 - fx_erfc_tail(a), x), fx_quiet(x), fx_isnan(x));
}

// e^(x²) erfc x for x >= 1/2: g(t) / (1 + 2x).
fn fx_erfc_scaled(x: f32) -> f32 {
    let t = (x - 3.0) / (x + 3.0);
    let p = (((-5.26576478e-4 * t + 1.83752319e-3) * t + 2.39037769e-3) * t - 2.37644296e-2) * t + 6.83379844e-2;
    let g = ((((p * t - 0.119273558) * t + 0.129642636) * t - 4.75623198e-2) * t - 0.135621041) * t + 1.25300801;
    return g / (1.0 + 2.0 * x);
}

// erfc for x >= 1/2, with x² taken apart so that its rounding does not scale the exponent.
fn fx_erfc_tail(x: f32) -> f32 {
    let c = select(x, 10.5, x > 10.5);
    let h = fx_head(c);
    return fx_exp(-h * h) * (fx_exp((h - c) * (h + c)) * fx_erfc_scaled(c));
}

// erfc(-x / √2) / 2; -x²/2 has no rounding of the quotient in it.
fn fx_normcdf(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 0.75) {
        return 0.5 + 0.5 * fx_erf(x * 0.707106781);
    }
    let c = select(a, 14.8, a > 14.8);
    let h = fx_head(c);
    let tail = fx_exp(-0.5 * h * h) * (0.5 * fx_exp(0.5 * (h - c) * (h + c)) * fx_erfc_scaled(c * 0.707106781));
    return select(select(1.0 - tail, tail, x < 0.0), fx_quiet(x), fx_isnan(x));
}

fn fx_erfc(x: f32) -> f32 {
    let a = fx_abs(x);
    if (a < 0.5) {
        return 1.0 - fx_erf(x);
    }
    let t = fx_erfc_tail(a);
    return select(select(t, 2.0 - t, x < 0.0), fx_quiet(x), fx_isnan(x));
}

// x^y for positive finite x and finite y: y log2 x is kept as products of 12-bit heads, which are exact, and a small rest.
fn fx_pow_core(x: f32, y: f32) -> f32 {
    let split = fx_log_split(x);
    let f = split.x;
    let k = split.y;
    // s = f / (2 + f) in two parts; log2(1 + f) = 2/ln 2 (s + s³/3 + …).
    let d = 2.0 + f;
    let s = f / d;
    let sh = fx_head(s);
    let fh = fx_head(f);
    let sl = (fx_alone(fx_alone(f - 2.0 * sh, k) - sh * fh, k) - sh * fx_alone(f - fh, k)) / d;
    let z = s * s;
    let tail = s * z * (((0.34084326 * z + 0.41167137) * z + 0.577083409) * z + 0.961796701);
    // 2.884765625 is the head of 2/ln 2.
    let h = sh * 2.884765625;
    let h1 = fx_head(h);
    let rest = fx_alone(h - h1, k) + (sh * 6.24456778e-4 + (sl * 2.88539008 + tail));
    let guess = y * (k + (h1 + rest));
    let yh = fx_head(y);
    let yl = fx_alone(y - yh, k);
    let a = yh * k;
    let b = yh * h1;
    let na = floor(a + 0.5);
    let nb = floor(b + 0.5);
    let r0 = (fx_alone(a - na, k) + fx_alone(b - nb, k)) + (yl * k + (yl * h1 + y * rest));
    let nr = floor(r0 + 0.5);
    let r = (r0 - nr) * 0.693147181;
    let power = fx_scale(1.0 + (r + r * r * fx_exp_poly(r)), i32(na + nb + nr));
    return select(select(power, fx_inf(), guess > 129.0), 0.0, guess < -152.0);
}

// Without early returns: a software driver was seen to compute the rest wrongly after one.
fn fx_pow(x: f32, y: f32) -> f32 {
    let ax = fx_abs(x);
    let ay = fx_abs(y);
    let whole = fx_iszero(y) || (ay >= 1.0 && (ay >= 8388608.0 || floor(ay) == ay));
    let odd = whole && ay < 16777216.0 && ay * 0.5 != floor(ay * 0.5);
    let edge = select(0.0, fx_inf(), (ax > 1.0) != fx_signbit(y));
    let plain = select(fx_pow_core(ax, y), edge, fx_iszero(x) || fx_isinf(x));
    let signed = select(plain, fx_copysign(plain, x), odd);
    let real = select(signed, fx_nan(), fx_signbit(x) && !fx_iszero(x) && !whole && !fx_isinf(x));
    let limit = select(real, select(edge, 1.0, ax == 1.0), fx_isinf(y));
    let value = select(limit, fx_nan(), fx_isnan(x) || fx_isnan(y));
    return select(value, 1.0, fx_iszero(y) || x == 1.0);
}

// Halley's step from a guess of eight bits, whose cube is exact: one step leaves an error of 2^-24.
fn fx_cbrt(x: f32) -> f32 {
    let a = fx_abs(x);
    if (fx_iszero(x) || !fx_isfinite(x)) {
        return x;
    }
    let s = fx_log_split(a);
    let third = floor(s.y / 3.0 + 0.17);
    let m = (1.0 + s.x) * fx_two(i32(s.y - 3.0 * third));
    var g = bitcast<f32>(bitcast<u32>(m) / 3u + 709921077u);
    g = g - (g * g * g - m) / (3.0 * g * g);
    g = g - (g * g * g - m) / (3.0 * g * g);
    g = bitcast<f32>((bitcast<u32>(g) + 0x8000u) & 0xffff0000u);
    let cube = g * g * g;
    return fx_copysign((g + g * (m - cube) / (2.0 * cube + m)) * fx_two(i32(third)), x);
}

fn fx_hypot(x: f32, y: f32) -> f32 {
    let a = max(fx_abs(x), fx_abs(y));
    let b = min(fx_abs(x), fx_abs(y));
    if (fx_isinf(x) || fx_isinf(y)) {
        return fx_inf();
    }
    if (fx_isnan(x) || fx_isnan(y)) {
        return fx_nan();
    }
    let n = select(select(0, 100, a < 1.0e-15), -64, a > 1.0e15);
    let u = a * fx_two(n);
    let v = b * fx_two(n);
    return sqrt(u * u + v * v) * fx_two(-n);
}
