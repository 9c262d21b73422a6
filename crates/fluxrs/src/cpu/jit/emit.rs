//! A program as machine code: a loop whose body is the program on one vector, and the body once more for what is left, under a mask.
//!
//! The code is a function of the list of the operands' addresses and a number of elements. It calls nothing and keeps all values in
//! registers: constants and single elements for good if there are enough, what lies in memory from its first use to its last. A value
//! that was read is read again if a register is missing; for one that was computed there is no place, and the program is too large.

use super::encode::{ADDRESS, Assembler, Code, General, INDEX, Masked, Place, Prefix, SPARE, Table};
use crate::simd::trace::{Id, Step};

/// The register of the mask of what is left: in AVX-512 a mask register.
pub(super) const REST_512: u8 = 1;
pub(super) const REST_256: u8 = 15;
/// Steps from which on a program is worth two vectors at a time: so many that the processor does not see the next vector's while one
/// waits for a result.
const LONG: usize = 48;

/// Appends a function for `steps` over elements of 8 bytes (`double`) or 4; false, and nothing appended, if registers do not suffice.
pub fn emit(steps: &[Step], double: bool, asm: &mut Assembler) -> bool {
    let start = asm.bytes.len();
    let done = function(steps, double, asm).is_some();
    if done {
        asm.finish()
    } else {
        asm.cancel(start)
    }
    done
}

/// In an operand's number: of the next vector's elements.
pub(super) const NEXT: u16 = 1 << 15;

fn function(steps: &[Step], double: bool, asm: &mut Assembler) -> Option<()> {
    const ZERO: u8 = 0x4;
    asm.general(0x89, SPARE, INDEX); // SPARE = the number of elements
    asm.general(0x31, INDEX, INDEX); // INDEX = 0
    let twice = interleaved(steps);
    if asm.is_512() && twice.len() - steps.len() >= LONG {
        let before = asm.bytes.len();
        if Emitter::new(&twice, double, asm).whole_vectors(2).is_none() {
            asm.cancel(before);
        }
    }
    asm.general(0x39, INDEX, SPARE);
    let none = asm.jump(ZERO);
    let mut e = Emitter::new(steps, double, asm);
    e.whole_vectors(1)?;
    e.asm.general(0x29, SPARE, INDEX); // SPARE = what is left
    let nothing = e.asm.jump(ZERO);
    e.mask_rest()?;
    e.rest = true;
    e.body()?;
    let end = asm.bytes.len();
    asm.land(none, end);
    asm.land(nothing, end);
    asm.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]); // vzeroupper; ret
    Some(())
}

/// The program on two vectors, step by step, so that the processor finds work while one waits for a result.
fn interleaved(steps: &[Step]) -> Vec<Step> {
    let constant = constants(steps);
    let mut out = Vec::with_capacity(2 * steps.len());
    let mut ids: [Vec<Id>; 2] = [vec![0; steps.len()], vec![0; steps.len()]];
    for (k, step) in steps.iter().enumerate() {
        for (half, next) in [0, NEXT].into_iter().enumerate() {
            if half == 0 || !constant[k] {
                out.push(step.renamed(|id| ids[half][id as usize], |operand| if constant[k] { operand } else { operand | next }));
            }
            ids[half][k] = out.len() as Id - 1;
        }
    }
    out
}

/// The values that are made of single elements and numbers alone.
pub(super) fn constants(steps: &[Step]) -> Vec<bool> {
    let mut constant = vec![false; steps.len()];
    for (k, step) in steps.iter().enumerate() {
        let pure = !step.is_truth() && !matches!(step, Step::Load(_) | Step::Store(..) | Step::StoreTruths(..));
        constant[k] = pure && step.reads().all(|id| constant[id as usize]);
    }
    constant
}

pub(super) struct Emitter<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) steps: &'a [Step],
    pub(super) double: bool,
    /// The last step that reads each value; none reads one that is 0.
    pub(super) last: Vec<usize>,
    /// The register of each value, if it has one.
    pub(super) at: Vec<Option<u8>>,
    /// The value in each vector register and in each mask register.
    pub(super) vectors: [Option<Id>; 32],
    pub(super) masks: [Option<Id>; 8],
    /// Values that stay in their registers.
    pub(super) kept: Vec<bool>,
    /// Values that are the same for all elements and are not computed in the body.
    pub(super) constant: Vec<bool>,
    /// The general register of each operand's address, if it has one.
    pub(super) generals: Vec<Option<General>>,
    /// True in the part for what is left.
    pub(super) rest: bool,
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

    pub(super) fn size(&self) -> u8 {
        if self.double { 8 } else { 4 }
    }

    /// Elements of a vector.
    pub(super) fn lanes(&self) -> i8 {
        (if self.asm.is_512() { 64 } else { 32 }) / self.size() as i8
    }

    /// A loop over as many whole vectors as there are, so many at a time.
    fn whole_vectors(&mut self, vectors: i8) -> Option<()> {
        const LESS: u8 = 0xc;
        const AT_MOST: u8 = 0xe;
        const MORE: u8 = 0xf;
        let elements = vectors * self.lanes();
        // Constants and addresses are not worth it for no vector at all, but what is left needs them, too.
        let early = (vectors > 1).then(|| {
            self.asm.small(5, SPARE, elements);
            self.asm.jump(LESS)
        });
        self.addresses();
        self.keep()?;
        let late = early.is_none().then(|| {
            self.asm.small(5, SPARE, elements);
            self.asm.general(0x39, INDEX, SPARE);
            self.asm.jump(MORE)
        });
        self.asm.align();
        let top = self.asm.bytes.len();
        self.body()?;
        self.asm.small(0, INDEX, elements);
        self.asm.general(0x39, INDEX, SPARE);
        let again = self.asm.jump(AT_MOST);
        self.asm.land(again, top);
        let here = self.asm.bytes.len();
        early.into_iter().chain(late).for_each(|jump| self.asm.land(jump, here));
        self.asm.small(0, SPARE, elements);
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

    fn body(&mut self) -> Option<()> {
        for k in 0..self.steps.len() {
            if !self.constant[k] && self.is_wanted(k) {
                self.step(k)?;
            }
        }
        Some(())
    }

    pub(super) fn step(&mut self, k: usize) -> Option<()> {
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
                let place = self.indexed(to, self.size());
                self.store(x, place);
            }
            Step::StoreTruths(to, _) => {
                let place = self.indexed(to, 1);
                self.store_truths(x, place)?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// The last step that reads each value, of those that are wanted and are not `constant`.
pub(super) fn last_reads(steps: &[Step], constant: &[bool]) -> Vec<usize> {
    let mut last = vec![0; steps.len()];
    for (k, step) in steps.iter().enumerate().rev().filter(|&(k, _)| !constant[k]) {
        let wanted = matches!(step, Step::Store(..) | Step::StoreTruths(..)) || last[k] > 0;
        step.reads().filter(|_| wanted).for_each(|id| last[id as usize] = last[id as usize].max(k));
    }
    last
}
