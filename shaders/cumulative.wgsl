// Running sums, products and recurrences y[i] = x[i] y[i-1] + b[i] along an axis: one thread a line. The op gives
// step(y[i-1], x[i], b[i]).

fn item(line: u32) {
    let start = line / args.inner * args.length * args.inner + line % args.inner;
    var last = x_type();
    for (var i = 0u; i < args.length; i++) {
        let row = select(i, args.length - 1u - i, args.reverse == 1u);
        let at = start + row * args.inner;
        let add = bitcast<x_type>(b(at));
        last = select(step(last, bitcast<x_type>(x(at)), add), add, i == 0u);
        out(at, bitcast<u32>(last));
    }
}
