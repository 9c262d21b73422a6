// The sum of the elements of each window over its number of positions, of which those outside of the plane are zeros. One
// thread a window.

fn item(i: u32) {
    let start = i / (args.out_d * args.out_h * args.out_w) * args.size_d * args.size_h * args.size_w;
    let d = i32(i / (args.out_w * args.out_h) % args.out_d * args.stride_d) - i32(args.before_d);
    let h = i32(i / args.out_w % args.out_h * args.stride_h) - i32(args.before_h);
    let w = i32(i % args.out_w * args.stride_w) - i32(args.before_w);
    var sum = 0.0;
    for (var a = max(d, 0); a < min(d + i32(args.kernel_d), i32(args.size_d)); a++) {
        for (var b = max(h, 0); b < min(h + i32(args.kernel_h), i32(args.size_h)); b++) {
            for (var c = max(w, 0); c < min(w + i32(args.kernel_w), i32(args.size_w)); c++) {
                sum += bitcast<f32>(x(start + (u32(a) * args.size_h + u32(b)) * args.size_w + u32(c)));
            }
        }
    }
    out(i, bitcast<u32>(sum / (f32(args.kernel_d) * f32(args.kernel_h) * f32(args.kernel_w))));
}
