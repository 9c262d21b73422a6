// Rows by number: out[i, …] = source[index[i], …]. Negative numbers count from the end; one that is out of range gives
// zeros and raises a flag with the number and the length of the axis.
// args[0] = elements, width of a row, rows, workgroups in a row of the grid; args[1] = offsets of source and index.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let asked = index[args[1].y + i / args[0].y];
    let rows = i32(args[0].z);
    let at = select(asked, asked + rows, asked < 0);
    if (at < 0 || at >= rows) {
        if (atomicExchange(&status[4], 1u) == 0u) {
            atomicStore(&status[5], bitcast<u32>(asked));
            atomicStore(&status[6], args[0].z);
        }
        out[i] = 0u;
        return;
    }
    out[i] = source[args[1].x + u32(at) * args[0].y + i % args[0].y];
}
