// Elements as unsigned integers of the same order: floats here, both zeros alike, NaN last.

fn key(word: u32) -> u32 {
    if (fx_isnan(bitcast<f32>(word))) {
        return 0xffffffffu;
    }
    if ((word & 0x7fffffffu) == 0u) {
        return 0x80000000u;
    }
    return select(word | 0x80000000u, ~word, (word >> 31u) == 1u);
}
