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
mod units;

#[cfg(test)]
mod tests;

pub use lower::{OPERANDS, lower};
pub use memory::Machine;

use crate::simd::isa::{Level, level};
use crate::simd::trace::Step;
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

/// The code of a plan while it is made.
pub struct Builder {
    asm: Assembler,
    /// Where the function of each program begins, with the program and whether its elements have eight bytes.
    known: FxHashMap<(Vec<Step>, bool), usize>,
    least: usize,
}

impl Builder {
    pub fn new() -> Option<Builder> {
        Some(Builder { asm: Assembler::new(level()), known: FxHashMap::default(), least: least()? })
    }

    /// The place of a program's function, if registers suffice for it.
    fn place(&mut self, steps: Vec<Step>, double: bool) -> Option<usize> {
        if let Some(&at) = self.known.get(&(steps.clone(), double)) {
            return Some(at);
        }
        let at = self.asm.bytes.len();
        emit::emit(&steps, double, &mut self.asm).then(|| *self.known.entry((steps, double)).or_insert(at))
    }

    /// The code so far.
    pub fn code(&self) -> &[u8] {
        &self.asm.bytes
    }
}
