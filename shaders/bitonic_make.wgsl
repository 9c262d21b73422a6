// Long rows are sorted in many passes: this first one makes a row of indices for each, padded to a power of two.

fn item(i: u32) {
    order[i] = i % args.padded;
}
