// The last pass over long rows: the indices in order, without the padding, and the elements there.

fn item(i: u32) {
    let row = i / args.length;
    let place = order[row * args.padded + i % args.length];
    out(i, place);
    elements(i, x(row * args.length + place));
}
