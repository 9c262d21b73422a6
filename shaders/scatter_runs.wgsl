// The runs that go beyond a piece: the thread of the piece in which one begins adds its parts.

fn row_at(line: u32, p: u32) -> u32 {
    return key(index(line * args.taken + order[line * args.padded + p]));
}

fn part(line: u32, piece: u32, which: u32, column: u32) -> u32 {
    return ((line * args.pieces + piece) * 2u + which) * args.width + column;
}

// Whether the run at p goes on behind it.
fn goes_on(line: u32, p: u32) -> bool {
    return p + 1u < args.taken && row_at(line, min(p + 1u, args.taken - 1u)) == row_at(line, p);
}

fn item(i: u32) {
    let column = i % args.width;
    let piece = i / args.width % args.pieces;
    let line = i / args.width / args.pieces;
    let first = piece * 64u;
    let last = min(first + 64u, args.taken) - 1u;
    let row = row_at(line, last);
    let earlier = row_at(line, first) == row && first > 0u && row_at(line, max(first, 1u) - 1u) == row;
    if (earlier || row == 0xffffffffu || !goes_on(line, last)) {
        return;
    }
    var sum = parts[part(line, piece, 1u, column)];
    for (var next = piece + 1u; next < args.pieces; next++) {
        sum += parts[part(line, next, 0u, column)];
        let behind = min(next * 64u + 64u, args.taken) - 1u;
        if (row_at(line, behind) != row || !goes_on(line, behind)) {
            break;
        }
    }
    out((line * args.rows + row) * args.width + column, bitcast<u32>(sum));
}
