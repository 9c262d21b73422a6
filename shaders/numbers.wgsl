// Numbers of rows that have no elements: they are only looked at.

fn item(i: u32) {
    fx_row(bitcast<i32>(index(i)), args.rows);
}
