//! A fast mixing hash for keys that are compared by 64 or 128 bits.

/// Folds the 128-bit product of two words: every bit of the input reaches every bit of the output.
fn fold(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    wide as u64 ^ (wide >> 64) as u64
}

#[derive(Clone, Copy)]
pub struct Hasher(u64);

impl Hasher {
    pub fn new(seed: u64) -> Hasher {
        Hasher(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    #[inline(always)]
    pub fn add(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xA076_1D64_78BD_642F).wrapping_add(word.rotate_left(23));
    }

    pub fn finish(self) -> u64 {
        fold(self.0, 0xE703_7ED1_A0B4_28DB)
    }
}

/// 128 bits from two independent mixes of the same words.
#[derive(Clone, Copy)]
pub struct Hasher128(u64, u64);

impl Default for Hasher128 {
    fn default() -> Self {
        Hasher128(0x8EBC_6AF0_9C88_C6E3, 0x5899_65CC_7537_4CC3)
    }
}

impl Hasher128 {
    #[inline(always)]
    pub fn add(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xA076_1D64_78BD_642F).wrapping_add(word);
        self.1 = fold(self.1.rotate_left(29) ^ word, 0xE703_7ED1_A0B4_28DB) ^ word;
    }

    pub fn finish(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }
}
