// int64 in 32 bits: a result that does not fit raises a flag, by fx_overflow of the kernel's own.

fn fx_wide_add(x: i32, y: i32) -> i32 {
    let sum = bitcast<i32>(bitcast<u32>(x) + bitcast<u32>(y));
    if (((x ^ sum) & (y ^ sum)) < 0) {
        fx_overflow();
    }
    return sum;
}

fn fx_wide_sub(x: i32, y: i32) -> i32 {
    let difference = bitcast<i32>(bitcast<u32>(x) - bitcast<u32>(y));
    if (((x ^ y) & (x ^ difference)) < 0) {
        fx_overflow();
    }
    return difference;
}

fn fx_wide_mul(x: i32, y: i32) -> i32 {
    let a = bitcast<u32>(x);
    let b = bitcast<u32>(y);
    let low = bitcast<i32>(a * b);
    let high = fx_mulhi(a, b) - select(0u, b, x < 0) - select(0u, a, y < 0);
    if (high != select(0u, 0xffffffffu, low < 0)) {
        fx_overflow();
    }
    return low;
}

fn fx_wide_abs(x: i32) -> i32 {
    if (x < 0) {
        return fx_wide_sub(0, x);
    }
    return x;
}

fn fx_wide_floordiv(x: i32, y: i32) -> i32 {
    if (y == -1) {
        return fx_wide_sub(0, x);
    }
    return fx_floordiv_i(x, y);
}

fn fx_wide_pow(x: i32, y: i32) -> i32 {
    if (y < 0) {
        return fx_pow_i(x, y);
    }
    var base = x;
    var left = u32(y);
    var r = 1;
    for (var turn = 0u; turn < 32u && left != 0u; turn++) {
        if ((left & 1u) == 1u) {
            r = fx_wide_mul(r, base);
        }
        left = left >> 1u;
        if (left != 0u) {
            base = fx_wide_mul(base, base);
        }
    }
    return r;
}

fn fx_wide_int(x: f32) -> i32 {
    if (!fx_isnan(x) && (x >= 2147483648.0 || x < -2147483648.0)) {
        fx_overflow();
    }
    return fx_to_int(x);
}
