// The sums of the pieces of a line become those of all that is before each.

fn item(line: u32) {
    var sum = x_type();
    for (var piece = 0u; piece < args.pieces; piece++) {
        let at = piece * args.lines + line;
        let value = bitcast<x_type>(totals[at]);
        totals[at] = bitcast<u32>(sum);
        sum = step(sum, value, value);
    }
}
