// Elements by number, and the order of elements.

// The place on an axis of this length that an index names: negative ones count from the end. For one that is out of range it
// is -1, and a flag is raised with the index and the length.
fn fx_row(index: i32, length: u32) -> i32 {
    let at = select(index, index + i32(length), index < 0);
    if (at >= 0 && at < i32(length)) {
        return at;
    }
    fx_raise(bitcast<u32>(index), length);
    return -1;
}

// Floats as unsigned integers of the same order: both zeros alike, NaN last.
fn fx_key_float(word: u32) -> u32 {
    if (fx_isnan(bitcast<f32>(word))) {
        return 0xffffffffu;
    }
    if ((word & 0x7fffffffu) == 0u) {
        return 0x80000000u;
    }
    return select(word | 0x80000000u, ~word, (word >> 31u) == 1u);
}
