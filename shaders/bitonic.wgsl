// The indices that sort long rows, in many dispatches: each row of indices, padded to a power of two, is made, then its
// pairs at one distance are put in order, distance by distance, and at the end what is no padding is handed out.
// An element is ordered by its key, then by its index, so that equal elements keep their order. Behind key.wgsl.
// args[0] = items, length of a row, offset, workgroups in a row of the grid;
// args[1] = padded length, size of the runs that are merged, distance, what to do: 0 make, 1 order, 2 hand out.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

// Whether index a of a row stands behind index b. Padding has the largest indices and stands behind everything.
fn behind(row: u32, a: u32, b: u32) -> bool {
    let length = args[0].y;
    if (a >= length || b >= length) {
        return a > b;
    }
    let left = key(x[args[0].z + row * length + a]);
    let right = key(x[args[0].z + row * length + b]);
    return left > right || (left == right && a > b);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * args[0].w + group.x) * 256u + local;
    if (i >= args[0].x) {
        return;
    }
    let padded = args[1].x;
    if (args[1].w == 0u) {
        order[i] = i % padded;
    } else if (args[1].w == 2u) {
        out[i] = order[i / args[0].y * padded + i % args[0].y];
    } else {
        let row = i / (padded / 2u);
        let pair = i % (padded / 2u);
        let distance = args[1].z;
        let low = pair / distance * 2u * distance + pair % distance;
        let start = row * padded + low;
        let a = order[start];
        let b = order[start + distance];
        // Runs go up and down by turns, so that each pair of them is one bitonic sequence.
        if (behind(row, a, b) == ((low & args[1].y) == 0u)) {
            order[start] = b;
            order[start + distance] = a;
        }
    }
}
