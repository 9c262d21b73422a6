// The adjoint of take_along: out[r, index[r, j]] += x[r, j] over zeros, one thread a row, so that the order is fixed.

fn item(row: u32) {
    for (var i = 0u; i < args.length; i++) {
        out[row * args.length + i] = 0.0;
    }
    for (var j = 0u; j < args.taken; j++) {
        let source = row * args.taken + j;
        let at = fx_row(bitcast<i32>(index(source)), args.length);
        if (at >= 0) {
            out[row * args.length + u32(at)] += bitcast<f32>(x(source));
        }
    }
}
