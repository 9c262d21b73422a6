// The sum of each piece of a line.

fn item(i: u32) {
    let line = i % args.lines;
    let first = i / args.lines * args.step;
    let start = line / args.inner * args.length * args.inner + line % args.inner;
    var sum = x_type();
    for (var k = first; k < min(first + args.step, args.length); k++) {
        let value = bitcast<x_type>(x(start + row(k) * args.inner));
        sum = step(sum, value, value);
    }
    totals[i] = bitcast<u32>(sum);
}
