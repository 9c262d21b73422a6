// out[r, j] = x[r, index[r, j]]; a number out of range gives 0 and raises a flag.
// args[0] = elements of the result, length of a row of x, length of a row of the index, workgroups in a row of the grid;
// args[1] = offsets of x and index.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let asked = index[args[1].y + i];
    let length = i32(args[0].y);
    let at = select(asked, asked + length, asked < 0);
    if (at < 0 || at >= length) {
        if (atomicExchange(&status[4], 3u) == 0u) {
            atomicStore(&status[5], bitcast<u32>(asked));
            atomicStore(&status[6], args[0].y);
        }
        out[i] = 0u;
        return;
    }
    out[i] = x[args[1].x + i / args[0].z * args[0].y + u32(at)];
}
