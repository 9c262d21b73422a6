//! A program as machine code: a loop whose body is the program on one vector, and the body once more for what is left, under a mask.
//!
//! The code is a function of the list of the operands' addresses and a number of elements. It calls nothing and keeps all values in
//! registers: constants and single elements for good if there are enough, what lies in memory from its first use to its last. A value
//! that was read is read again if a register is missing; for one that was computed there is no place, and the program is too large.

use super::encode::{ADDRESS, Assembler, Code, General, INDEX, Length, Masked, Place, Prefix, SPARE, Table, Vector};
use crate::simd::isa::Level;
use crate::simd::trace::{Binary, Id, Round, Step};

/// The register of the mask of what is left: in AVX-512 a mask register.
const REST_512: u8 = 1;
const REST_256: u8 = 15;
/// Mask registers that values may have.
const TRUTHS: std::ops::Range<u8> = 2..8;
/// General registers that keep an operand's address.
const ADDRESSES: [General; 5] = [1, 8, 9, 10, 11];

/// Appends a function for `steps` over elements of 8 bytes (`double`) or 4; false, and nothing appended, if registers do not suffice.
pub fn emit(steps: &[Step], double: bool, asm: &mut Assembler) -> bool {
    let start = asm.bytes.len();
    let mut e = Emitter::new(steps, double, asm);
    let done = e.function().is_some();
    if done {
        asm.finish()
    } else {
        asm.cancel(start)
    }
    done
}

struct Emitter<'a> {
    asm: &'a mut Assembler,
    steps: &'a [Step],
    double: bool,
    /// The last step that reads each value; none reads one that is 0.
    last: Vec<usize>,
    /// The register of each value, if it has one.
    at: Vec<Option<u8>>,
    /// The value in each vector register and in each mask register.
    vectors: [Option<Id>; 32],
    masks: [Option<Id>; 8],
    /// Values that stay in their registers.
    kept: Vec<bool>,
    /// Values that are the same for all elements and are not computed in the body.
    constant: Vec<bool>,
    /// The general register of each operand's address, if it has one.
    generals: Vec<Option<General>>,
    /// True in the part for what is left.
    rest: bool,
}

impl<'a> Emitter<'a> {
    fn new(steps: &'a [Step], double: bool, asm: &'a mut Assembler) -> Self {
        let n = steps.len();
        let last = last_reads(steps, &vec![false; n]);
        let (at, kept, constant) = (vec![None; n], vec![false; n], vec![false; n]);
        Emitter {
            asm,
            steps,
            double,
            last,
            at,
            vectors: [None; 32],
            masks: [None; 8],
            kept,
            constant,
            generals: vec![],
            rest: false,
        }
    }

    fn size(&self) -> u8 {
        if self.double { 8 } else { 4 }
    }

    /// Elements of a vector.
    fn lanes(&self) -> i8 {
        (if self.asm.is_512() { 64 } else { 32 }) / self.size() as i8
    }

    fn function(&mut self) -> Option<()> {
        const LESS: u8 = 0xc;
        const AT_MOST: u8 = 0xe;
        const ZERO: u8 = 0x4;
        self.addresses();
        self.keep()?;
        let lanes = self.lanes();
        // SPARE = the last index with a whole vector behind it; INDEX = 0.
        self.asm.general(0x89, SPARE, INDEX);
        self.asm.general(0x31, INDEX, INDEX);
        self.asm.small(5, SPARE, lanes);
        let short = self.asm.jump(LESS);
        self.asm.align();
        let top = self.asm.bytes.len();
        self.body()?;
        self.asm.small(0, INDEX, lanes);
        self.asm.general(0x39, INDEX, SPARE);
        let again = self.asm.jump(AT_MOST);
        self.asm.land(again, top);
        let here = self.asm.bytes.len();
        self.asm.land(short, here);
        // SPARE = what is left.
        self.asm.small(0, SPARE, lanes);
        self.asm.general(0x29, SPARE, INDEX);
        let none = self.asm.jump(ZERO);
        self.mask_rest()?;
        self.rest = true;
        self.body()?;
        let end = self.asm.bytes.len();
        self.asm.land(none, end);
        self.asm.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]); // vzeroupper; ret
        Some(())
    }

    /// A mask of as many elements as `SPARE` says.
    fn mask_rest(&mut self) -> Option<()> {
        let code = |table, prefix, opcode| Code { table, prefix, wide: false, opcode };
        if self.asm.is_512() {
            self.asm.bytes.extend([0xb8, 0xff, 0xff, 0xff, 0xff]); // mov eax, -1
            let below = code(Table::T0F38, Prefix::None, 0xf5); // bzhi
            self.asm.vex(below, false, ADDRESS, SPARE, Place::Register(ADDRESS));
            let move_mask = code(Table::T0F, Prefix::PF2, 0x92); // kmovd
            self.asm.vex(move_mask, false, REST_512, 0, Place::Register(ADDRESS));
        } else {
            // The elements whose number is below it.
            let numbers = self.scratch()?;
            let (widen, spread, greater) = match self.double {
                true => (0x32, 0x59, code(Table::T0F38, Prefix::P66, 0x37)),
                false => (0x31, 0x58, code(Table::T0F, Prefix::P66, 0x66)),
            };
            let place = self.asm.pool(0x0706_0504_0302_0100);
            self.asm.vex(code(Table::T0F38, Prefix::P66, widen), true, numbers, 0, place);
            self.asm.vex(code(Table::T0F, Prefix::P66, 0x6e), false, REST_256, 0, Place::Register(SPARE)); // vmovd
            self.asm.vex(code(Table::T0F38, Prefix::P66, spread), true, REST_256, 0, Place::Register(REST_256));
            self.asm.vex(greater, true, REST_256, REST_256, Place::Register(numbers));
        }
        Some(())
    }

    /// Gives general registers to the addresses that the body needs, as many as there are.
    fn addresses(&mut self) {
        let mut free = ADDRESSES.into_iter();
        for k in 0..self.steps.len() {
            if let Step::Load(operand) | Step::Truths(operand) | Step::Store(operand, _) | Step::StoreTruths(operand, _) =
                self.steps[k]
                && self.generals.len() <= operand as usize
            {
                self.generals.resize(operand as usize + 1, None);
            }
        }
        for k in 0..self.steps.len() {
            if let Step::Load(operand) | Step::Truths(operand) | Step::Store(operand, _) | Step::StoreTruths(operand, _) =
                self.steps[k]
                && self.is_wanted(k)
                && self.generals.get(operand as usize).is_none_or(Option::is_none)
                && let Some(general) = free.next()
            {
                self.asm.address(general, operand);
                self.generals.resize(self.generals.len().max(operand as usize + 1), None);
                self.generals[operand as usize] = Some(general);
            }
        }
    }

    fn address(&mut self, k: u16) -> General {
        if let Some(&Some(general)) = self.generals.get(k as usize) {
            return general;
        }
        self.asm.address(ADDRESS, k);
        ADDRESS
    }

    /// True of values that lie in memory or in the code as one element.
    fn is_same(&self, id: usize) -> bool {
        matches!(self.steps[id], Step::Single(_) | Step::Number(_))
    }

    /// Finds the values that are made of single elements and numbers alone.
    fn find_constant(&mut self) {
        for (k, step) in self.steps.iter().enumerate() {
            let pure = !step.is_truth() && !matches!(step, Step::Load(_) | Step::Store(..) | Step::StoreTruths(..));
            self.constant[k] = pure && step.reads().all(|id| self.constant[id as usize]);
        }
    }

    /// Fills registers with what is the same for all elements: what is computed of it, and of the rest as much as the body leaves room for.
    fn keep(&mut self) -> Option<()> {
        let n = self.steps.len();
        self.find_constant();
        let is_vector = |s: Step| self.asm.level == Level::Avx2 || !s.is_truth();
        let (mut first, mut uses) = (vec![usize::MAX; n], vec![0; n]);
        for k in (0..n).filter(|&k| !self.constant[k] && self.is_wanted(k)) {
            for id in self.steps[k].reads() {
                first[id as usize] = first[id as usize].min(k);
                uses[id as usize] += 1;
            }
        }
        // The most values that the body has at a time.
        let mut change = vec![0i32; n + 1];
        for id in (0..n).filter(|&id| uses[id] > 0 && !self.constant[id] && is_vector(self.steps[id])) {
            let from = if matches!(self.steps[id], Step::Load(_)) { first[id] } else { id };
            change[from] += 1;
            change[self.last[id] + 1] -= 1;
        }
        let mut most = 0;
        change.iter().fold(0, |now, c| {
            most = most.max(now + c);
            now + c
        });
        // One for a result that cannot take an operand's place; two more to bring what does not stay.
        let free = i32::from(self.registers()) - most - 1;
        let computed: Vec<usize> = (0..n).filter(|&id| self.constant[id] && !self.is_same(id) && uses[id] > 0).collect();
        let mut list: Vec<usize> = (0..n).filter(|&id| self.is_same(id) && uses[id] > 0).collect();
        let left = free - computed.len() as i32;
        if left < 2 {
            // Too many: all are computed again for each vector.
            self.constant = (0..n).map(|id| self.is_same(id)).collect();
            return Some(());
        }
        self.prelude(&computed)?;
        self.last = last_reads(self.steps, &self.constant);
        if list.len() as i32 > left {
            list.sort_by_key(|&id| std::cmp::Reverse(uses[id]));
            list.truncate((left - 2) as usize);
        }
        for id in list {
            self.kept[id] = true;
            self.value(id as Id, &[])?;
        }
        Some(())
    }

    /// Computes what is the same for all elements, of which these values stay.
    fn prelude(&mut self, stay: &[usize]) -> Option<()> {
        stay.iter().for_each(|&id| self.kept[id] = true);
        for k in 0..self.steps.len() {
            if self.constant[k] && !self.is_same(k) && self.last[k] > 0 {
                self.step(k)?;
            }
        }
        for register in 0..self.registers() as usize {
            if let Some(id) = self.vectors[register].filter(|&id| !self.kept[id as usize]) {
                (self.vectors[register], self.at[id as usize]) = (None, None);
            }
        }
        Some(())
    }

    fn registers(&self) -> u8 {
        if self.asm.is_512() { 32 } else { REST_256 }
    }

    fn is_wanted(&self, k: usize) -> bool {
        self.last[k] > 0 || matches!(self.steps[k], Step::Store(..) | Step::StoreTruths(..))
    }

    /// A free vector register; if there is none, one whose value can be read again and is not among `pinned`.
    fn vector(&mut self, id: Id, pinned: &[u8]) -> Option<Vector> {
        let free = (0..self.registers()).find(|&r| self.vectors[r as usize].is_none());
        let register = free.or_else(|| {
            let again = |r: &u8| {
                self.vectors[*r as usize].is_some_and(|id| {
                    let step = self.steps[id as usize];
                    !self.kept[id as usize] && matches!(step, Step::Load(_) | Step::Single(_) | Step::Number(_))
                })
            };
            let list = (0..self.registers()).filter(again).filter(|r| !pinned.contains(r));
            list.max_by_key(|&r| self.vectors[r as usize].map(|id| self.last[id as usize]))
        })?;
        if let Some(old) = self.vectors[register as usize].replace(id) {
            self.at[old as usize] = None;
        }
        self.at[id as usize] = Some(register);
        Some(register)
    }

    fn truth(&mut self, id: Id, pinned: &[u8]) -> Option<u8> {
        if !self.asm.is_512() {
            return self.vector(id, pinned);
        }
        let register = TRUTHS.into_iter().find(|&k| self.masks[k as usize].is_none())?;
        self.masks[register as usize] = Some(id);
        self.at[id as usize] = Some(register);
        Some(register)
    }

    /// The register of a value, into which it is brought if it lies in memory.
    fn value(&mut self, id: Id, pinned: &[u8]) -> Option<u8> {
        if let Some(register) = self.at[id as usize] {
            return Some(register);
        }
        let step = self.steps[id as usize];
        let register = if matches!(step, Step::Truths(_)) { self.truth(id, pinned)? } else { self.vector(id, pinned)? };
        match step {
            Step::Load(k) => {
                let place = Place::Indexed(self.address(k), self.size());
                self.load(register, place);
            }
            Step::Single(k) => {
                let place = Place::At(self.address(k));
                self.broadcast(register, place);
            }
            Step::Number(bits) => {
                let place = self.asm.pool(bits);
                self.broadcast(register, place);
            }
            Step::Truths(k) => {
                let place = Place::Indexed(self.address(k), 1);
                self.load_truths(register, place)?;
            }
            _ => return None,
        }
        Some(register)
    }

    /// Gives back the registers of values that step k read last.
    fn release(&mut self, k: usize) {
        for id in self.steps[k].reads() {
            self.free_after(id, k);
        }
    }

    fn free_after(&mut self, id: Id, k: usize) {
        if self.last[id as usize] <= k
            && !self.kept[id as usize]
            && let Some(register) = self.at[id as usize].take()
        {
            let is_mask = self.asm.is_512() && self.steps[id as usize].is_truth();
            if is_mask { self.masks[register as usize] = None } else { self.vectors[register as usize] = None }
        }
    }

    fn body(&mut self) -> Option<()> {
        for k in 0..self.steps.len() {
            if !self.constant[k] && self.is_wanted(k) {
                self.step(k)?;
            }
        }
        Some(())
    }

    fn step(&mut self, k: usize) -> Option<()> {
        let step = self.steps[k];
        // What lies in memory comes with its first reader.
        if matches!(step, Step::Load(_) | Step::Single(_) | Step::Number(_) | Step::Truths(_)) {
            return Some(());
        }
        let (mut regs, mut n) = ([0u8; 3], 0);
        for id in step.reads() {
            regs[n] = self.value(id, &regs[..n])?;
            n += 1;
        }
        let id = k as Id;
        if let Step::Fused(x, y, z) = step {
            return self.fused(k, [x, y, z], regs);
        }
        // The result may have the register of an operand that is read no more.
        self.release(k);
        let pinned = &regs[..n];
        let [x, y, z] = regs;
        match step {
            Step::Binary(op, ..) => {
                let dst = self.vector(id, pinned)?;
                self.binary(op, dst, x, y);
            }
            Step::Up(by, _) | Step::Down(by, _) => {
                let dst = self.vector(id, pinned)?;
                self.shift(dst, x, by, matches!(step, Step::Up(..)));
            }
            Step::Root(_) => {
                let dst = self.vector(id, pinned)?;
                let code = self.float(Table::T0F, 0x51);
                self.asm.whole(code, dst, 0, Place::Register(x), Masked::default());
            }
            Step::Round(round, _) => {
                let dst = self.vector(id, pinned)?;
                self.round(dst, x, round);
            }
            Step::Compare(relation, ..) => {
                let dst = self.truth(id, pinned)?;
                let code = self.float(Table::T0F, 0xc2);
                self.asm.whole(code, dst, x, Place::Register(y), Masked::default());
                self.asm.bytes.push(relation as u8);
            }
            Step::Choose(..) => {
                let dst = self.vector(id, pinned)?;
                self.choose(dst, x, y, z);
            }
            Step::Both(..) | Step::Either(..) | Step::Differ(..) => {
                let dst = self.truth(id, pinned)?;
                self.logic(step, dst, x, y);
            }
            Step::Store(to, _) => {
                let place = Place::Indexed(self.address(to), self.size());
                self.store(x, place);
            }
            Step::StoreTruths(to, _) => {
                let place = Place::Indexed(self.address(to), 1);
                self.store_truths(x, place)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The code of a float instruction whose form for float64 has the prefix 66.
    fn float(&self, table: Table, opcode: u8) -> Code {
        let prefix = if self.double { Prefix::P66 } else { Prefix::None };
        Code { table, prefix, wide: self.double && self.asm.is_512(), opcode }
    }

    /// The code of an instruction whose form for 8 bytes is the wide one.
    fn sized(&self, table: Table, opcode: u8) -> Code {
        Code { table, prefix: Prefix::P66, wide: self.double, opcode }
    }

    fn binary(&mut self, op: Binary, dst: Vector, x: Vector, y: Vector) {
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

    fn shift(&mut self, dst: Vector, x: Vector, by: u8, up: bool) {
        let opcode = if self.double { 0x73 } else { 0x72 };
        let code = Code { wide: self.double && self.asm.is_512(), ..self.sized(Table::T0F, opcode) };
        // The opcode's other half stands where most have their destination.
        let half = if up { 6 } else { 2 };
        self.asm.whole(code, half, dst, Place::Register(x), Masked::default());
        self.asm.bytes.push(by);
    }

    fn round(&mut self, dst: Vector, x: Vector, round: Round) {
        let opcode = if self.double { 0x09 } else { 0x08 };
        let code = Code { wide: self.double && self.asm.is_512(), ..self.sized(Table::T0F3A, opcode) };
        self.asm.whole(code, dst, 0, Place::Register(x), Masked::default());
        self.asm.bytes.push(round as u8);
    }

    /// dst = y where x, else z.
    fn choose(&mut self, dst: Vector, x: u8, y: Vector, z: Vector) {
        if self.asm.is_512() {
            let code = self.sized(Table::T0F38, 0x65);
            self.asm.whole(code, dst, z, Place::Register(y), Masked { by: x, zero: false });
        } else {
            let code = Code { wide: false, ..self.sized(Table::T0F3A, if self.double { 0x4b } else { 0x4a }) };
            self.asm.whole(code, dst, z, Place::Register(y), Masked::default());
            self.asm.bytes.push(x << 4);
        }
    }

    fn logic(&mut self, step: Step, dst: u8, x: u8, y: u8) {
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
    fn fused(&mut self, k: usize, ids: [Id; 3], regs: [u8; 3]) -> Option<()> {
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

    fn load(&mut self, dst: Vector, place: Place) {
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

    fn store(&mut self, src: Vector, place: Place) {
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

    fn broadcast(&mut self, dst: Vector, place: Place) {
        let code = self.sized(Table::T0F38, if self.double { 0x19 } else { 0x18 });
        let code = Code { wide: self.double && self.asm.is_512(), ..code };
        self.asm.whole(code, dst, 0, place, Masked::default());
    }

    /// The bytes of truth values that stand for a vector's elements: sixteen, or eight.
    fn truths(&self, opcode: u8, rest: bool) -> (Code, Masked, Length) {
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
    fn load_truths(&mut self, dst: u8, place: Place) -> Option<()> {
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

    fn store_truths(&mut self, src: u8, place: Place) -> Option<()> {
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
    fn scratch(&self) -> Option<Vector> {
        (0..self.registers()).find(|&r| self.vectors[r as usize].is_none())
    }
}

/// The last step that reads each value, of those that are wanted and are not `constant`.
fn last_reads(steps: &[Step], constant: &[bool]) -> Vec<usize> {
    let mut last = vec![0; steps.len()];
    for (k, step) in steps.iter().enumerate().rev().filter(|&(k, _)| !constant[k]) {
        let wanted = matches!(step, Step::Store(..) | Step::StoreTruths(..)) || last[k] > 0;
        step.reads().filter(|_| wanted).for_each(|id| last[id as usize] = last[id as usize].max(k));
    }
    last
}
