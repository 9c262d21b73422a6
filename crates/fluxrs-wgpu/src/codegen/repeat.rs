//! Scans: the kernels of a step, dispatched once for each row. Between two steps only arguments differ: where rows begin, and the
//! numbers that random streams begin at. So three steps are made into kernels, and the words of all follow from theirs.

use super::args::Patch;
use super::builder::{Launch, Target};
use super::spill::Targets;
use crate::fault::{Fault, Result};
use crate::limits::Limits;
use fluxrs::DType;
use fluxrs::plan::{Body, Buf, Feed, Kernel, Load, Loop, Mode, Rank, Repeat, Source, Storage, Store};
use fluxrs::shape::{Map, Shape, Strides};

/// Dispatches of one scan at most.
const MOST: usize = 1 << 19;

/// Where a buffer of a step's plan lies in one of the plan around it: in elements, at the first step, and how far on at each.
#[derive(Clone, Copy)]
struct Lies {
    target: Target,
    start: i64,
    stride: i64,
}

impl Lies {
    fn still(target: Target) -> Lies {
        Lies { target, start: 0, stride: 0 }
    }
}

struct Scan<'a> {
    r: &'a Repeat,
    number: u32,
    limits: &'a Limits,
    lies: Vec<Lies>,
    targets: Vec<Target>,
    /// Where each state lies before a step, with its size and type.
    states: Vec<(Lies, usize, DType)>,
}

/// `base` says where the buffers of the plan around it begin at the step that this is a part of.
pub(super) fn launches(
    r: &Repeat,
    outer: &mut Targets,
    base: &dyn Fn(Buf) -> i64,
    number: u32,
    limits: &Limits,
) -> Result<Vec<Launch>> {
    let lies = vec![Lies::still(Target::Status); r.plan.buffers.len()];
    let mut scan = Scan { r, number, limits, lies, targets: vec![], states: vec![] };
    let mut out = scan.place(outer, base)?;
    let ends = scan.ends(outer, base)?;
    if r.length > 0 {
        out.extend(scan.steps(outer.temporary)?);
    }
    out.extend(ends);
    Ok(out)
}

impl Scan<'_> {
    /// Where row i of so many elements lies, from a place on.
    fn row(&self, start: i64, stride: i64, target: Target) -> Lies {
        match self.r.reverse {
            true => Lies { target, start: start + (self.r.length as i64 - 1) * stride, stride: -stride },
            false => Lies { target, start, stride },
        }
    }

    /// Finds a place for every buffer of the step; the kernels that lay the first states where the first step reads them.
    fn place(&mut self, outer: &mut Targets, base: &dyn Fn(Buf) -> i64) -> Result<Vec<Launch>> {
        let mut first = Vec::new();
        let (rows, n) = (self.r.length as i64, self.r.carries.len());
        for carry in &self.r.carries {
            let (len, dtype) = (carry.first.shape.iter().product::<usize>(), carry.first.dtype);
            let (target, start) = match carry.all {
                Some(all) => (outer.all[all as usize], base(all)),
                None => (Target::Temp((outer.temporary)((self.r.length + 1) * len)), 0),
            };
            let Source::Buffer(from) = carry.first.source else {
                return Err(Fault::Unsupported("a scan over Python numbers".to_owned()));
            };
            let stride = if self.r.reverse { -(len as i64) } else { len as i64 };
            let before = Lies { target, start: start + if self.r.reverse { rows * len as i64 } else { 0 }, stride };
            self.states.push((before, len, dtype));
            let at = carry.first.map.offset + base(from);
            first.extend(self.copy((outer.all[from as usize], at), (target, before.start), len, dtype, outer.temporary)?);
        }
        for (k, info) in self.r.plan.buffers.iter().enumerate() {
            self.lies[k] = match info.storage {
                Storage::Slot(slot) => match self.r.feeds[slot as usize] {
                    Feed::Whole(whole) => Lies { target: outer.all[whole as usize], start: base(whole), stride: 0 },
                    Feed::Row { buffer, offset, stride } => self.row(base(buffer) + offset, stride, outer.all[buffer as usize]),
                    Feed::State(state) => self.states[state].0,
                },
                Storage::Output(output) => match (output as usize).checked_sub(n) {
                    Some(step) => {
                        let buffer = self.r.steps[step];
                        self.row(base(buffer), info.len as i64, outer.all[buffer as usize])
                    }
                    None => {
                        let before = self.states[output as usize].0;
                        Lies { start: before.start + before.stride, ..before }
                    }
                },
                Storage::Temporary => Lies::still(Target::Temp((outer.temporary)(info.len))),
            };
        }
        self.targets = self.lies.iter().map(|l| l.target).collect();
        Ok(first)
    }

    /// The kernels that copy the last states to where they are asked for.
    fn ends(&self, outer: &mut Targets, base: &dyn Fn(Buf) -> i64) -> Result<Vec<Launch>> {
        let mut out = Vec::new();
        for (carry, &(before, len, dtype)) in self.r.carries.iter().zip(&self.states) {
            let Some(last) = carry.last else { continue };
            let from = (before.target, before.start + before.stride * self.r.length as i64);
            out.extend(self.copy(from, (outer.all[last as usize], base(last)), len, dtype, outer.temporary)?);
        }
        Ok(out)
    }

    fn copy(
        &self,
        from: (Target, i64),
        to: (Target, i64),
        len: usize,
        dtype: DType,
        temporary: &mut dyn FnMut(usize) -> u32,
    ) -> Result<Vec<Launch>> {
        let map = |offset: i64| Map { offset, strides: Strides::from_elem(1, 1) };
        let load = Load { reg: 0, source: Source::Buffer(0), dtype, rank: Rank::Full, map: map(from.1) };
        let store = Store { reg: 0, buffer: 1, dtype, rank: Rank::Full, map: map(to.1) };
        let dims = Shape::from_elem(len, 1);
        let body = Loop { mode: Mode::Map, dims, fence: 0, loads: vec![load], code: vec![], stores: vec![store], sparse: None };
        let kernel = Kernel { body: Body::Loop(body), label: "copy".to_owned(), cost: len };
        super::launches(&kernel, &[from.0, to.0], self.number, false, self.limits, temporary)
    }

    /// The kernels of all steps.
    fn steps(&self, temporary: &mut dyn FnMut(usize) -> u32) -> Result<Vec<Launch>> {
        let length = self.r.length;
        // Not the first and the last: a kernel that reads a row at the beginning of a buffer has no argument for where it begins.
        let some = if length > 4 { 1..4 } else { 0..1 };
        let known = some.map(|i| self.step(i, temporary)).collect::<Result<Vec<_>>>()?;
        if known[0].len().saturating_mul(length) > MOST {
            return Err(Fault::Unsupported(format!("a scan of {length} steps of {} kernels; cut the sequence", known[0].len())));
        }
        if known.len() == 3 && known.iter().all(|step| alike(step, &known[0])) && is_even(&known) {
            return Ok((0..length as i64).flat_map(|i| between(&known[0], &known[1], i - 1)).collect());
        }
        let mut out: Vec<Launch> = Vec::new();
        for i in 0..length {
            out.extend(self.step(i, temporary)?);
        }
        Ok(out)
    }

    /// The kernels of step `i`.
    fn step(&self, i: usize, temporary: &mut dyn FnMut(usize) -> u32) -> Result<Vec<Launch>> {
        let mut out = Vec::new();
        for kernel in &self.r.plan.kernels {
            let mut targets = self.targets.clone();
            let (body, copies) = self.moved(&kernel.body, i, &mut targets, temporary);
            let kernel = Kernel { body, label: kernel.label.clone(), cost: kernel.cost };
            match &kernel.body {
                Body::Repeat(inner) => {
                    let mut within = Targets { all: targets.clone(), temporary };
                    let base = |buffer: Buf| self.shift(buffer, i);
                    out.extend(launches(inner, &mut within, &base, self.number, self.limits)?);
                }
                _ => out.extend(super::launches(&kernel, &targets, self.number, false, self.limits, temporary)?),
            }
            for (from, to) in copies {
                let info = &self.r.plan.buffers[to as usize];
                let row = (self.targets[to as usize], self.shift(to, i));
                out.extend(self.copy((from, 0), row, info.len, info.dtype, temporary)?);
            }
        }
        for patch in out.iter_mut().flat_map(|launch| &mut launch.args.patches) {
            let (source, first, step) = self.r.numbers[patch.number as usize];
            let Source::Number(number) = source else { continue };
            *patch = Patch { number, add: patch.add.wrapping_add(first.wrapping_add(step.wrapping_mul(i as i64))), ..*patch };
        }
        Ok(out)
    }

    fn shift(&self, buffer: Buf, i: usize) -> i64 {
        let Lies { start, stride, .. } = self.lies[buffer as usize];
        start + stride * i as i64
    }

    /// A kernel of step `i`, and the temporaries that it writes in place of rows, since it writes to the beginning of a buffer.
    fn moved(
        &self,
        body: &Body,
        i: usize,
        targets: &mut Vec<Target>,
        temporary: &mut dyn FnMut(usize) -> u32,
    ) -> (Body, Vec<(Target, Buf)>) {
        let mut copies = Vec::new();
        let move_loop = |l: &mut Loop| {
            for load in &mut l.loads {
                if let Source::Buffer(buffer) = load.source {
                    load.map.offset += self.shift(buffer, i);
                }
            }
            l.stores.iter_mut().for_each(|store| store.map.offset += self.shift(store.buffer, i));
        };
        let mut whole = |buffer: Buf, copied: bool| -> Buf {
            let Lies { start, stride, .. } = self.lies[buffer as usize];
            if (start, stride) == (0, 0) {
                return buffer;
            }
            let target = Target::Temp(temporary(self.r.plan.buffers[buffer as usize].len));
            targets.push(target);
            if copied {
                copies.push((target, buffer));
            }
            targets.len() as Buf - 1
        };
        let mut body = body.clone();
        match &mut body {
            Body::Loop(l) => move_loop(l),
            Body::Matmul(m) => {
                m.a_map.offset += self.shift(m.a, i);
                m.b_map.offset += self.shift(m.b, i);
                let (old, new) = (m.c, whole(m.c, m.keeps_c || m.epilogue.is_none()));
                if let Some(l) = &mut m.epilogue {
                    move_loop(l);
                    for load in l.loads.iter_mut().filter(|load| load.source == Source::Buffer(old)) {
                        load.map.offset -= self.shift(old, i);
                        load.source = Source::Buffer(new);
                    }
                }
                m.c = new;
            }
            Body::Structured(call) => {
                for src in &mut call.srcs {
                    if let Source::Buffer(buffer) = src.source {
                        src.map.offset += self.shift(buffer, i);
                    }
                }
                call.out = call.out.map(|out| whole(out, true));
                call.elements = call.elements.map(|elements| whole(elements, true));
            }
            Body::Repeat(_) => (),
        }
        (body, copies)
    }
}

/// True if two steps run the same kernels on the same buffers, but for temporaries of a kernel's own.
fn alike(a: &[Launch], b: &[Launch]) -> bool {
    let same = |(a, b): (&Launch, &Launch)| {
        a.source == b.source
            && a.groups == b.groups
            && a.bindings.len() == b.bindings.len()
            && a.args.words.len() == b.args.words.len()
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// True if every word grows by as much from the first step to the second as from the second to the third.
fn is_even(steps: &[Vec<Launch>]) -> bool {
    let words = |i: usize| steps[i].iter().flat_map(|launch| &launch.args.words);
    words(0).zip(words(1)).zip(words(2)).all(|((a, b), c)| b.wrapping_sub(*a) == c.wrapping_sub(*b))
}

/// The step that is `i` behind the first of two.
fn between<'a>(first: &'a [Launch], second: &'a [Launch], i: i64) -> impl Iterator<Item = Launch> + 'a {
    first.iter().zip(second).map(move |(a, b)| {
        let mut launch = a.clone();
        for (word, next) in launch.args.words.iter_mut().zip(&b.args.words) {
            *word = word.wrapping_add(next.wrapping_sub(*word).wrapping_mul(i as u32));
        }
        for (patch, next) in launch.args.patches.iter_mut().zip(&b.args.patches) {
            patch.add = patch.add.wrapping_add(next.add.wrapping_sub(patch.add).wrapping_mul(i));
        }
        launch
    })
}
