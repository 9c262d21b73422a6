// The adjoint of take_along: out[r, index[r, j]] += x[r, j] over zeros, one thread a row, so that the order is fixed.
// Behind indexed.wgsl.
// args[0] = rows, length of a row of the result, length of a row of x, workgroups in a row of the grid.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (group.y * args[0].w + group.x) * 64u + local;
    if (row >= args[0].x) {
        return;
    }
    for (var i = 0u; i < args[0].y; i++) {
        out[row * args[0].y + i] = 0.0;
    }
    for (var j = 0u; j < args[0].z; j++) {
        let at = place(row * args[0].z + j, args[0].y);
        if (at >= 0) {
            out[row * args[0].y + u32(at)] += x[args[1].x + row * args[0].z + j];
        }
    }
}
