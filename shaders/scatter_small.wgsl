// The adjoint of taking elements by number, where they are few: each thread has an element of the result and looks at all
// numbers, so that sums are in their order.

fn item(i: u32) {
    let line = i / args.width / args.rows;
    let row = i / args.width % args.rows;
    var sum = 0.0;
    for (var j = 0u; j < args.taken; j++) {
        let source = line * args.taken + j;
        if (fx_row(bitcast<i32>(index(source)), args.rows) == i32(row)) {
            sum += bitcast<f32>(x(source * args.width + i % args.width));
        }
    }
    out(i, bitcast<u32>(sum));
}
