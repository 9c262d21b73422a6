// The adjoint of gather: adds rows to the rows they came from. The result was zeroed before. Behind indexed.wgsl.
// Floats are added by compare-and-swap, since not every backend has float atomics; the order of the sums is not fixed.
// args[0] = elements, width of a row, rows, workgroups in a row of the grid.

@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<atomic<u32>>;

fn add(at: u32, word: u32) {
    var old = atomicLoad(&out[at]);
    loop {
        let sum = bitcast<u32>(bitcast<f32>(old) + bitcast<f32>(word));
        let swapped = atomicCompareExchangeWeak(&out[at], old, sum);
        if (swapped.exchanged) {
            break;
        }
        old = swapped.old_value;
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let at = place(i / args[0].y, args[0].z);
    if (at >= 0) {
        add(u32(at) * args[0].y + i % args[0].y, source[args[1].x + i]);
    }
}
