//! Machine code for the arithmetic of fused loops.
//!
//! The interpreter of blocks (`block.rs`) takes a loop's instructions one by one, each a function that reads and writes scratch memory.
//! Here, instructions that follow each other become a *run*: one loop over the block that has all values between in registers. What an
//! instruction does comes from its op's record ([`crate::simd::trace`]); what a record cannot say, folds and spreads stay instructions
//! between the runs. The results have the interpreter's bits. That stays the form for other machines, and where the system gives no memory
//! to execute; `FLUXRS_JIT=off` asks for it, and `FLUXRS_JIT=all` for runs in the smallest loops, too.

mod emit;
mod encode;
mod lower;
mod memory;
mod registers;
mod select;
mod units;

#[cfg(test)]
mod tests;

pub use lower::{OPERANDS, lower};
pub use memory::Machine;

use crate::dtype::DType;
use crate::ops::Elementwise;
use crate::simd::isa::{Level, level};
use crate::simd::trace::{Id, Step};
use encode::Assembler;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Elements of a loop from which on making its code pays.
const LEAST: usize = 1024;

/// The least elements of a loop that is compiled, if any is.
fn least() -> Option<usize> {
    static LEAST_OF_ALL: OnceLock<Option<usize>> = OnceLock::new();
    *LEAST_OF_ALL.get_or_init(|| {
        let able = cfg!(target_arch = "x86_64") && !cfg!(miri) && !cfg!(sanitized);
        match std::env::var("FLUXRS_JIT").as_deref() {
            Ok("off") => None,
            Ok("all") => able.then_some(0),
            _ => able.then_some(LEAST),
        }
        .filter(|_| matches!(level(), Level::Avx2 | Level::Avx512))
    })
}

/// A part of a run's program, whose number is that of its value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Item {
    /// The elements of an operand, or its one element, or truth values.
    Load(u16),
    Single(u16),
    Truths(u16),
    /// An op on values.
    Op(Elementwise, DType, [u16; 3]),
    /// A value goes to an operand's memory.
    Store(u16, u16),
    StoreTruths(u16, u16),
    /// A value is joined to what an operand's memory holds.
    Join(Elementwise, DType, u16, u16),
}

/// The steps of a program.
fn steps(items: &[Item]) -> Option<Vec<Step>> {
    let mut steps = Vec::with_capacity(4 * items.len());
    let mut ids: Vec<Id> = Vec::with_capacity(items.len());
    for item in items {
        let id = |k: u16| ids.get(k as usize).copied().unwrap_or(0);
        match *item {
            Item::Load(operand) => steps.push(Step::Load(operand)),
            Item::Single(operand) => steps.push(Step::Single(operand)),
            Item::Truths(operand) => steps.push(Step::Truths(operand)),
            Item::Store(operand, value) => steps.push(Step::Store(operand, id(value))),
            Item::StoreTruths(operand, value) => steps.push(Step::StoreTruths(operand, id(value))),
            Item::Op(e, dtype, values) => {
                let made = e.trace(dtype, values.map(id), &mut steps)?;
                ids.push(made);
                continue;
            }
            Item::Join(e, dtype, operand, value) => {
                let value = id(value);
                steps.push(Step::Load(operand));
                let sum = e.trace(dtype, [steps.len() as Id - 1, value, 0], &mut steps)?;
                steps.push(Step::Store(operand, sum));
            }
        }
        ids.push(steps.len() as Id - 1);
    }
    Some(steps)
}

/// The code of a plan while it is made.
pub struct Builder {
    asm: Assembler,
    /// Where the function of each program begins, if registers suffice for it.
    known: FxHashMap<Vec<Item>, Option<usize>>,
    least: usize,
}

impl Builder {
    pub fn new() -> Option<Builder> {
        Some(Builder { asm: Assembler::new(level()), known: FxHashMap::default(), least: least()? })
    }

    /// The place of a program's function, if registers suffice for it.
    fn place(&mut self, items: Vec<Item>, double: bool) -> Option<usize> {
        let asm = &mut self.asm;
        *self.known.entry(items).or_insert_with_key(|items| {
            let at = asm.bytes.len();
            emit::emit(&steps(items)?, double, asm).then_some(at)
        })
    }

    /// The code so far.
    pub fn code(&self) -> &[u8] {
        &self.asm.bytes
    }
}
