// The adjoint of gather: adds rows to the rows they came from. The result was zeroed before.
// Floats are added by compare-and-swap, since not every backend has float atomics; the order of the sums is not fixed.

fn add(at: u32, word: u32) {
    var old = atomicLoad(&out[at]);
    loop {
        let sum = bitcast<u32>(bitcast<f32>(old) + bitcast<f32>(word));
        let swapped = atomicCompareExchangeWeak(&out[at], old, sum);
        if (swapped.exchanged) {
            break;
        }
        old = swapped.old_value;
    }
}

fn item(i: u32) {
    let row = fx_row(bitcast<i32>(index(i / args.width)), args.rows);
    if (row >= 0) {
        add(u32(row) * args.width + i % args.width, x(i));
    }
}
