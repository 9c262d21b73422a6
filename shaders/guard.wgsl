// Looks at a loss before anything is committed: Inf or NaN, told by the bits, raises the flag with the step's number.
// The flag stays up until the host has seen it, so that later steps commit nothing either.
// args[0] = elements, number of the loss in its plan. status[7] is the number of the running step.

@group(0) @binding(0) var<uniform> args: array<vec4<u32>, 1>;
@group(0) @binding(1) var<storage, read> loss: array<u32>;
@group(0) @binding(2) var<storage, read_write> status: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    var bad = false;
    for (var i = local; i < args[0].x; i += 64u) {
        bad = bad || (loss[i] & 0x7f800000u) == 0x7f800000u;
    }
    if (bad) {
        let step = atomicLoad(&status[7]);
        if (atomicLoad(&status[0]) == 0u) {
            atomicStore(&status[1], step);
        }
        if (atomicLoad(&status[1]) == step) {
            atomicOr(&status[2], 1u << min(args[0].y, 31u));
        }
        atomicStore(&status[0], 1u);
    }
}
