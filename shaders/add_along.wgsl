// The adjoint of take_along: out[r, index[r, j]] += x[r, j] over zeros, one thread a row, so that the order is fixed.
// args[0] = rows, length of a row of the result, length of a row of x, workgroups in a row of the grid;
// args[1] = offsets of x and index.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (group.y * args[0].w + group.x) * 64u + local;
    if (row >= args[0].x) {
        return;
    }
    for (var i = 0u; i < args[0].y; i++) {
        out[row * args[0].y + i] = 0.0;
    }
    let length = i32(args[0].y);
    for (var j = 0u; j < args[0].z; j++) {
        let asked = index[args[1].y + row * args[0].z + j];
        let at = select(asked, asked + length, asked < 0);
        if (at >= 0 && at < length) {
            out[row * args[0].y + u32(at)] += x[args[1].x + row * args[0].z + j];
        } else if (atomicExchange(&status[4], 4u) == 0u) {
            atomicStore(&status[5], bitcast<u32>(asked));
            atomicStore(&status[6], args[0].y);
        }
    }
}
