// Puts the pairs of indices at one distance in order, by their elements, then by themselves, so that equal elements keep
// their order. The op gives key(word): unsigned integers in the order of the elements.

// Whether index a of a row stands behind index b. Padding has the largest indices and stands behind everything.
fn behind(row: u32, a: u32, b: u32) -> bool {
    if (a >= args.length || b >= args.length) {
        return a > b;
    }
    let left = key(x(row * args.length + a));
    let right = key(x(row * args.length + b));
    return left > right || (left == right && a > b);
}

fn item(i: u32) {
    let row = i / (args.padded / 2u);
    let pair = i % (args.padded / 2u);
    let low = pair / args.distance * 2u * args.distance + pair % args.distance;
    let start = row * args.padded + low;
    let a = order[start];
    let b = order[start + args.distance];
    // Runs go up and down by turns, so that each pair of them is one bitonic sequence.
    if (behind(row, a, b) == ((low & args.run) == 0u)) {
        order[start] = b;
        order[start + args.distance] = a;
    }
}
