// Running sums, products and recurrences y[i] = x[i] y[i-1] + b[i] along an axis: one thread a line.
// args[0] = lines, length, elements behind the axis, workgroups in a row of the grid; args[1] = offsets of x and b, and
// whether the line runs backwards.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

//<step
alias Scalar = f32;

fn step(last: Scalar, x: Scalar, b: Scalar) -> Scalar {
    return last + x;
}
//>

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let line = (group.y * args[0].w + group.x) * 64u + local;
    if (line >= args[0].x) {
        return;
    }
    let inner = args[0].z;
    let start = line / inner * args[0].y * inner + line % inner;
    var last = Scalar();
    for (var i = 0u; i < args[0].y; i++) {
        let row = select(i, args[0].y - 1u - i, args[1].z == 1u);
        let at = start + row * inner;
        let add = bitcast<Scalar>(b[args[1].y + at]);
        last = select(step(last, bitcast<Scalar>(x[args[1].x + at]), add), add, i == 0u);
        out[at] = bitcast<u32>(last);
    }
}
