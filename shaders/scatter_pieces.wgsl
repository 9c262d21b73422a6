// The adjoint of taking elements by number, for many: numbers are in order, so that what goes to one row stands together, a
// run. Each thread has 64 of them and a column. Runs that lie within are summed; of those that go beyond, the parts.

fn row_at(line: u32, p: u32) -> u32 {
    return key(index(line * args.taken + order[line * args.padded + p]));
}

// Where the part of a run lies that begins before a piece (0) or within it (1).
fn part(line: u32, piece: u32, which: u32, column: u32) -> u32 {
    return ((line * args.pieces + piece) * 2u + which) * args.width + column;
}

fn item(i: u32) {
    let column = i % args.width;
    let piece = i / args.width % args.pieces;
    let line = i / args.width / args.pieces;
    let first = piece * 64u;
    let end = min(first + 64u, args.taken);
    var row = row_at(line, first);
    var inside = first == 0u || row_at(line, max(first, 1u) - 1u) != row;
    var sum = 0.0;
    for (var p = first; p < end; p++) {
        sum += bitcast<f32>(x((line * args.taken + order[line * args.padded + p]) * args.width + column));
        let next = row_at(line, min(p + 1u, args.taken - 1u));
        let ends = p + 1u == args.taken || next != row;
        if (ends && inside && row != 0xffffffffu) {
            out((line * args.rows + row) * args.width + column, bitcast<u32>(sum));
        }
        if ((ends && !inside) || (!ends && p + 1u == end)) {
            parts[part(line, piece, select(0u, 1u, inside), column)] = sum;
        }
        if (ends) {
            sum = 0.0;
            row = next;
            inside = true;
        }
    }
}
