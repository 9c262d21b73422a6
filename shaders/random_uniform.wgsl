// Floats in [0, 1) from the upper 24 bits.

fn make(block: vec4<u32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(vec4<f32>(fx_unit(block.x), fx_unit(block.y), fx_unit(block.z), fx_unit(block.w)));
}
