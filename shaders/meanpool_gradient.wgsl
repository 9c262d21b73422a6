// The adjoint of meanpool: to each element of the plane the sum over the windows that it lies in. One thread an element.

/// The first window that position `at`, counted from the margin's begin, lies in, and the first one behind.
fn windows(at: u32, kernel: u32, stride: u32, count: u32) -> vec2<u32> {
    let first = select(0u, (at - kernel) / stride + 1u, at >= kernel);
    return vec2<u32>(first, min(at / stride + 1u, count));
}

fn item(i: u32) {
    let start = i / (args.size_d * args.size_h * args.size_w) * args.out_d * args.out_h * args.out_w;
    let d = windows(i / (args.size_w * args.size_h) % args.size_d + args.before_d, args.kernel_d, args.stride_d, args.out_d);
    let h = windows(i / args.size_w % args.size_h + args.before_h, args.kernel_h, args.stride_h, args.out_h);
    let w = windows(i % args.size_w + args.before_w, args.kernel_w, args.stride_w, args.out_w);
    var sum = 0.0;
    for (var a = d.x; a < d.y; a++) {
        for (var b = h.x; b < h.y; b++) {
            for (var c = w.x; c < w.y; c++) {
                sum += bitcast<f32>(x(start + (a * args.out_h + b) * args.out_w + c));
            }
        }
    }
    out(i, bitcast<u32>(sum / (f32(args.kernel_d) * f32(args.kernel_h) * f32(args.kernel_w))));
}
