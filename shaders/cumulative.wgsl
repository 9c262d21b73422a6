// Running sums, products and recurrences y[i] = x[i] y[i-1] + b[i] along an axis: each thread goes through one piece of a line.
// The op gives step(y[i-1], x[i], b[i]), and before(line, piece, start), the value before a piece that is not the first.

fn item(i: u32) {
    let line = i % args.lines;
    let piece = i / args.lines + args.piece;
    let start = line / args.inner * args.length * args.inner + line % args.inner;
    let first = piece * args.step;
    var last = x_type();
    if (piece > 0u) {
        last = before(line, piece, start);
    }
    for (var k = first; k < min(first + args.step, args.length); k++) {
        let at = start + row(k) * args.inner;
        let add = bitcast<x_type>(b(at));
        last = select(step(last, bitcast<x_type>(x(at)), add), add, k == 0u);
        out(at, last);
    }
}
