// The means of the values that a query's keys weigh, and the logarithm of the sum of the weights: one workgroup a query. It goes
// through the keys 64 at a time, with the largest score so far taken from all of them. The op gives masked(score, i) and scale().

var<workgroup> weights: array<f32, 64>;

/// Less than any score: of a key that is not seen.
fn fx_none() -> f32 {
    return -3.4e38;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = args.base + group.y * args.across + group.x;
    if (row >= args.end) {
        return;
    }
    let batch = row / args.t;
    let width = args.e + 1u;
    // The last query sees all keys.
    let limit = row % args.t + 1u + args.s;
    let seen = select(args.s, select(0u, limit - args.t, limit > args.t), args.causal == 1u);
    var most = fx_none();
    var sum = 0.0;
    for (var c = local; c < args.e; c += 64u) {
        out[row * width + c] = 0.0;
    }
    for (var first = 0u; first < seen; first += 64u) {
        let j = first + local;
        var score = fx_none();
        if (j < seen) {
            var total = 0.0;
            for (var i = 0u; i < args.d; i++) {
                total += bitcast<f32>(q(row * args.d + i)) * bitcast<f32>(k((batch * args.s + j) * args.d + i));
            }
            score = masked(total * scale(), row * args.s + j);
        }
        workgroupBarrier();
        weights[local] = score;
        workgroupBarrier();
        var top = most;
        for (var i = 0u; i < 64u; i++) {
            top = select(top, weights[i], weights[i] > top);
        }
        workgroupBarrier();
        weights[local] = select(fx_exp(score - top), 0.0, score <= fx_none());
        workgroupBarrier();
        let before = select(fx_exp(most - top), 0.0, most <= fx_none());
        sum *= before;
        for (var i = 0u; i < 64u; i++) {
            sum += weights[i];
        }
        let count = min(64u, seen - first);
        for (var c = local; c < args.e; c += 64u) {
            var total = out[row * width + c] * before;
            for (var i = 0u; i < count; i++) {
                total += weights[i] * bitcast<f32>(v((batch * args.s + first + i) * args.e + c));
            }
            out[row * width + c] = total;
        }
        most = top;
    }
    let none = sum == 0.0;
    for (var c = local; c < args.e; c += 64u) {
        out[row * width + c] = select(out[row * width + c] / sum, 0.0, none);
    }
    if (local == 0u) {
        out[row * width + args.e] = select(most + fx_log(sum), fx_inf(), none);
    }
}
