//! The machine's instructions as bytes: the few that programs need, in the VEX form for AVX2 and the EVEX form for AVX-512.

use crate::simd::isa::Level;

/// A vector register, or in AVX-512 a mask register where the text says so.
pub type Vector = u8;
/// A general register.
pub type General = u8;

/// The elements left to do, from the first of them on.
pub const INDEX: General = 6;
/// The caller's list of addresses.
pub const LIST: General = 7;
/// Free for an address that is needed once.
pub const ADDRESS: General = 0;
/// A general register for what nobody else uses.
pub const SPARE: General = 2;

/// The operand that may lie in memory.
#[derive(Clone, Copy)]
pub enum Place {
    Register(Vector),
    /// At this address.
    At(General),
    /// The elements of so many bytes from this address on, at the index, and so many bytes on.
    Indexed(General, u8, i32),
    /// Behind the code; see [`Assembler::pool`].
    Pool(usize),
}

/// The prefix that belongs to an opcode.
#[derive(Clone, Copy)]
pub enum Prefix {
    None = 0,
    P66 = 1,
    PF3 = 2,
    PF2 = 3,
}

/// The table that an opcode is of.
#[derive(Clone, Copy)]
pub enum Table {
    T0F = 1,
    T0F38 = 2,
    T0F3A = 3,
}

/// An instruction's code.
#[derive(Clone, Copy)]
pub struct Code {
    pub table: Table,
    pub prefix: Prefix,
    pub wide: bool,
    pub opcode: u8,
}

/// A mask of AVX-512, and whether it makes the other elements zero.
#[derive(Clone, Copy, Default)]
pub struct Masked {
    pub by: u8,
    pub zero: bool,
}

/// Bytes of a vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    L128 = 0,
    L256 = 1,
    L512 = 2,
}

pub struct Assembler {
    pub bytes: Vec<u8>,
    pub level: Level,
    /// Constants behind the code, by their bits, and the places in the code that say how far away they are.
    pool: Vec<u64>,
    uses: Vec<(usize, usize)>,
}

impl Assembler {
    pub fn new(level: Level) -> Assembler {
        Assembler { bytes: Vec::new(), level, pool: Vec::new(), uses: Vec::new() }
    }

    pub fn is_512(&self) -> bool {
        self.level == Level::Avx512
    }

    /// The place of a constant of up to eight bytes.
    pub fn pool(&mut self, bits: u64) -> Place {
        let known = self.pool.iter().position(|&b| b == bits);
        Place::Pool(known.unwrap_or_else(|| {
            self.pool.push(bits);
            self.pool.len() - 1
        }))
    }

    /// An instruction on whole vectors.
    pub fn whole(&mut self, code: Code, dst: u8, first: u8, second: Place, masked: Masked) {
        let length = if self.is_512() { Length::L512 } else { Length::L256 };
        self.vector(code, length, dst, first, second, masked);
    }

    /// An instruction with a destination, a first operand (0 where it has none) and a second one.
    pub fn vector(&mut self, code: Code, length: Length, dst: u8, first: u8, second: Place, masked: Masked) {
        if self.is_512() {
            self.evex(code, length, dst, first, second, masked);
        } else {
            self.vex(code, length == Length::L256, dst, first, second);
        }
    }

    /// The high bits of the second operand's register, and of its index: all three as the prefixes want them, not inverted.
    fn high(second: Place) -> (u8, u8) {
        match second {
            Place::Register(r) => (r >> 3 & 1, r >> 4),
            Place::At(g) | Place::Indexed(g, ..) => (g >> 3, 0),
            Place::Pool(_) => (0, 0),
        }
    }

    pub fn vex(&mut self, code: Code, l256: bool, dst: u8, first: u8, second: Place) {
        let (b, _) = Self::high(second);
        let one = (dst >> 3 & 1 ^ 1) << 7 | 1 << 6 | (b ^ 1) << 5 | code.table as u8;
        let two = (code.wide as u8) << 7 | (!first & 15) << 3 | (l256 as u8) << 2 | code.prefix as u8;
        self.bytes.extend([0xc4, one, two, code.opcode]);
        self.operand(dst, second);
    }

    fn evex(&mut self, code: Code, length: Length, dst: u8, first: u8, second: Place, masked: Masked) {
        let (b, x) = Self::high(second);
        let one = (dst >> 3 & 1 ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (dst >> 4 ^ 1) << 4 | code.table as u8;
        let two = (code.wide as u8) << 7 | (!first & 15) << 3 | 1 << 2 | code.prefix as u8;
        let three = (masked.zero as u8) << 7 | (length as u8) << 5 | (first >> 4 ^ 1) << 3 | masked.by;
        self.bytes.extend([0x62, one, two, three, code.opcode]);
        self.operand(dst, second);
    }

    /// The bytes behind an opcode that say where its operands are.
    fn operand(&mut self, reg: u8, second: Place) {
        let reg = (reg & 7) << 3;
        match second {
            Place::Register(r) => self.bytes.push(0xc0 | reg | r & 7),
            Place::At(g) => self.bytes.push(reg | g & 7),
            Place::Indexed(g, size, far) if far != 0 => {
                self.bytes.extend([0x80 | reg | 4, (size.trailing_zeros() as u8) << 6 | INDEX << 3 | g & 7]);
                self.bytes.extend(far.to_le_bytes());
            }
            Place::Indexed(g, size, _) => {
                self.bytes.extend([reg | 4, (size.trailing_zeros() as u8) << 6 | INDEX << 3 | g & 7]);
            }
            Place::Pool(k) => {
                self.bytes.push(reg | 5);
                self.uses.push((self.bytes.len(), k));
                self.bytes.extend([0; 4]);
            }
        }
    }

    /// general = the list's entry `k`.
    pub fn address(&mut self, general: General, k: u16) {
        self.bytes.extend([0x48 | general >> 3 << 2, 0x8b, 0x80 | (general & 7) << 3 | LIST]);
        self.bytes.extend((u32::from(k) * 8).to_le_bytes());
    }

    /// Arithmetic with a small constant: 0 adds, 5 subtracts, 7 compares.
    pub fn small(&mut self, op: u8, general: General, n: i8) {
        self.bytes.extend([0x48, 0x83, 0xc0 | op << 3 | general, n as u8]);
    }

    /// An instruction of two general registers below 8, the first of which it may change.
    pub fn general(&mut self, opcode: u8, dst: General, src: General) {
        self.bytes.extend([0x48, opcode, 0xc0 | src << 3 | dst]);
    }

    /// A jump on a condition, to be told where.
    pub fn jump(&mut self, condition: u8) -> usize {
        self.bytes.extend([0x0f, 0x80 | condition, 0, 0, 0, 0]);
        self.bytes.len()
    }

    /// The jump that ends at `jump` goes to `to`.
    pub fn land(&mut self, jump: usize, to: usize) {
        let far = to as i32 - jump as i32;
        self.bytes[jump - 4..jump].copy_from_slice(&far.to_le_bytes());
    }

    /// Where loops begin.
    pub fn align(&mut self) {
        let end = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(end, 0x90);
    }

    /// Takes back what was appended behind `start`.
    pub fn cancel(&mut self, start: usize) {
        self.bytes.truncate(start);
        self.uses.retain(|&(at, _)| at < start);
        if self.uses.is_empty() {
            self.pool.clear();
        }
    }

    /// Puts the constants behind the code.
    pub fn finish(&mut self) {
        let end = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(end, 0x90);
        for (at, k) in std::mem::take(&mut self.uses) {
            let far = (end + 8 * k) as i32 - (at as i32 + 4);
            self.bytes[at..at + 4].copy_from_slice(&far.to_le_bytes());
        }
        for bits in std::mem::take(&mut self.pool) {
            self.bytes.extend(bits.to_le_bytes());
        }
    }
}
