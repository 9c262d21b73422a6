// f32 functions of the elementwise code: the built-ins of WGSL are off by up to 7e5 ulp and differ between drivers.
// A kernel carries only those it calls, cut out by name with what they call. Rules kept here: NaN and infinity are
// recognised by their bits; no result depends on whether a*b+c is fused, since steps that must be exact mask bits off
// first; `floor`, `abs` and `sqrt` are the only built-ins with rounding that are relied on.

// --- bits

fn fx_isnan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn fx_isinf(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn fx_isfinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

// By the bits: where subnormal numbers are flushed they compare as 0.
fn fx_iszero(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0u;
}

fn fx_signbit(x: f32) -> bool {
    return (bitcast<u32>(x) >> 31u) == 1u;
}

// A variable, because naga refuses a constant expression that is infinite or NaN.
fn fx_inf() -> f32 {
    var b = 0x7f800000u;
    return bitcast<f32>(b);
}

fn fx_nan() -> f32 {
    var b = 0x7fc00000u;
    return bitcast<f32>(b);
}

// The quiet NaN of a NaN; used to carry NaN past arithmetic that a fast-math compiler may assume finite.
fn fx_quiet(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u);
}

fn fx_neg(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ 0x80000000u);
}

fn fx_abs(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0x7fffffffu);
}

fn fx_copysign(x: f32, y: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(y) & 0x80000000u));
}

// The leading 12 bits: a product of two such numbers is exact.
fn fx_head(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// 2^n for -126 <= n <= 127.
fn fx_two(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}

// y 2^n for normal y, rounded once, by the bits alone: a fast-math compiler would put factors together that overflow.
fn fx_scale(y: f32, n: i32) -> f32 {
    let b = bitcast<u32>(y);
    let e = i32((b >> 23u) & 0xffu) + n;
    let m = (b & 0x7fffffu) | 0x800000u;
    let s = u32(clamp(1 - e, 1, 25));
    let kept = m >> s;
    let rest = m & ((1u << s) - 1u);
    let half = 1u << (s - 1u);
    let small = kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u));
    let normal = (m & 0x7fffffu) | (u32(e) << 23u);
    return bitcast<f32>(select(select(normal, 0x7f800000u, e > 254), small, e < 1) | (b & 0x80000000u));
}

// --- sign, order, rounding

fn fx_sign(x: f32) -> f32 {
    let s = select(0.0, fx_copysign(1.0, x), x != 0.0);
    return select(s, fx_quiet(x), fx_isnan(x));
}

fn fx_max(x: f32, y: f32) -> f32 {
    let m = select(x, y, y > x);
    return select(select(m, fx_quiet(y), fx_isnan(y)), fx_quiet(x), fx_isnan(x));
}

fn fx_min(x: f32, y: f32) -> f32 {
    let m = select(x, y, y < x);
    return select(select(m, fx_quiet(y), fx_isnan(y)), fx_quiet(x), fx_isnan(x));
}

fn fx_clip(x: f32, lo: f32, hi: f32) -> f32 {
    return fx_min(fx_max(x, lo), hi);
}

// What a comparison says of NaN differs between drivers, and a fast-math compiler may turn it round.
fn fx_ordered(x: f32, y: f32) -> bool {
    return !fx_isnan(x) && !fx_isnan(y);
}

fn fx_ne(x: f32, y: f32) -> bool {
    return !fx_eq(x, y);
}

fn fx_relu(x: f32) -> f32 {
    return select(select(0.0, x, x > 0.0), fx_quiet(x), fx_isnan(x));
}

// True from 2^23 on, where every float is an integer, and for infinity and NaN.
fn fx_whole(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) >= 0x4b000000u;
}

// Half to even.
fn fx_round(x: f32) -> f32 {
    let f = floor(x);
    let d = x - f;
    let odd = f * 0.5 != floor(f * 0.5);
    let up = d > 0.5 || (d == 0.5 && odd);
    let y = select(f, f + 1.0, up);
    return select(fx_copysign(y, x), x, fx_whole(x));
}

fn fx_trunc(x: f32) -> f32 {
    let y = fx_copysign(floor(fx_abs(x)), x);
    return select(y, x, fx_whole(x));
}

// x - y trunc(x/y), exactly: long division of the mantissas, eight bits a turn.
fn fx_fmod(x: f32, y: f32) -> f32 {
    let ax = bitcast<u32>(x) & 0x7fffffffu;
    let ay = bitcast<u32>(y) & 0x7fffffffu;
    if (ax >= 0x7f800000u || ay > 0x7f800000u || ay == 0u) {
        return fx_nan();
    }
    if (ax < ay) {
        return x;
    }
    let ex = max(ax >> 23u, 1u);
    let ey = max(ay >> 23u, 1u);
    let mx = select(ax & 0x7fffffu, (ax & 0x7fffffu) | 0x800000u, ax >= 0x800000u);
    let my = select(ay & 0x7fffffu, (ay & 0x7fffffu) | 0x800000u, ay >= 0x800000u);
    var r = mx % my;
    var left = ex - ey;
    for (var turn = 0u; turn < 35u; turn++) {
        let s = min(left, 8u);
        r = (r << s) % my;
        left -= s;
    }
    let shift = countLeadingZeros(r) - 8u;
    let normal = ((ey - shift) << 23u) | ((r << shift) & 0x7fffffu);
    let bits = select(r << (ey - 1u), normal, ey > shift);
    return fx_copysign(select(bitcast<f32>(bits), 0.0, r == 0u), x);
}

// Python's %, with the sign of the divisor.
fn fx_rem(x: f32, y: f32) -> f32 {
    let r = fx_fmod(x, y);
    if (fx_iszero(r)) {
        return fx_copysign(r, y);
    }
    return select(r, r + y, fx_signbit(r) != fx_signbit(y) && !fx_isnan(r));
}

// Python's //.
fn fx_floordiv(x: f32, y: f32) -> f32 {
    if (y == 0.0) {
        return x / y;
    }
    if (!fx_isfinite(x) || fx_isnan(y)) {
        return fx_nan();
    }
    let r = fx_fmod(x, y);
    let q = (x - r) / y - select(0.0, 1.0, r != 0.0 && fx_signbit(r) != fx_signbit(y));
    let f = floor(q);
    let whole = select(f, f + 1.0, q - f > 0.5);
    return select(whole, fx_copysign(0.0, x / y), whole == 0.0);
}

// --- integers: no wrap at the edge is left to a driver, division by zero gives 0 as in NumPy

fn fx_floordiv_i(x: i32, y: i32) -> i32 {
    if (y == 0) {
        return 0;
    }
    if (y == -1) {
        return bitcast<i32>(0u - bitcast<u32>(x));
    }
    let q = x / y;
    return q - select(0, 1, q * y != x && (x < 0) != (y < 0));
}

fn fx_rem_i(x: i32, y: i32) -> i32 {
    if (y == 0 || y == -1) {
        return 0;
    }
    let r = x % y;
    return select(r, r + y, r != 0 && (r < 0) != (y < 0));
}

fn fx_pow_i(x: i32, y: i32) -> i32 {
    if (y < 0) {
        return select(select(0, select(1, -1, (y & 1) == 1), x == -1), 1, x == 1);
    }
    var base = bitcast<u32>(x);
    var left = u32(y);
    var r = 1u;
    for (var turn = 0u; turn < 31u; turn++) {
        r = select(r, r * base, (left & 1u) == 1u);
        base = base * base;
        left = left >> 1u;
    }
    return bitcast<i32>(r);
}

fn fx_abs_i(x: i32) -> i32 {
    return select(x, bitcast<i32>(0u - bitcast<u32>(x)), x < 0);
}

fn fx_sign_i(x: i32) -> i32 {
    return select(0, 1, x > 0) - select(0, 1, x < 0);
}

// The high word of a product, from 16-bit halves: WGSL has no wide multiplication.
fn fx_mulhi(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let mid = ah * bl + ((al * bl) >> 16u);
    let mid2 = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (mid2 >> 16u);
}

fn fx_eq(x: f32, y: f32) -> bool {
    return x == y && fx_ordered(x, y);
}

fn fx_lt(x: f32, y: f32) -> bool {
    return x < y && fx_ordered(x, y);
}

fn fx_le(x: f32, y: f32) -> bool {
    return x <= y && fx_ordered(x, y);
}

fn fx_eq_i(x: i32, y: i32) -> bool {
    return x == y;
}

fn fx_lt_i(x: i32, y: i32) -> bool {
    return x < y;
}

fn fx_le_i(x: i32, y: i32) -> bool {
    return x <= y;
}

fn fx_max_i(x: i32, y: i32) -> i32 {
    return max(x, y);
}

fn fx_min_i(x: i32, y: i32) -> i32 {
    return min(x, y);
}

fn fx_relu_i(x: i32) -> i32 {
    return max(x, 0);
}

// Towards zero, as far as there are integers; NaN gives 0, as on the CPU.
fn fx_to_int(x: f32) -> i32 {
    let least = bitcast<i32>(0x80000000u);
    let y = select(i32(clamp(x, -2147483520.0, 2147483520.0)), 0x7fffffff, x >= 2147483648.0);
    return select(select(y, least, x <= -2147483648.0), 0, fx_isnan(x));
}
