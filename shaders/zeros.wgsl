// Zeros, for what later passes add to.

fn item(i: u32) {
    out(i, 0u);
}
