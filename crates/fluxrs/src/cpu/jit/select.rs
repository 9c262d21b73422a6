//! The instructions of each step, for registers that are known.

use super::emit::{Emitter, REST_256, REST_512};
use super::encode::{Code, Length, Masked, Place, Prefix, Table, Vector};
use crate::simd::trace::{Binary, Id, Round, Step};

impl Emitter<'_> {
    /// The code of a float instruction whose form for float64 has the prefix 66.
    pub(super) fn float(&self, table: Table, opcode: u8) -> Code {
        let prefix = if self.double { Prefix::P66 } else { Prefix::None };
        Code { table, prefix, wide: self.double && self.asm.is_512(), opcode }
    }

    /// The code of an instruction whose form for 8 bytes is the wide one.
    pub(super) fn sized(&self, table: Table, opcode: u8) -> Code {
        Code { table, prefix: Prefix::P66, wide: self.double, opcode }
    }

    pub(super) fn binary(&mut self, op: Binary, dst: Vector, x: Vector, y: Vector) {
        let code = match op {
            Binary::AddBits | Binary::SubtractBits => {
                let opcode = match (op, self.double) {
                    (Binary::AddBits, true) => 0xd4,
                    (Binary::SubtractBits, true) => 0xfb,
                    _ => op as u8,
                };
                Code { wide: self.double && self.asm.is_512(), ..self.sized(Table::T0F, opcode) }
            }
            _ => self.float(Table::T0F, op as u8),
        };
        self.asm.whole(code, dst, x, Place::Register(y), Masked::default());
    }

    pub(super) fn shift(&mut self, dst: Vector, x: Vector, by: u8, up: bool) {
        let opcode = if self.double { 0x73 } else { 0x72 };
        let code = Code { wide: self.double && self.asm.is_512(), ..self.sized(Table::T0F, opcode) };
        // The opcode's other half stands where most have their destination.
        let half = if up { 6 } else { 2 };
        self.asm.whole(code, half, dst, Place::Register(x), Masked::default());
        self.asm.bytes.push(by);
    }

    pub(super) fn round(&mut self, dst: Vector, x: Vector, round: Round) {
        let opcode = if self.double { 0x09 } else { 0x08 };
        let code = Code { wide: self.double && self.asm.is_512(), ..self.sized(Table::T0F3A, opcode) };
        self.asm.whole(code, dst, 0, Place::Register(x), Masked::default());
        self.asm.bytes.push(round as u8);
    }

    /// dst = y where x, else z.
    pub(super) fn choose(&mut self, dst: Vector, x: u8, y: Vector, z: Vector) {
        if self.asm.is_512() {
            let code = self.sized(Table::T0F38, 0x65);
            self.asm.whole(code, dst, z, Place::Register(y), Masked { by: x, zero: false });
        } else {
            let code = Code { wide: false, ..self.sized(Table::T0F3A, if self.double { 0x4b } else { 0x4a }) };
            self.asm.whole(code, dst, z, Place::Register(y), Masked::default());
            self.asm.bytes.push(x << 4);
        }
    }

    pub(super) fn logic(&mut self, step: Step, dst: u8, x: u8, y: u8) {
        let (of_masks, of_vectors) = match step {
            Step::Both(..) => (0x41, 0x54),
            Step::Either(..) => (0x45, 0x56),
            _ => (0x47, 0x57),
        };
        if self.asm.is_512() {
            let code = Code { table: Table::T0F, prefix: Prefix::None, wide: false, opcode: of_masks };
            self.asm.vex(code, true, dst, x, Place::Register(y));
        } else {
            let code = self.float(Table::T0F, of_vectors);
            self.asm.whole(code, dst, x, Place::Register(y), Masked::default());
        }
    }

    /// x·y + z, into whichever operand is read no more.
    pub(super) fn fused(&mut self, k: usize, ids: [Id; 3], regs: [u8; 3]) -> Option<()> {
        let ([x, y, z], [rx, ry, rz]) = (ids, regs);
        let ends = |id: Id| self.last[id as usize] == k && !self.kept[id as usize];
        let (opcode, dst, first, second) = if ends(z) {
            (0xb8, z, rx, ry)
        } else if ends(x) {
            (0xa8, x, ry, rz)
        } else if ends(y) {
            (0xa8, y, rx, rz)
        } else {
            let dst = self.vector(k as Id, &regs)?;
            let code = self.float(Table::T0F, 0x28);
            self.asm.whole(code, dst, 0, Place::Register(rz), Masked::default());
            let code = self.sized(Table::T0F38, 0xb8);
            self.asm.whole(code, dst, rx, Place::Register(ry), Masked::default());
            return Some(());
        };
        let register = self.at[dst as usize].take()?;
        let code = self.sized(Table::T0F38, opcode);
        self.asm.whole(code, register, first, Place::Register(second), Masked::default());
        self.vectors[register as usize] = None;
        self.release(k);
        self.vectors[register as usize] = Some(k as Id);
        self.at[k] = Some(register);
        Some(())
    }

    pub(super) fn load(&mut self, dst: Vector, place: Place) {
        match (self.rest, self.asm.is_512()) {
            (true, false) => {
                let code = Code { wide: false, ..self.sized(Table::T0F38, if self.double { 0x2d } else { 0x2c }) };
                self.asm.whole(code, dst, REST_256, place, Masked::default());
            }
            (rest, _) => {
                let code = self.float(Table::T0F, 0x10);
                let masked = if rest { Masked { by: REST_512, zero: true } } else { Masked::default() };
                self.asm.whole(code, dst, 0, place, masked);
            }
        }
    }

    pub(super) fn store(&mut self, src: Vector, place: Place) {
        match (self.rest, self.asm.is_512()) {
            (true, false) => {
                let code = Code { wide: false, ..self.sized(Table::T0F38, if self.double { 0x2f } else { 0x2e }) };
                self.asm.whole(code, src, REST_256, place, Masked::default());
            }
            (rest, _) => {
                let code = self.float(Table::T0F, 0x11);
                let masked = if rest { Masked { by: REST_512, zero: false } } else { Masked::default() };
                self.asm.whole(code, src, 0, place, masked);
            }
        }
    }

    pub(super) fn broadcast(&mut self, dst: Vector, place: Place) {
        let code = self.sized(Table::T0F38, if self.double { 0x19 } else { 0x18 });
        let code = Code { wide: self.double && self.asm.is_512(), ..code };
        self.asm.whole(code, dst, 0, place, Masked::default());
    }

    /// The bytes of truth values that stand for a vector's elements: sixteen, or eight.
    pub(super) fn truths(&self, opcode: u8, rest: bool) -> (Code, Masked, Length) {
        if self.double && !rest {
            // Eight bytes, as one element of eight.
            let opcode = if opcode == 0x6f { 0x7e } else { 0xd6 };
            let prefix = if opcode == 0x7e { Prefix::PF3 } else { Prefix::P66 };
            return (Code { table: Table::T0F, prefix, wide: true, opcode }, Masked::default(), Length::L128);
        }
        let masked = if rest { Masked { by: REST_512, zero: opcode == 0x6f } } else { Masked::default() };
        (Code { table: Table::T0F, prefix: Prefix::PF2, wide: false, opcode }, masked, Length::L128)
    }

    /// Only AVX-512 can leave out what lies behind the last byte.
    pub(super) fn load_truths(&mut self, dst: u8, place: Place) -> Option<()> {
        if !self.asm.is_512() {
            return None;
        }
        let scratch = self.scratch()?;
        let (code, masked, length) = self.truths(0x6f, self.rest);
        self.asm.vector(code, length, scratch, 0, place, masked);
        // The bytes that are not zero.
        let test = Code { table: Table::T0F38, prefix: Prefix::P66, wide: false, opcode: 0x26 };
        self.asm.vector(test, Length::L128, dst, scratch, Place::Register(scratch), Masked::default());
        Some(())
    }

    pub(super) fn store_truths(&mut self, src: u8, place: Place) -> Option<()> {
        if !self.asm.is_512() {
            return None;
        }
        let scratch = self.scratch()?;
        // All ones where true, and then the lowest of them.
        let spread = Code { table: Table::T0F38, prefix: Prefix::PF3, wide: false, opcode: 0x28 };
        self.asm.vector(spread, Length::L128, scratch, 0, Place::Register(src), Masked::default());
        let lowest = Code { table: Table::T0F38, prefix: Prefix::P66, wide: false, opcode: 0x1c };
        self.asm.vector(lowest, Length::L128, scratch, 0, Place::Register(scratch), Masked::default());
        let (code, masked, length) = self.truths(0x7f, self.rest);
        self.asm.vector(code, length, scratch, 0, place, masked);
        Some(())
    }

    /// A vector register for the moment.
    pub(super) fn scratch(&self) -> Option<Vector> {
        (0..self.registers()).find(|&r| self.vectors[r as usize].is_none())
    }
}
