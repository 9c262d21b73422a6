// The largest element of each window, and its place in the plane that the windows slide over: the first of equals, the first
// NaN if there is one. Positions outside of the plane are no elements. One thread a window. The op gives is_nan(x).

fn item(i: u32) {
    let start = i / (args.out_d * args.out_h * args.out_w) * args.size_d * args.size_h * args.size_w;
    let d = i32(i / (args.out_w * args.out_h) % args.out_d * args.stride_d) - i32(args.before_d);
    let h = i32(i / args.out_w % args.out_h * args.stride_h) - i32(args.before_h);
    let w = i32(i % args.out_w * args.stride_w) - i32(args.before_w);
    var place = (u32(max(d, 0)) * args.size_h + u32(max(h, 0))) * args.size_w + u32(max(w, 0));
    var best = bitcast<x_type>(x(start + place));
    for (var a = max(d, 0); a < min(d + i32(args.kernel_d), i32(args.size_d)); a++) {
        for (var b = max(h, 0); b < min(h + i32(args.kernel_h), i32(args.size_h)); b++) {
            for (var c = max(w, 0); c < min(w + i32(args.kernel_w), i32(args.size_w)); c++) {
                let at = (u32(a) * args.size_h + u32(b)) * args.size_w + u32(c);
                let next = bitcast<x_type>(x(start + at));
                let take = !is_nan(best) && (is_nan(next) || next > best);
                best = select(best, next, take);
                place = select(place, at, take);
            }
        }
    }
    out(i, place);
    elements(i, bitcast<u32>(best));
}
