// A reduction by one workgroup a row: every thread adds up a stride of the row, then a tree in workgroup memory.
// A long row is cut: workgroup y takes chunk y, and a second pass reduces the chunks.
// args[0] = rows, length, length of a chunk, chunks; args[1] = first row.

//<declarations
alias State = f32;

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 16>;
@group(0) @binding(1) var<storage, read> in0: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

fn identity() -> State {
    return 0.0;
}

fn load(row: u32, at: u32) -> State {
    return in0[row * args[0].y + at];
}

fn combine(a: State, b: State) -> State {
    return a + b;
}

fn store(row: u32, chunk: u32, value: State) {
    out0[row * args[0].w + chunk] = value;
}
//>

var<workgroup> part: array<State, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = group.x + args[1].x;
    let end = min((group.y + 1u) * args[0].z, args[0].y);
    var total = identity();
    for (var at = group.y * args[0].z + local; at < end; at += 256u) {
        total = combine(total, load(row, at));
    }
    part[local] = total;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half = half >> 1u) {
        if (local < half) {
            part[local] = combine(part[local], part[local + half]);
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        store(row, group.y, part[0]);
    }
}
