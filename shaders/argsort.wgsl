// The indices that sort each row; equal elements keep their order, NaN is last. An element counts those before it, which
// is quadratic in the length of a row, and short rows are what this is for. The op gives key(word): unsigned integers in
// the order of the elements.

fn item(i: u32) {
    let start = i / args.length * args.length;
    let own = i % args.length;
    let mine = key(x(i));
    var rank = 0u;
    for (var j = 0u; j < args.length; j++) {
        let other = key(x(start + j));
        rank += select(0u, 1u, other < mine || (other == mine && j < own));
    }
    out(start + rank, own);
    elements(start + rank, x(i));
}
