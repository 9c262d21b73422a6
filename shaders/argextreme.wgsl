// The place of the first largest or smallest of some elements, of the first NaN if there is one. The op gives
// better(x, best) and is_nan(x), and of each thread: its elements, by count(i) and place(i, k), where their row begins, by
// start(i), and out(i, place).

fn item(i: u32) {
    let row = start(i);
    var at = place(i, 0u);
    var best = bitcast<x_type>(x(row + at));
    for (var k = 1u; k < count(i); k++) {
        let there = place(i, k);
        let next = bitcast<x_type>(x(row + there));
        let alike = (is_nan(next) && is_nan(best)) || (!is_nan(next) && !is_nan(best) && next == best);
        let ahead = !is_nan(best) && (is_nan(next) || better(next, best));
        let take = ahead || (alike && there < at);
        best = select(best, next, take);
        at = select(at, there, take);
    }
    out(i, at);
}
