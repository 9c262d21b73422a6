//! The sum of the gradients by one node. Those by its slices, each laid on a ground of zeros, become one node together: as n nodes
//! they would take n times the memory of the whole.

use super::{Op, Place, scan};
use crate::dtype::Number;
use crate::graph::{Srcs, Tensor, lock};
use crate::shape::{self, Map, Shape};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Gradients that come one after the other, added up in this order.
pub(crate) enum Sum {
    Tensor(Tensor),
    Ground(Box<Ground>),
}

impl Sum {
    pub fn add(self, part: Tensor) -> Sum {
        if pieces(&part).is_none() {
            return Sum::Tensor(added(self.tensor(), part));
        }
        let mut ground = match self {
            Sum::Ground(ground) => ground,
            Sum::Tensor(first) => Ground::on(first),
        };
        if !ground.take_in(&part) {
            ground = Ground::on(ground.tensor());
            if !ground.take_in(&part) {
                return Sum::Tensor(added(ground.tensor(), part));
            }
        }
        Sum::Ground(ground)
    }

    pub fn tensor(self) -> Tensor {
        match self {
            Sum::Tensor(t) => t,
            Sum::Ground(ground) => ground.tensor(),
        }
    }
}

fn added(x: Tensor, y: Tensor) -> Tensor {
    if matches!(x.op(), Op::Parts(_)) { scan::sum(&x, &y) } else { x + y }
}

/// What is laid on zeros, and where.
fn pieces(t: &Tensor) -> Option<(&[Map], Srcs)> {
    match t.op() {
        Op::Place(p) if p.fill == Some(Number::Int(0)) => {
            let srcs = t.0.srcs.get(&lock()).clone();
            (!srcs.is_empty()).then_some((&p.maps[..], srcs))
        }
        _ => None,
    }
}

/// Pieces that lie apart on a ground of zeros, or one on another.
#[derive(Default)]
pub(crate) struct Ground {
    below: Option<Tensor>,
    /// The only one so far that was taken in.
    single: Option<Tensor>,
    srcs: Srcs,
    maps: SmallVec<[Map; 2]>,
    shape: Shape,
    known: FxHashMap<(Map, Shape), usize>,
    boxes: Vec<Extent>,
    /// The positions that pieces cover along each axis.
    covered: SmallVec<[Spans; 4]>,
}

impl Ground {
    /// `first`, if that is made of pieces, or a ground to be added to it.
    fn on(first: Tensor) -> Box<Ground> {
        let mut ground = Box::new(Ground::default());
        if !ground.take_in(&first) {
            ground.below = Some(first);
        }
        ground
    }

    /// Adds a tensor's pieces, unless one overlaps with another that is here.
    fn take_in(&mut self, part: &Tensor) -> bool {
        let Some((maps, srcs)) = pieces(part) else { return false };
        let of = maps.iter().zip(&srcs).map(|(map, src)| box_of(map, src.shape(), part.shape()));
        let Some(boxes) = of.collect::<Option<Vec<Extent>>>() else { return false };
        let keys: Vec<_> = maps.iter().zip(&srcs).map(|(map, src)| (map.clone(), Shape::from(src.shape()))).collect();
        if keys.iter().zip(&boxes).any(|(key, extent)| !self.known.contains_key(key) && self.meets(extent)) {
            return false;
        }
        self.single = self.srcs.is_empty().then(|| part.clone());
        self.shape = part.shape().into();
        self.covered.resize_with(part.ndim(), Spans::default);
        for ((key, src), extent) in keys.into_iter().zip(srcs).zip(boxes) {
            if let Some(&k) = self.known.get(&key) {
                self.srcs[k] = &self.srcs[k] + src;
                continue;
            }
            self.maps.push(key.0.clone());
            self.known.insert(key, self.srcs.len());
            self.srcs.push(src);
            self.covered.iter_mut().zip(&extent).for_each(|(spans, &span)| spans.insert(span));
            self.boxes.push(extent);
        }
        true
    }

    /// True if a piece overlaps with one that is here, or if that would take long to find out.
    fn meets(&self, extent: &Extent) -> bool {
        let apart = self.covered.iter().zip(extent).any(|(spans, &span)| !spans.meet(span));
        !apart && (self.boxes.len() > MOST_COMPARED || self.boxes.iter().any(|b| overlap(b, extent)))
    }

    fn tensor(self) -> Tensor {
        let Some(first) = self.srcs.first() else { return self.below.expect("a ground is made of something") };
        debug_assert!(self.srcs.iter().all(|s| s.dtype() == first.dtype()));
        let laid = self.single.unwrap_or_else(|| Place::several(self.srcs, self.maps, &self.shape));
        match self.below {
            None => laid,
            Some(below) => below + laid,
        }
    }
}

/// Pieces that one is compared with if no axis shows that it lies apart from all.
const MOST_COMPARED: usize = 32;

/// Where a piece begins along each axis, and where it ends.
type Extent = SmallVec<[(usize, usize); 4]>;

/// The part of an output that a piece covers, if that is a box.
fn box_of(map: &Map, src: &[usize], out: &[usize]) -> Option<Extent> {
    let layout = shape::contiguous(out);
    let mut rest = usize::try_from(map.offset).ok()?;
    let mut found = Extent::new();
    for (&n, &step) in out.iter().zip(&layout) {
        let at = if n > 1 { rest / step as usize } else { 0 };
        rest -= at * step as usize;
        found.push((at, at + 1));
    }
    for (&n, &stride) in src.iter().zip(&map.strides).filter(|&(&n, _)| n != 1) {
        let axis = (0..out.len()).find(|&a| out[a] > 1 && layout[a] == stride)?;
        let (at, end) = &mut found[axis];
        if *end != *at + 1 || *at + n > out[axis] {
            return None;
        }
        *end = *at + n;
    }
    Some(found)
}

fn overlap(a: &Extent, b: &Extent) -> bool {
    a.iter().zip(b).all(|(a, b)| a.0 < b.1 && b.0 < a.1)
}

/// A union of intervals: the end of each by its start.
#[derive(Default)]
struct Spans(BTreeMap<usize, usize>);

impl Spans {
    fn meet(&self, (start, end): (usize, usize)) -> bool {
        self.0.range(..end).next_back().is_some_and(|(_, &e)| e > start)
    }

    fn insert(&mut self, (mut start, mut end): (usize, usize)) {
        while let Some((&s, &e)) = self.0.range(..=end).next_back().filter(|&(_, &e)| e >= start) {
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }
}
