// Box–Muller: a pair of uniforms makes a pair of normals.

fn normals(a: u32, b: u32) -> vec2<u32> {
    let radius = sqrt(-2.0 * fx_log(fx_unit(a) + 5.9604645e-8));
    let angle = 6.2831855 * fx_unit(b);
    return vec2<u32>(bitcast<u32>(radius * fx_cos(angle)), bitcast<u32>(radius * fx_sin(angle)));
}

fn make(block: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(normals(block.x, block.y), normals(block.z, block.w));
}
