// Random numbers: one Philox block of four words a thread, the same bits as the CPU's. The op gives make(block): the words
// of four elements.

fn item(block: u32) {
    let low = args.first_low + block;
    let high = args.first_high + select(0u, 1u, low < block);
    let made = make(fx_philox(vec4<u32>(low, high, 0u, 0u), vec2<u32>(args.seed_low, args.seed_high)));
    let i = block * 4u;
    out(i, made.x);
    if (i + 1u < args.elements) {
        out(i + 1u, made.y);
    }
    if (i + 2u < args.elements) {
        out(i + 2u, made.z);
    }
    if (i + 3u < args.elements) {
        out(i + 3u, made.w);
    }
}
