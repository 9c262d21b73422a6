// out[r, j] = x[r, index[r, j]]; 0 where the number is out of range.

fn item(i: u32) {
    let at = fx_row(bitcast<i32>(index(i)), args.length);
    if (at < 0) {
        out(i, 0u);
    } else {
        out(i, x(i / args.taken * args.length + u32(at)));
    }
}
