// What the kernels that go by numbers of rows share: it stands before each of them.
// args[1] = offset of what is read, offset of the index, number of the op in the messages.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 2>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

// The place on an axis of this length that element i of the index names: negative numbers count from the end. For one that
// is out of range it is -1, and a flag is raised with the number and the length.
fn place(i: u32, length: u32) -> i32 {
    let asked = index[args[1].y + i];
    let at = select(asked, asked + i32(length), asked < 0);
    if (at >= 0 && at < i32(length)) {
        return at;
    }
    if (atomicExchange(&status[4], args[1].z) == 0u) {
        atomicStore(&status[5], bitcast<u32>(asked));
        atomicStore(&status[6], length);
    }
    return -1;
}
