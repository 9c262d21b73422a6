// Philox4x32-10, counter-based: the same bits as the CPU's. Needs fx_mulhi.

fn fx_philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var i = 0u; i < 10u; i++) {
        let low0 = 0xd2511f53u * c.x;
        let high0 = fx_mulhi(0xd2511f53u, c.x);
        let low1 = 0xcd9e8d57u * c.z;
        let high1 = fx_mulhi(0xcd9e8d57u, c.z);
        c = vec4<u32>(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
        k = k + vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// A word as a float in [0, 1), from its upper 24 bits.
fn fx_unit(word: u32) -> f32 {
    return f32(word >> 8u) * 5.9604645e-8;
}
