// Systems A·X = B, inverses and determinants, one workgroup a matrix: elimination with partial pivoting in a copy of (A, B).
// args.wanted = 0 for X, 1 for the inverse, which takes the identity for B, 2 for the determinant, which has no B, 3 for the
// adjugate, det A · A⁻¹ of a singular A too, which takes the identity and has complete pivots, so that only its last can be 0.

var<workgroup> largest: array<f32, 256>;
var<workgroup> place: array<u32, 256>;
// Which columns of the adjugate changed places; its order is below 512.
var<workgroup> columns: array<u32, 512>;

fn start(matrix: u32, row: u32, col: u32) -> f32 {
    let n = args.n;
    if (col < n) {
        return bitcast<f32>(a((matrix * n + row) * n + col));
    }
    if (args.wanted == 1u || args.wanted == 3u) {
        return select(0.0, 1.0, col - n == row);
    }
    return bitcast<f32>(b((matrix * n + row) * args.k + col - n));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let matrix = args.base + group.y * args.across + group.x;
    if (matrix >= args.end) {
        return;
    }
    let n = args.n;
    let k = args.k;
    let width = n + k;
    let base = matrix * n * width;
    for (var i = local; i < n * width; i += 256u) {
        work[base + i] = start(matrix, i / width, i % width);
    }
    let complete = args.wanted == 3u;
    var determinant = 1.0;
    var missing = 0u;
    for (var c = 0u; c < n; c++) {
        storageBarrier();
        workgroupBarrier();
        // The first of the largest elements of the column is the pivot.
        var mine = -1.0;
        var at = c * n + c;
        let across = select(1u, n - c, complete);
        for (var i = local; i < (n - c) * across; i += 256u) {
            let r = c + i / across;
            let q = c + i % across;
            let size = abs(work[base + r * width + q]);
            if (size > mine) {
                mine = size;
                at = r * n + q;
            }
        }
        largest[local] = mine;
        place[local] = at;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half = half >> 1u) {
            if (local < half) {
                let other = largest[local + half];
                if (other > largest[local] || (other == largest[local] && place[local + half] < place[local])) {
                    largest[local] = other;
                    place[local] = place[local + half];
                }
            }
            workgroupBarrier();
        }
        let top = base + c * width;
        let found = base + place[0] / n * width;
        let column = place[0] % n;
        for (var j = c + local; j < width; j += 256u) {
            let upper = work[top + j];
            work[top + j] = work[found + j];
            work[found + j] = upper;
        }
        storageBarrier();
        workgroupBarrier();
        if (complete) {
            for (var r = local; r < n; r += 256u) {
                let left = work[base + r * width + c];
                work[base + r * width + c] = work[base + r * width + column];
                work[base + r * width + column] = left;
            }
            if (local == 0u) {
                columns[c] = column;
            }
            storageBarrier();
            workgroupBarrier();
        }
        let pivot = work[top + c];
        missing += select(0u, 1u, pivot == 0.0);
        let part = select(pivot, 1.0, complete && pivot == 0.0);
        determinant *= select(-part, part, (found == top) == (column == c));
        if (local == 0u && pivot == 0.0 && args.wanted < 2u) {
            fx_raise(c, select(matrix, 0xffffffffu, args.items == 1u));
        }
        let rest = width - c - 1u;
        for (var i = local; i < (n - c - 1u) * rest; i += 256u) {
            let line = base + (c + 1u + i / rest) * width;
            let j = c + 1u + i % rest;
            let factor = select(work[line + c] / pivot, 0.0, pivot == 0.0);
            work[line + j] -= factor * work[top + j];
        }
    }
    if (complete && missing > 0u) {
        // Without the last pivot only the last row counts.
        for (var i = local; i < (n - 1u) * n; i += 256u) {
            work[base + i / n * width + n + i % n] = 0.0;
        }
        if (local == 0u) {
            work[base + n * width - n - 1u] = 1.0;
        }
    }
    // Back from the last row: each row solved is taken away from those above it.
    for (var turn = 0u; turn < n; turn++) {
        let c = n - 1u - turn;
        let top = base + c * width;
        storageBarrier();
        workgroupBarrier();
        for (var j = n + local; j < width; j += 256u) {
            work[top + j] = work[top + j] / work[top + c];
        }
        storageBarrier();
        workgroupBarrier();
        for (var i = local; i < c * k; i += 256u) {
            let line = base + i / k * width;
            let j = n + i % k;
            work[line + j] -= work[line + c] * work[top + j];
        }
    }
    storageBarrier();
    workgroupBarrier();
    if (args.wanted == 2u) {
        if (local == 0u) {
            out(matrix, bitcast<u32>(determinant));
        }
        return;
    }
    for (var i = local; i < n * k; i += 256u) {
        var row = i / k;
        if (complete) {
            for (var turn = 0u; turn < n; turn++) {
                let c = n - 1u - turn;
                row = select(select(row, c, row == columns[c]), columns[c], row == c);
            }
        }
        let solved = work[base + i / k * width + n + i % k];
        let value = select(solved, select(determinant * solved, 0.0, missing > 1u), complete);
        out(matrix * n * k + row * k + i % k, bitcast<u32>(value));
    }
}
