//! The needs of a fused program: which registers a result is made of, and in which pass over a row they are known.

use super::builder::{Builder, check_dtype, scalar};
use super::index::{Segment, position};
use super::ops::{expression, result};
use crate::fault::Result;
use fluxrs::plan::{Code, Inst, Load, Loop, Rank, Reg, Store};
use fluxrs::shape::Map;
use rustc_hash::{FxHashMap, FxHashSet};

/// A loop with what is derived from it.
pub(crate) struct Program<'a> {
    pub body: &'a Loop,
    /// After how many rounds of folds a register can be computed.
    levels: FxHashMap<Reg, usize>,
}

/// The name of a register.
pub(crate) fn name(reg: Reg) -> String {
    format!("r{reg}")
}

impl<'a> Program<'a> {
    pub fn new(body: &'a Loop) -> Result<Program<'a>> {
        let mut levels = FxHashMap::default();
        for load in &body.loads {
            check_dtype(load.dtype)?;
            levels.insert(load.reg, 0);
        }
        for inst in &body.code {
            let level = inst.src.iter().map(|reg| levels[reg]).max().unwrap_or(0);
            levels.insert(inst.dst, level + usize::from(matches!(inst.code, Code::Fold(_))));
        }
        Ok(Program { body, levels })
    }

    pub fn level(&self, reg: Reg) -> usize {
        self.levels[&reg]
    }

    pub fn folds(&self) -> impl Iterator<Item = &'a Inst> {
        self.body.code.iter().filter(|inst| matches!(inst.code, Code::Fold(_)))
    }

    pub fn stores(&self, rank: Rank) -> impl Iterator<Item = &'a Store> {
        self.body.stores.iter().filter(move |store| store.rank == rank)
    }

    /// Every `Full` register that these are made of; `Row` registers end the search.
    pub fn cone(&self, targets: impl IntoIterator<Item = Reg>) -> FxHashSet<Reg> {
        let mut wanted: FxHashSet<Reg> = targets.into_iter().collect();
        for inst in self.body.code.iter().rev() {
            if inst.rank == Rank::Full && wanted.contains(&inst.dst) && inst.code != Code::Spread {
                wanted.extend(&inst.src);
            }
        }
        wanted
    }

    /// The statements that compute the registers of a cone, given how a load's map becomes a position.
    pub fn full(
        &self,
        cone: &FxHashSet<Reg>,
        builder: &mut Builder,
        place: &mut dyn FnMut(&Map, &mut Builder) -> String,
        known: &dyn Fn(&Load) -> Option<String>,
    ) -> Result<String> {
        let mut text = String::new();
        for load in self.body.loads.iter().filter(|load| load.rank == Rank::Full && cone.contains(&load.reg)) {
            let value = match known(load) {
                Some(value) => value,
                None => {
                    let position = place(&load.map, builder);
                    builder.read(&load.source, load.dtype, &position)?
                }
            };
            text += &format!("let {} = {value};\n", name(load.reg));
        }
        for inst in self.body.code.iter().filter(|inst| inst.rank == Rank::Full && cone.contains(&inst.dst)) {
            text += &self.statement(inst)?;
        }
        Ok(text)
    }

    /// An instruction as a statement.
    pub fn statement(&self, inst: &Inst) -> Result<String> {
        let operands: Vec<String> = inst.src.iter().map(|&reg| name(reg)).collect();
        Ok(format!("let {}: {} = {};\n", name(inst.dst), scalar(result(inst)), expression(inst, &operands)?))
    }
}

/// A map over a loop's axes as a position: the axes of each segment are those it was made for, in order.
pub(crate) fn place(map: &Map, segments: &mut [&mut Segment], builder: &mut Builder) -> String {
    let mut at = 0;
    let mut terms = Vec::new();
    for segment in segments.iter_mut() {
        let end = at + segment.axes();
        terms.push(segment.term(&map.strides[at..end], &mut builder.args));
        at = end;
    }
    position(map.offset, terms, &mut builder.args)
}
