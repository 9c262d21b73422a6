// The last pass over long rows: the indices in order, without the padding.

fn item(i: u32) {
    out(i, order[i / args.length * args.padded + i % args.length]);
}
