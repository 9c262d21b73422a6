// first + i · step, or a last element of its own. args[0] = elements, workgroups in a row of the grid, whether the last is
// given, first; args[1] = step, last.

@group(0) @binding(1) var<storage, read_write> out: array<u32>;

//<value
@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;

fn value(i: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(args[0].w) + f32(i) * bitcast<f32>(args[1].x));
}

fn last() -> u32 {
    return args[1].y;
}
//>

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].y + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    if (args[0].z == 1u && i + 1u == args[0].x) {
        out[i] = last();
    } else {
        out[i] = value(i);
    }
}
