// The least value plus ⌊word · count / 2³²⌋; a count of 2³² takes the word as it is.

fn scaled(word: u32) -> u32 {
    return args.least_low + select(fx_mulhi(word, args.count_low), word, args.count_high != 0u);
}

fn make(block: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(scaled(block.x), scaled(block.y), scaled(block.z), scaled(block.w));
}
