// Random numbers: one Philox block of four words a thread, the same bits as the CPU's.
// args[0] = elements, workgroups in a row of the grid, seed low, seed high; args[1] = first block low, high;
// then for integers args[1].zw = least value, args[2].xy = how many values.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 3>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

// A float in [0, 1) from the upper 24 bits.
fn unit(word: u32) -> f32 {
    return f32(word >> 8u) * 5.9604645e-8;
}

//<make
fn make(block: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(bitcast<u32>(unit(block.x)), bitcast<u32>(unit(block.y)), bitcast<u32>(unit(block.z)), bitcast<u32>(unit(block.w)));
}
//>

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = (group.y * args[0].y + group.x) * 64u + local;
    let i = block * 4u;
    if (i >= args[0].x) {
        return;
    }
    let low = args[1].x + block;
    let high = args[1].y + select(0u, 1u, low < block);
    let made = make(fx_philox(vec4<u32>(low, high, 0u, 0u), args[0].zw));
    out[i] = made.x;
    if (i + 1u < args[0].x) {
        out[i + 1u] = made.y;
    }
    if (i + 2u < args[0].x) {
        out[i + 2u] = made.z;
    }
    if (i + 3u < args[0].x) {
        out[i + 3u] = made.w;
    }
}
