// A reduction by one thread a result: for short lengths, and where neighbouring results read neighbouring elements.
// args[0] = results, length, threads in a row of workgroups; args[1] = first result.

//<declarations
alias State = f32;

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 16>;
@group(0) @binding(1) var<storage, read> in0: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

fn identity() -> State {
    return 0.0;
}

fn load(row: u32, at: u32) -> State {
    return in0[at * args[0].x + row];
}

fn combine(a: State, b: State) -> State {
    return a + b;
}

fn store(row: u32, chunk: u32, value: State) {
    out0[row] = value;
}
//>

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * args[0].z + id.x + args[1].x;
    if (row >= args[0].x) {
        return;
    }
    var total = identity();
    for (var at = 0u; at < args[0].y; at++) {
        total = combine(total, load(row, at));
    }
    store(row, 0u, total);
}
