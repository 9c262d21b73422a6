// The place of the first largest or smallest element of each row, of the first NaN if there is one: one thread a row.
// The op gives better(x, best) and is_nan(x).

fn item(row: u32) {
    let start = row * args.length;
    var best = bitcast<x_type>(x(start));
    var place = 0u;
    for (var i = 1u; i < args.length; i++) {
        let next = bitcast<x_type>(x(start + i));
        let take = !is_nan(best) && (is_nan(next) || better(next, best));
        best = select(best, next, take);
        place = select(place, i, take);
    }
    out(row, place);
}
