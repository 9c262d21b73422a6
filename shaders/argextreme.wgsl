// The place of the first largest or smallest element of each row, of the first NaN if there is one: one thread a row.
// args[0] = rows, length, offset, workgroups in a row of the grid.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 1>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

//<better
alias Scalar = f32;

fn better(x: Scalar, best: Scalar) -> bool {
    return x > best;
}

fn is_nan(word: u32) -> bool {
    return fx_isnan(bitcast<f32>(word));
}
//>

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (group.y * args[0].w + group.x) * 64u + local;
    if (row >= args[0].x) {
        return;
    }
    let start = args[0].z + row * args[0].y;
    var best = x[start];
    var place = 0u;
    for (var i = 1u; i < args[0].y; i++) {
        let word = x[start + i];
        let take = !is_nan(best) && (is_nan(word) || better(bitcast<Scalar>(word), bitcast<Scalar>(best)));
        best = select(best, word, take);
        place = select(place, i, take);
    }
    out[row] = place;
}
