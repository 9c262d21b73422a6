// Rows by number: out[i, …] = source[index[i], …]; zeros where the number is out of range. Behind indexed.wgsl.
// args[0] = elements, width of a row, rows, workgroups in a row of the grid.

@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let at = place(i / args[0].y, args[0].z);
    if (at < 0) {
        out[i] = 0u;
    } else {
        out[i] = source[args[1].x + u32(at) * args[0].y + i % args[0].y];
    }
}
