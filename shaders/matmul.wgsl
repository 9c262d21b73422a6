// A product of batches of matrices: 8x8 threads, 4x4 results a thread, K in steps of 8 through workgroup memory.
// Every tile adds K in ascending order, so a result does not depend on the tile. The generator replaces what stands
// between `<` and `>` markers: loads that read through an index map, a store that runs the fused epilogue.
// args.m, args.k and args.n are its sizes; args.batch, args.row and args.col say where a dispatch begins: batch and tiles.

//<declarations
alias Scalar = f32;

struct Args {
    m: u32,
    k: u32,
    n: u32,
    batch: u32,
    row: u32,
    col: u32,
}

@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> in0: array<f32>;
@group(0) @binding(2) var<storage, read> in1: array<f32>;
@group(0) @binding(3) var<storage, read_write> out0: array<f32>;

fn load_a(batch: u32, row: u32, col: u32) -> Scalar {
    return in0[(batch * args.m + row) * args.k + col];
}

fn load_b(batch: u32, row: u32, col: u32) -> Scalar {
    return in1[(batch * args.k + row) * args.n + col];
}

fn store(batch: u32, row: u32, col: u32, value: Scalar) {
    out0[(batch * args.m + row) * args.n + col] = value;
}
//>

// Rows of A and columns of B come as vectors of four neighbours.
var<workgroup> tile_a: array<vec4<Scalar>, 64>;
var<workgroup> tile_b: array<vec4<Scalar>, 64>;

fn guarded_a(batch: u32, row: u32, col: u32) -> Scalar {
    if (row < args.m && col < args.k) {
        return load_a(batch, row, col);
    }
    return Scalar();
}

fn guarded_b(batch: u32, row: u32, col: u32) -> Scalar {
    if (row < args.k && col < args.n) {
        return load_b(batch, row, col);
    }
    return Scalar();
}

fn store_row(batch: u32, row: u32, col: u32, v: vec4<Scalar>) {
    if (row >= args.m) {
        return;
    }
    if (col < args.n) {
        store(batch, row, col, v.x);
    }
    if (col + 1u < args.n) {
        store(batch, row, col + 1u, v.y);
    }
    if (col + 2u < args.n) {
        store(batch, row, col + 2u, v.z);
    }
    if (col + 3u < args.n) {
        store(batch, row, col + 3u, v.w);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let batch = group.z + args.batch;
    let row0 = (group.y + args.row) * 32u;
    let col0 = (group.x + args.col) * 32u;
    let ty = local >> 3u;
    let tx = local & 7u;
    var c0 = vec4<Scalar>();
    var c1 = vec4<Scalar>();
    var c2 = vec4<Scalar>();
    var c3 = vec4<Scalar>();
    for (var k0 = 0u; k0 < args.k; k0 += 8u) {
        // Of A: thread (ty, tx) brings rows 4 ty … 4 ty + 3 at k0 + tx; of B: row k0 + ty, columns 4 tx … 4 tx + 3.
        let ra = row0 + 4u * ty;
        let ka = k0 + tx;
        tile_a[tx * 8u + ty] = vec4<Scalar>(guarded_a(batch, ra, ka), guarded_a(batch, ra + 1u, ka),
            guarded_a(batch, ra + 2u, ka), guarded_a(batch, ra + 3u, ka));
        let kb = k0 + ty;
        let cb = col0 + 4u * tx;
        tile_b[local] = vec4<Scalar>(guarded_b(batch, kb, cb), guarded_b(batch, kb, cb + 1u),
            guarded_b(batch, kb, cb + 2u), guarded_b(batch, kb, cb + 3u));
        workgroupBarrier();
        //<unroll step 8
        for (var step = 0u; step < 8u; step++) {
            let a = tile_a[step * 8u + ty];
            let b = tile_b[step * 8u + tx];
            c0 += a.x * b;
            c1 += a.y * b;
            c2 += a.z * b;
            c3 += a.w * b;
        }
        //>
        workgroupBarrier();
    }
    let row = row0 + 4u * ty;
    let col = col0 + 4u * tx;
    store_row(batch, row, col, c0);
    store_row(batch, row + 1u, col, c1);
    store_row(batch, row + 2u, col, c2);
    store_row(batch, row + 3u, col, c3);
}
