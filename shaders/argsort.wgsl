// The indices that sort each row; equal elements keep their order, NaN is last. An element counts those before it, which
// is quadratic in the length of a row, and short rows are what this is for. Behind key.wgsl.
// args[0] = elements, length, offset, workgroups in a row of the grid.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 1>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let start = args[0].z + i / args[0].y * args[0].y;
    let own = i % args[0].y;
    let mine = key(x[start + own]);
    var rank = 0u;
    for (var j = 0u; j < args[0].y; j++) {
        let other = key(x[start + j]);
        rank += select(0u, 1u, other < mine || (other == mine && j < own));
    }
    out[i - own + rank] = own;
}
