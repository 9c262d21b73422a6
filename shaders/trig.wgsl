// Circular functions over the whole range: the argument is reduced in integers against the bits of 2/π.

// The bits of 2/π after the point, 32 a word, with one word of zeros before. A switch, because some shader compilers
// refuse a local array indexed by a variable.
fn fx_two_over_pi(i: u32) -> u32 {
    switch (i) {
        case 0u: { return 0u; }
        case 1u: { return 0xa2f9836eu; }
        case 2u: { return 0x4e441529u; }
        case 3u: { return 0xfc2757d1u; }
        case 4u: { return 0xf534ddc0u; }
        case 5u: { return 0xdb629599u; }
        case 6u: { return 0x3c439041u; }
        default: { return 0xfe5163abu; }
    }
}

fn fx_window(i: u32, shift: u32) -> u32 {
    let high = fx_two_over_pi(i) << shift;
    return high | select(0u, fx_two_over_pi(i + 1u) >> (32u - shift), shift > 0u);
}

// (r, q) with |x| = r + q π/2 modulo 2π, |r| <= π/4.
fn fx_reduce(x: f32) -> vec2<f32> {
    let b = bitcast<u32>(x) & 0x7fffffffu;
    if (b <= 0x3f490fdau) {
        return vec2<f32>(bitcast<f32>(b), 0.0);
    }
    // |x| = m 2^(e-150); the window begins where 2/π times that has weight 2, so what lies before is a multiple of 4.
    let m = (b & 0x7fffffu) | 0x800000u;
    let at = (b >> 23u) - 120u;
    let i = at >> 5u;
    let s = at & 31u;
    let w0 = fx_window(i, s);
    let w1 = fx_window(i + 1u, s);
    let w2 = fx_window(i + 2u, s);
    // The low 96 bits of m times the window: two whole bits, then the fraction.
    let p1 = m * w1;
    let mid = p1 + fx_mulhi(m, w2);
    let high = m * w0 + fx_mulhi(m, w1) + select(0u, 1u, mid < p1);
    let up = (high >> 29u) & 1u;
    let q = ((high >> 30u) + up) & 3u;
    // The fraction as 64 bits, negated if it is at least a half.
    let f1 = (high << 2u) | (mid >> 30u);
    let f0 = (mid << 2u) | ((m * w2) >> 30u);
    let n0 = select(f0, 0u - f0, up == 1u);
    let n1 = select(f1, ~f1 + select(0u, 1u, f0 == 0u), up == 1u);
    let far = n1 == 0u;
    let top = select(n1, n0, far);
    let z = countLeadingZeros(top);
    let next = select(n0, 0u, far);
    let word = (top << z) | select(0u, next >> (32u - z), z > 0u);
    let frac = f32(word >> 8u) * fx_two(-24 - i32(z) - select(0, 32, far));
    let r = frac * 1.57079637 + frac * -4.37113883e-8;
    return vec2<f32>(select(r, -r, up == 1u), f32(q));
}

fn fx_sin_poly(r: f32) -> f32 {
    let z = r * r;
    return r + r * z * (((2.71808403e-6 * z - 1.98393085e-4) * z + 8.33332911e-3) * z - 0.166666672);
}

fn fx_cos_poly(r: f32) -> f32 {
    let z = r * r;
    return 1.0 + (z * z * (((-2.72361234e-7 * z + 2.47998869e-5) * z - 1.38888857e-3) * z + 4.16666679e-2) - 0.5 * z);
}

fn fx_sin(x: f32) -> f32 {
    let a = fx_reduce(x);
    let y = select(fx_sin_poly(a.x), fx_cos_poly(a.x), a.y == 1.0 || a.y == 3.0);
    let flip = select(0u, 0x80000000u, a.y >= 2.0) ^ (bitcast<u32>(x) & 0x80000000u);
    return select(bitcast<f32>(bitcast<u32>(y) ^ flip), fx_nan(), !fx_isfinite(x));
}

fn fx_cos(x: f32) -> f32 {
    let a = fx_reduce(x);
    let y = select(fx_cos_poly(a.x), fx_sin_poly(a.x), a.y == 1.0 || a.y == 3.0);
    let flip = select(0u, 0x80000000u, a.y == 1.0 || a.y == 2.0);
    return select(bitcast<f32>(bitcast<u32>(y) ^ flip), fx_nan(), !fx_isfinite(x));
}

fn fx_tan(x: f32) -> f32 {
    let a = fx_reduce(x);
    let z = a.x * a.x;
    let p = (((4.35229624e-3 * z + 1.45226848e-4) * z + 1.07845748e-2) * z + 2.13058218e-2) * z + 5.40542416e-2;
    let t = a.x + a.x * z * ((p * z + 0.13332729) * z + 0.333333462);
    let y = select(t, -1.0 / t, a.y == 1.0 || a.y == 3.0);
    let flip = bitcast<u32>(x) & 0x80000000u;
    return select(bitcast<f32>(bitcast<u32>(y) ^ flip), fx_nan(), !fx_isfinite(x));
}

// sin and cos of 2πu for u in [0, 1): the quadrant is exact, no reduction is needed.
fn fx_sincos_turn(u: f32) -> vec2<f32> {
    let q = floor(u * 4.0 + 0.5);
    let r = (u - q * 0.25) * 6.28318531;
    let s = fx_sin_poly(r);
    let c = fx_cos_poly(r);
    let swap = q == 1.0 || q == 3.0;
    let sine = select(s, c, swap);
    let cosine = select(c, s, swap);
    return vec2<f32>(select(sine, -sine, q == 2.0 || q == 3.0), select(cosine, -cosine, q == 1.0 || q == 2.0));
}

// asin for 0 <= x <= 1/2.
fn fx_asin_poly(x: f32) -> f32 {
    let z = x * x;
    let p = ((3.73975337e-2 * z + 1.45356813e-2) * z + 3.17776799e-2) * z + 4.45212983e-2;
    return x + x * z * ((p * z + 7.50047565e-2) * z + 0.166666612);
}

fn fx_asin(x: f32) -> f32 {
    let a = fx_abs(x);
    let far = a > 0.5;
    let p = fx_asin_poly(select(a, sqrt(0.5 * (1.0 - a)), far));
    let y = fx_copysign(select(p, 1.57079637 - 2.0 * p, far), x);
    return select(select(y, fx_nan(), a > 1.0), fx_quiet(x), fx_isnan(x));
}

fn fx_acos(x: f32) -> f32 {
    let a = fx_abs(x);
    let far = a > 0.5;
    let p = fx_asin_poly(select(a, sqrt(0.5 * (1.0 - a)), far));
    let near = 1.57079637 - fx_copysign(p, x);
    let y = select(near, select(2.0 * p, 3.14159274 - 2.0 * p, x < 0.0), far);
    return select(select(y, fx_nan(), a > 1.0), fx_quiet(x), fx_isnan(x));
}

// atan for x >= 0.
fn fx_atan_positive(x: f32) -> f32 {
    let far = x > 2.41421356;
    let mid = x > 0.414213562 && !far;
    let t = select(select(x, (x - 1.0) / (x + 1.0), mid), -1.0 / x, far);
    let z = t * t;
    let p = ((-6.07650243e-2 * z + 0.105931699) * z - 0.142434523) * z + 0.19998467;
    let y = t + t * z * (p * z - 0.333333164);
    return select(select(y, 0.785398163 + y, mid), 1.57079637 + y, far);
}

fn fx_atan(x: f32) -> f32 {
    return select(fx_copysign(fx_atan_positive(fx_abs(x)), x), fx_quiet(x), fx_isnan(x));
}

fn fx_atan2(y: f32, x: f32) -> f32 {
    if (fx_isnan(x) || fx_isnan(y)) {
        return fx_nan();
    }
    // Infinities become 1 beside 0, and both are brought near 1, where division is good on every driver.
    let wild = fx_isinf(x) || fx_isinf(y);
    let ax = select(fx_abs(x), select(0.0, 1.0, fx_isinf(x)), wild);
    let ay = select(fx_abs(y), select(0.0, 1.0, fx_isinf(y)), wild);
    let top = max(ax, ay);
    let s = select(select(1.0, 1.8446744e19, top < 1.0e-18), 5.42101086e-20, top > 1.0e18);
    let steep = ay > ax;
    let big = select(top * s, 1.0, top == 0.0);
    let a = fx_atan_positive(min(ax, ay) * s / big);
    let first = select(a, 1.57079637 - a, steep);
    return fx_copysign(select(first, 3.14159274 - first, fx_signbit(x)), y);
}
