//! A loop's instructions in an order in which those that can be compiled stand together.

use crate::dtype::DType;
use crate::ops::Elementwise;
use crate::ops::elementwise::Class;
use crate::ops::reduce::Reduction;
use crate::plan::{Code, Inst, Loop, Rank};
use crate::simd::isa::{Level, level};

/// Instructions that become one run, or one that does not.
#[derive(Clone)]
pub struct Unit {
    pub insts: Vec<usize>,
    /// Of a run: whether its elements have eight bytes.
    pub double: Option<bool>,
    pub rank: Rank,
}

/// The runs that an instruction may be part of.
#[derive(Clone, Copy, PartialEq)]
pub enum Width {
    Float,
    Double,
    /// Of truth values: any run.
    Any,
}

/// For each instruction the runs that it may be part of; of a reduction, if runs add up what it reduces.
pub fn widths(body: &Loop, count: usize, joins: bool) -> Vec<Option<Width>> {
    let mut widths: Vec<Option<Width>> = body.code.iter().map(|inst| width(inst, joins)).collect();
    if level() != Level::Avx512 {
        keep_truths_within(body, count, &mut widths);
    }
    widths
}

fn class(inst: &Inst) -> Option<Class> {
    if let Code::Map(e) = inst.code { Some(e.record().class) } else { None }
}

fn width(inst: &Inst, joins: bool) -> Option<Width> {
    let e = match inst.code {
        Code::Map(e) => e,
        Code::Fold(kind) if joins => joined(kind)?,
        _ => return None,
    };
    let width = match inst.dtype {
        DType::F32 => Width::Float,
        DType::F64 => Width::Double,
        DType::Bool if e.record().class == Class::Logic => Width::Any,
        _ => return None,
    };
    e.has_steps(inst.dtype).then_some(width)
}

/// The op by which a reduction adds an element.
pub fn joined(kind: Reduction) -> Option<Elementwise> {
    match kind {
        Reduction::Sum => Some(Elementwise::add),
        Reduction::Prod => Some(Elementwise::multiply),
        Reduction::Max => Some(Elementwise::maximum),
        Reduction::Min => Some(Elementwise::minimum),
        Reduction::Any | Reduction::All => None,
    }
}

/// The rank of the elements that an instruction works on.
fn rank(inst: &Inst) -> Rank {
    if matches!(inst.code, Code::Fold(_)) { Rank::Full } else { inst.rank }
}

/// Without AVX-512, runs can neither read nor write truth values: leaves them the comparisons that only choices read, and those choices.
fn keep_truths_within(body: &Loop, count: usize, widths: &mut [Option<Width>]) {
    let mut within = vec![false; count];
    for (k, inst) in body.code.iter().enumerate() {
        match class(inst) {
            Some(Class::Compare) => {
                let mut readers = body.code.iter().enumerate().filter(|(_, other)| other.src.contains(&inst.dst));
                let alike = |(r, other): (usize, &Inst)| {
                    class(other) == Some(Class::Select) && widths[r] == widths[k] && other.rank == inst.rank
                };
                within[inst.dst as usize] = readers.all(alike) && !body.stores.iter().any(|s| s.reg == inst.dst);
                if !within[inst.dst as usize] {
                    widths[k] = None;
                }
            }
            Some(Class::Select) if !within[inst.src[0] as usize] => widths[k] = None,
            Some(Class::Test | Class::Logic) => widths[k] = None,
            _ => {}
        }
    }
}

/// The units in an order in which each finds its operands; instructions that are `aside` are no unit.
pub fn units(body: &Loop, count: usize, widths: &[Option<Width>], aside: &[bool]) -> Vec<Unit> {
    let mut there = vec![false; count];
    body.loads.iter().for_each(|load| there[load.reg as usize] = true);
    let mut left: Vec<usize> = (0..body.code.len()).collect();
    let mut units: Vec<Unit> = vec![];
    while !left.is_empty() {
        let is_ready = |k: usize, there: &[bool]| body.code[k].src.iter().all(|&r| there[r as usize]);
        let leads = |k: &usize| widths[*k].is_some_and(|w| w != Width::Any) && !aside[*k] && is_ready(*k, &there);
        let lead = left.iter().copied().find(leads).map(|k| (widths[k], rank(&body.code[k])));
        let mut insts = vec![];
        // A run takes what its own instructions make ready; else all that was ready is taken, and a run may come next.
        let before = there.clone();
        left.retain(|&k| {
            let inst = &body.code[k];
            let fits = match lead {
                Some((width, rank)) => (widths[k] == width || widths[k] == Some(Width::Any)) && self::rank(inst) == rank,
                None => true,
            };
            let takes = aside[k] && is_ready(k, &there) || fits && is_ready(k, if lead.is_some() { &there } else { &before });
            if takes {
                there[inst.dst as usize] = true;
                if !aside[k] {
                    insts.push(k);
                }
            }
            !takes
        });
        match lead {
            Some((width, rank)) => units.push(Unit { insts, double: Some(width == Some(Width::Double)), rank }),
            None => units.extend(insts.into_iter().map(|k| Unit { insts: vec![k], double: None, rank: body.code[k].rank })),
        }
    }
    units
}
