//! Scan: a function run step by step over sequences. The function is a small graph of its own, the [`Body`], made once: its
//! arguments stand for the states and for a row of each sequence, and whatever else it is made of becomes an operand.
//!
//! A scan is one node with several results, its *parts*: of each state the last value and all values, and what each step gives. A
//! plan computes those that are asked for in one run over the sequences.

use super::{Op, random};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Srcs, Tensor, Tracing, base_node, level, lock, tracking};
use crate::hash::Hasher;
use crate::shape::{Shape, show};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::sync::Arc;

/// The function that a scan runs.
pub struct Body {
    /// The nodes that its results are made of: states, rows of sequences, then what it reads besides.
    pub inputs: Vec<Tensor>,
    /// The new states, then what a step gives: first to the caller, then for the gradient. Each a node of its own.
    pub outputs: Vec<Tensor>,
    pub states: usize,
    pub rows: usize,
    /// The number of results of a step that go to the caller.
    pub given: usize,
    pub level: u32,
    /// True if a gradient in it is defined outside.
    pub has_custom: bool,
    /// Says what code runs for it: but not where its inputs lie.
    pub key: u64,
}

/// A number that differs from step to step: where in the random stream an op draws from.
#[derive(Clone, Copy, PartialEq)]
pub struct Counter {
    /// The input of the body that it is.
    pub input: usize,
    /// Added at the first step, and once more at each step after it.
    pub first: i64,
    pub step: i64,
}

pub struct Scan {
    pub body: Arc<Body>,
    pub length: usize,
    /// From the last row to the first.
    pub reverse: bool,
    pub counters: Vec<Counter>,
}

/// One result of a scan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Part {
    /// A state after the last step.
    Last(usize),
    /// A state before and after every step: one row more than there are steps, the first value in row 0, or in the last if reversed.
    All(usize),
    /// A result of each step.
    Step(usize),
}

impl Scan {
    pub(super) fn hash(&self, h: &mut Hasher) {
        [self.body.key, self.length as u64, self.reverse as u64].into_iter().for_each(|word| h.add(word));
        self.counters.iter().for_each(|c| [c.input as u64, c.first as u64, c.step as u64].into_iter().for_each(|w| h.add(w)));
    }

    /// True if it draws random numbers.
    pub fn draws(&self) -> bool {
        !self.counters.is_empty()
    }

    pub fn part(&self, k: u32) -> Part {
        let (k, n) = (k as usize, self.body.states);
        match k {
            k if k < n => Part::Last(k),
            k if k < 2 * n => Part::All(k - n),
            k => Part::Step(k - 2 * n),
        }
    }

    pub fn number(&self, part: Part) -> u32 {
        let n = self.body.states;
        (match part {
            Part::Last(i) => i,
            Part::All(i) => n + i,
            Part::Step(j) => 2 * n + j,
        }) as u32
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.body.states + self.body.outputs.len()
    }

    pub fn shape_of(&self, part: Part) -> (Shape, DType) {
        let (output, rows) = match part {
            Part::Last(i) => (i, None),
            Part::All(i) => (i, Some(self.length + 1)),
            Part::Step(j) => (self.body.states + j, Some(self.length)),
        };
        let output = &self.body.outputs[output];
        (rows.into_iter().chain(output.shape().iter().copied()).collect(), output.dtype())
    }

    /// The states before each step, among all values of it.
    pub fn before(&self, all: &Tensor) -> Tensor {
        all.narrow(0, self.reverse as usize, self.length)
    }

    /// The states after each step.
    pub fn after(&self, all: &Tensor) -> Tensor {
        all.narrow(0, !self.reverse as usize, self.length)
    }
}

/// The scan that a node is.
pub fn of(node: &Tensor) -> &Arc<Scan> {
    match node.op() {
        Op::Scan(scan) => scan,
        _ => unreachable!("asked of scans alone"),
    }
}

/// The last states and what each step gives, of the scan of an outline. Where a step gives a state, its values are those of the state.
pub fn results(mut outline: Outline) -> Result<Vec<Tensor>> {
    let (new, given) = outline.results.split_at(outline.states.len());
    let states: Vec<Option<usize>> = given.iter().map(|y| new.iter().position(|state| state.ptr_eq(y))).collect();
    let mut is_state = new.iter().map(|_| false).chain(states.iter().map(Option::is_some)).collect::<Vec<bool>>().into_iter();
    outline.results.retain(|_| !is_state.next().expect("one a result"));
    let node = scan(outline)?;
    let scan = of(&node);
    let kept = if node.is_tracked() { kept(&node)? } else { vec![] };
    let mut out = (0..scan.body.states).map(|i| part(&node, Part::Last(i), &kept)).collect::<Result<Vec<Tensor>>>()?;
    let mut steps = (0..scan.body.given).map(Part::Step);
    for state in states {
        out.push(match state {
            Some(i) => scan.after(&part(&node, Part::All(i), &kept)?),
            None => part(&node, steps.next().expect("given by each step"), &kept)?,
        });
    }
    Ok(out)
}

/// A part of a scan, which keeps those of `kept` for the gradient.
pub(crate) fn part(scan: &Tensor, part: Part, kept: &[Tensor]) -> Result<Tensor> {
    let (shape, dtype) = of(scan).shape_of(part);
    let srcs: Srcs = std::iter::once(scan).chain(kept).cloned().collect();
    Tensor::node(Op::Part(of(scan).number(part)), srcs, shape, dtype)
}

/// The parts that the gradient of a scan is made of.
pub(crate) fn kept(node: &Tensor) -> Result<Vec<Tensor>> {
    let scan = of(node);
    let states = (0..scan.body.states).map(Part::All);
    let dear = (scan.body.given..scan.body.outputs.len() - scan.body.states).map(Part::Step);
    states.chain(dear).map(|p| part(node, p, &[])).collect()
}

/// The gradient of a part towards its scan.
pub(super) fn towards(k: u32, i: usize, srcs: &[Tensor], g: &Tensor) -> Option<Tensor> {
    let parts = std::iter::once(g).chain(&srcs[1..]).cloned().collect();
    (i == 0).then(|| Tensor::within(Op::Parts(Box::new([k])), parts, Shape::new(), DType::F32))
}

/// The gradients by parts of a scan, and the parts that were kept.
pub(crate) fn parts_of(g: &Tensor) -> (SmallVec<[(u32, Tensor); 4]>, Vec<Tensor>) {
    let Op::Parts(numbers) = g.op() else { unreachable!("a scan has gradients by its parts alone") };
    let srcs = g.0.srcs.get(&lock()).clone();
    let kept = srcs[numbers.len()..].to_vec();
    (numbers.iter().copied().zip(srcs).collect(), kept)
}

/// The sum of two lists of gradients by parts.
pub(super) fn sum(x: &Tensor, y: &Tensor) -> Tensor {
    let ((mut all, mut kept), (more, also)) = (parts_of(x), parts_of(y));
    for (k, g) in more {
        match all.iter_mut().find(|(known, _)| *known == k) {
            Some((_, sum)) => *sum = &*sum + &g,
            None => all.push((k, g)),
        }
    }
    if kept.is_empty() {
        kept = also;
    }
    let (numbers, gs): (Vec<u32>, Vec<Tensor>) = all.into_iter().unzip();
    Tensor::within(Op::Parts(numbers.into()), gs.into_iter().chain(kept).collect(), Shape::new(), DType::F32)
}

/// The pieces that a scan is made of.
pub struct Outline {
    pub level: u32,
    pub length: usize,
    pub reverse: bool,
    /// The node that stands for a state, and the value before the first step.
    pub states: Vec<(Tensor, Tensor)>,
    /// The node that stands for a row, and the sequence.
    pub rows: Vec<(Tensor, Tensor)>,
    /// Numbers of another scan in the body: each with its operand here and what is added to it.
    pub numbers: Vec<(Tensor, Tensor, i64, i64)>,
    /// Blocks of the random stream that one step takes.
    pub drawn: u64,
    pub results: Vec<Tensor>,
}

impl Outline {
    /// The operand for a number of another scan. A function that runs again for its gradient draws from the same place by a number of its own.
    fn number(&self, number: &Tensor, moves: bool) -> Option<&(Tensor, Tensor, i64, i64)> {
        let same = |x: &Tensor| matches!((x.op(), number.op()), (Op::Number(a), Op::Number(b)) if a == b);
        let known = self.numbers.iter().find(|(x, ..)| x.ptr_eq(number));
        known.or_else(|| self.numbers.iter().find(|(x, _, first, step)| moves && (*first, *step) != (0, 0) && same(x)))
    }
}

/// The walk over the nodes that a body is made of.
struct Walk<'a> {
    outline: &'a Outline,
    known: FxHashSet<u64>,
    /// Nodes that a step computes, operands first; views are not among them.
    order: Vec<Tensor>,
    consts: Vec<Tensor>,
    numbers: Vec<(Tensor, bool)>,
}

impl<'a> Walk<'a> {
    fn of(outline: &'a Outline, outputs: &[Tensor]) -> Result<Walk<'a>> {
        let known = outline.states.iter().chain(&outline.rows).map(|(node, _)| node.id()).collect();
        let mut walk = Walk { outline, known, order: vec![], consts: vec![], numbers: vec![] };
        outputs.iter().try_for_each(|x| walk.add(x))?;
        Ok(walk)
    }

    fn add(&mut self, root: &Tensor) -> Result<()> {
        let mut stack = vec![(root.base(), false)];
        while let Some((node, done)) = stack.pop() {
            if done {
                self.order.push(node);
                continue;
            }
            if !self.known.insert(node.id()) {
                continue;
            }
            if matches!(node.op(), Op::Argument) {
                bail!(
                    Value,
                    "scan: the function uses an argument of another scan, or of an earlier call; pass it in as state or xs"
                );
            }
            let srcs = node.0.srcs.get(&lock()).clone();
            stack.push((node.clone(), true));
            for (k, src) in srcs.iter().enumerate().rev() {
                if src.is_number() {
                    self.number(&node, k, src);
                } else if src.0.level >= self.outline.level {
                    stack.push((src.base(), false));
                } else if self.known.insert(src.id()) {
                    self.consts.push(src.clone());
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, node: &Tensor, k: usize, number: &Tensor) {
        let moves = match node.op() {
            Op::Structured(op) => op.counter() == Some(k),
            Op::Scan(scan) => scan.counters.iter().any(|c| c.input == k),
            _ => false,
        };
        if self.known.insert(number.id()) {
            self.numbers.push((number.clone(), moves));
        }
    }

    /// Everything that decides what code runs for the body.
    fn key(&self, inputs: &[Tensor], outputs: &[Tensor]) -> u64 {
        let mut h = Hasher::new(inputs.len() as u64);
        let mut place: FxHashMap<u64, u64> = FxHashMap::default();
        for x in inputs {
            place.insert(x.id(), place.len() as u64);
            h.add(Op::Argument.hash(x.shape(), x.dtype(), x.device(), x.is_tracked()));
            h.add(x.is_number() as u64);
        }
        let place_of =
            |place: &FxHashMap<u64, u64>, x: &Tensor| place.get(&x.id()).or_else(|| place.get(&base_node(x).id)).copied();
        let g = lock();
        for node in &self.order {
            h.add(node.0.hash);
            for src in node.0.srcs.get(&g) {
                h.add(place_of(&place, src).unwrap_or(u64::MAX));
                if matches!(src.op(), Op::View(_)) && !place.contains_key(&src.id()) {
                    h.add(src.0.hash);
                }
            }
            place.insert(node.id(), place.len() as u64);
        }
        outputs.iter().for_each(|x| h.add(place_of(&place, x).unwrap_or(u64::MAX)));
        h.finish()
    }
}

/// The result of a body as a node of its own that each step computes.
fn own(x: &Tensor, level: u32) -> Tensor {
    let mut copy = x.copied();
    Arc::get_mut(&mut copy.0).expect("made just now").level = level;
    copy
}

/// A scan, whose function runs once for each row, and so often if there are none.
pub fn scan(mut outline: Outline) -> Result<Tensor> {
    let level = outline.level;
    let mut taken: FxHashSet<u64> = outline.states.iter().chain(&outline.rows).map(|(node, _)| node.id()).collect();
    let mut outputs: Vec<Tensor> = Vec::with_capacity(outline.results.len());
    for x in &outline.results {
        let is_own = !matches!(x.op(), Op::View(_) | Op::Number(_)) && x.0.level >= level && taken.insert(x.id());
        outputs.push(if is_own { x.clone() } else { own(x, level) });
    }
    let mut walk = Walk::of(&outline, &outputs)?;
    let products = super::lift::products(&outline, &walk.order);
    if !products.is_empty() {
        // A result that is one of them becomes a copy of a row.
        let made: FxHashSet<u64> = products.iter().map(|(node, _)| node.id()).collect();
        outputs.iter_mut().filter(|x| made.contains(&x.id())).for_each(|x| *x = own(x, level));
        taken.extend(made);
        outline.rows.extend(products);
        walk = Walk::of(&outline, &outputs)?;
    }
    // A sequence that no step reads is no operand.
    let read: FxHashSet<u64> = {
        let g = lock();
        walk.order.iter().flat_map(|x| x.0.srcs.get(&g).iter().map(|s| base_node(s).id)).collect()
    };
    let rows: Vec<&(Tensor, Tensor)> = outline.rows.iter().filter(|(node, _)| read.contains(&node.id())).collect();
    let given = outputs.len() - outline.states.len();
    let operands = outline.states.iter().chain(rows.iter().copied()).map(|(_, x)| x);
    let differentiable = tracking() && operands.clone().chain(&walk.consts).any(Tensor::is_tracked);
    if differentiable {
        let dear = |x: &&Tensor| x.op().is_expensive() && x.is_tracked() && !x.0.passing && !taken.contains(&x.id());
        outputs.extend(walk.order.iter().filter(dear).cloned());
    }
    let mut inputs: Vec<Tensor> = outline.states.iter().chain(rows.iter().copied()).map(|(node, _)| node.clone()).collect();
    let mut srcs: Srcs = operands.cloned().collect();
    inputs.extend(walk.consts.iter().cloned());
    srcs.extend(walk.consts.iter().cloned());
    let mut counters = Vec::new();
    for (number, moves) in &walk.numbers {
        let (operand, first, step) = match outline.number(number, *moves) {
            Some((_, operand, first, step)) => (operand.clone(), *first, *step),
            None => (number.clone(), 0, if *moves { outline.drawn as i64 } else { 0 }),
        };
        if (first, step) != (0, 0) {
            counters.push(Counter { input: inputs.len(), first, step });
        }
        inputs.push(number.clone());
        srcs.push(operand);
    }
    let body = Body {
        states: outline.states.len(),
        rows: rows.len(),
        given,
        level,
        has_custom: walk
            .order
            .iter()
            .any(|x| matches!(x.op(), Op::Custom(_)) || matches!(x.op(), Op::Scan(s) if s.body.has_custom)),
        key: walk.key(&inputs, &outputs),
        inputs,
        outputs,
    };
    let op = Scan { body: Arc::new(body), length: outline.length, reverse: outline.reverse, counters };
    // The scan itself belongs to what is around its function.
    let _around = Tracing::enter(level - 1);
    Ok(Tensor::within(Op::Scan(Arc::new(op)), srcs, Shape::new(), DType::F32))
}

/// A function of states and rows: the new states, and what the step gives.
pub trait Function: FnOnce(&[Tensor], &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)> {}
impl<F: FnOnce(&[Tensor], &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)>> Function for F {}

/// Runs `f` over the rows of `sequences`, `length` of them, from the states `first`: the last states, and what each step gave. `f` is
/// called once, on arguments without values.
pub fn over(f: impl Function, first: &[Tensor], sequences: &[Tensor], length: usize, reverse: bool) -> Result<Vec<Tensor>> {
    let level = level() + 1;
    let _tracing = Tracing::enter(level);
    let argument =
        |x: &Tensor, axes: usize| Tensor::argument(&x.shape()[axes..], x.dtype(), x.device(), x.dtype().is_float() && tracking());
    let states: Vec<Tensor> = first.iter().map(|x| argument(x, 0)).collect();
    let rows: Vec<Tensor> = sequences.iter().map(|x| argument(x, 1)).collect();
    let from = random::state();
    let (new, given) = f(&states, &rows)?;
    let wrong = |(old, new): (&Tensor, &Tensor)| old.shape() != new.shape() || old.dtype() != new.dtype();
    if new.len() != states.len() || states.iter().zip(&new).any(wrong) {
        bail!(Shape, "scan: the states that a step returns have the shapes and types of those that it takes");
    }
    if let Some(x) = sequences.iter().find(|x| x.shape()[0] != length) {
        bail!(Shape, "scan: a sequence of shape {} has other than {length} rows", show(x.shape()));
    }
    results(Outline {
        level,
        length,
        reverse,
        states: states.into_iter().zip(first.iter().cloned()).collect(),
        rows: rows.into_iter().zip(sequences.iter().cloned()).collect(),
        numbers: vec![],
        drawn: random::drawn(from, length)?,
        results: new.into_iter().chain(given).collect(),
    })
}
