// Rows by number: out[i, …] = x[index[i], …]; zeros where the number is out of range.

fn item(i: u32) {
    let row = fx_row(bitcast<i32>(index(i / args.width)), args.rows);
    if (row < 0) {
        out(i, 0u);
    } else {
        out(i, x(u32(row) * args.width + i % args.width));
    }
}
