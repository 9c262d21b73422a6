//! Which nodes share a kernel.
//!
//! Nodes are taken in topological order. A node joins the latest group that its operands allow: a group it reads from
//! only at the index it writes, or a later one over the same space. So every group depends on earlier groups alone.

use super::store::needed;
use super::{Edge, Pending};
use crate::error::Result;
use crate::ops::{Half, Op};
use crate::plan::{Mode, Rank};
use crate::shape::{self, Map, Shape};
use crate::stop::go_on;
use crate::work;
use rustc_hash::FxHashMap;

/// Nodes in one kernel at most: programs stay short enough for registers and compilers.
const MAX_MEMBERS: usize = 96;
/// A row up to this long stays in cache, so that its reductions and what is made of them share a kernel.
const MAX_ROW: usize = 16 * 1024;
/// Elements of a loop that may run before all others: results that wait are little memory.
const SMALL: usize = 4 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GroupKind {
    Loop,
    Matmul,
    /// A structured op or a place: alone in its group.
    Alone,
}

pub(crate) struct Group {
    pub kind: GroupKind,
    pub shape: Shape,
    /// The reduced axes, 0 until a reduction joins.
    pub axes: u64,
    pub members: Vec<usize>,
    /// In the last segment, which writes parameters.
    pub last: bool,
}

impl Group {
    pub fn mode(&self) -> Mode {
        if self.axes == 0 { Mode::Map } else { reduction_mode(&self.shape, self.axes) }
    }

    pub fn kept(&self) -> Shape {
        (0..self.shape.len()).filter(|a| self.axes >> a & 1 == 0).map(|a| self.shape[a]).collect()
    }

    fn row_len(&self) -> usize {
        (0..self.shape.len()).filter(|a| self.axes >> a & 1 == 1).map(|a| self.shape[a]).product()
    }
}

/// The way in which these axes of a space are reduced: the bits of the result depend on it, so it depends on nothing else.
pub(crate) fn reduction_mode(shape: &[usize], axes: u64) -> Mode {
    // The last axis of any length decides: reduced, rows are read in order; kept, whole rows are added up.
    let last = (0..shape.len()).rev().find(|&a| shape[a] != 1);
    match last {
        Some(a) if axes >> a & 1 == 0 => Mode::Columns,
        _ => Mode::Rows,
    }
}

/// When a group runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    /// Small loops over what is there before the run: a later group that reads them need not wait, such as a product whose epilogue does.
    First,
    Then,
    /// In the last segment.
    Last,
}

/// A place in the order of groups.
type Position = (Stage, usize);

pub(crate) struct Groups {
    /// In running order.
    pub list: Vec<Group>,
    /// Each computed node's group and rank; constants and what is loaded have none.
    pub of: Vec<Option<(usize, Rank)>>,
}

struct Assigner<'a> {
    pending: &'a Pending<'a>,
    stages: [Vec<Group>; 3],
    of: Vec<Option<(Position, Rank)>>,
    /// The latest loop over each shape.
    latest: FxHashMap<(Stage, Shape), usize>,
    /// The latest loop that reduces each shape over some axes.
    reducing: FxHashMap<(Shape, u64), usize>,
}

pub(crate) fn assign(pending: &Pending) -> Result<Groups> {
    let n = pending.locals.len();
    let last = last_nodes(pending);
    let mut a = Assigner {
        pending,
        stages: [vec![], vec![], vec![]],
        of: vec![None; n],
        latest: FxHashMap::default(),
        reducing: FxHashMap::default(),
    };
    let needed = needed(pending);
    for (i, last) in last.into_iter().enumerate() {
        go_on(i)?;
        // What no result is made of is not computed: it would be written out in full, however long.
        if needed[i] && pending.is_compute(i) && (pending.requested[i].is_some() || pending.as_number(i).is_none()) {
            a.place(i, if last { Stage::Last } else { Stage::Then });
        }
    }
    let [first, then, _] = a.stages.each_ref().map(Vec::len);
    let before = |stage| match stage {
        Stage::First => 0,
        Stage::Then => first,
        Stage::Last => first + then,
    };
    let of = a.of.iter().map(|p| p.map(|((stage, k), rank)| (before(stage) + k, rank))).collect();
    Ok(Groups { list: a.stages.into_iter().flatten().collect(), of })
}

/// New values of leaves, and the elementwise nodes that serve nothing else.
fn last_nodes(pending: &Pending) -> Vec<bool> {
    let n = pending.locals.len();
    let mut last = vec![false; n];
    let mut used_early = vec![false; n];
    let mut used = vec![false; n];
    for i in (0..n).rev() {
        if !pending.is_compute(i) {
            continue;
        }
        last[i] = pending.is_elementwise(i)
            && match pending.requested[i] {
                Some(r) => pending.requests[r].commit && !used_early[i],
                None => used[i] && !used_early[i],
            };
        for e in &pending.edges[i] {
            used[e.base] = true;
            used_early[e.base] |= !last[i];
        }
    }
    last
}

impl Assigner<'_> {
    fn group(&self, p: Position) -> &Group {
        &self.stages[p.0 as usize][p.1]
    }

    fn group_mut(&mut self, p: Position) -> &mut Group {
        &mut self.stages[p.0 as usize][p.1]
    }

    fn open(&mut self, kind: GroupKind, shape: &[usize], axes: u64, stage: Stage) -> Position {
        let list = &mut self.stages[stage as usize];
        list.push(Group { kind, shape: shape.into(), axes, members: vec![], last: stage == Stage::Last });
        let position = (stage, list.len() - 1);
        if kind != GroupKind::Alone {
            self.latest.insert((stage, shape.into()), position.1);
        }
        position
    }

    /// The latest loops over a shape that a group of this stage may be.
    fn latest(&self, stage: Stage, shape: &Shape) -> impl Iterator<Item = Position> + use<> {
        let stages = if stage == Stage::Then { [Some(stage), Some(Stage::First)] } else { [Some(stage), None] };
        let found = stages.map(|s| s.and_then(|s| self.latest.get(&(s, shape.clone())).map(|&k| (s, k))));
        found.into_iter().flatten()
    }

    fn join(&mut self, i: usize, p: Position, rank: Rank) {
        self.group_mut(p).members.push(i);
        self.of[i] = Some((p, rank));
    }

    fn place(&mut self, i: usize, stage: Stage) {
        let shape = self.pending.shape(i);
        match self.pending.op(i) {
            Op::Reduce(r) => self.place_reduce(i, r.axes),
            Op::Matmul | Op::Conv(_) => {
                let p = self.open(GroupKind::Matmul, shape, 0, Stage::Then);
                self.join(i, p, Rank::Full);
            }
            Op::Structured(op) => {
                let beside = if op.half() == Some(Half::Elements) { self.places(i) } else { None };
                let p = beside.unwrap_or_else(|| self.open(GroupKind::Alone, shape, 0, Stage::Then));
                self.join(i, p, Rank::Full);
            }
            Op::Part(_) => {
                let (p, _) = self.of[self.pending.edges[i][0].base].expect("a scan comes before its parts");
                self.join(i, p, Rank::Full);
            }
            Op::Place(_) | Op::Scan(_) => {
                let p = self.open(GroupKind::Alone, shape, 0, Stage::Then);
                self.join(i, p, Rank::Full);
            }
            _ => self.place_elementwise(i, stage),
        }
    }

    /// The group that finds the places of the elements that `i` takes, in the same operand: its kernel gives the elements as well.
    fn places(&self, i: usize) -> Option<Position> {
        let [x, places] = &self.pending.edges[i][..] else { return None };
        let (p, _) = self.of[places.base]?;
        let whole = places.shape.as_slice() == self.pending.shape(places.base) && places.map == Map::contiguous(&places.shape);
        let finds = matches!(self.pending.op(places.base), Op::Structured(op) if op.half() == Some(Half::Places));
        (finds && whole && self.pending.edges[places.base][0] == *x && self.group(p).members.len() == 1).then_some(p)
    }

    /// The latest group that an operand of `i` is computed in.
    fn bound(&self, i: usize) -> Option<Position> {
        let edges = &self.pending.edges[i];
        edges.iter().filter(|e| self.pending.as_number(e.base).is_none()).filter_map(|e| self.of[e.base]).map(|(p, _)| p).max()
    }

    fn place_elementwise(&mut self, i: usize, stage: Stage) {
        let bound = self.bound(i);
        let shape = Shape::from(self.pending.shape(i));
        if let Some(p) = bound.filter(|p| p.0 == stage || p.0 == Stage::First && stage == Stage::Then) {
            for rank in [Rank::Full, Rank::Row] {
                if self.fits(i, p, rank) {
                    return self.join(i, p, rank);
                }
            }
        }
        for p in self.latest(stage, &shape) {
            if bound.is_none_or(|b| b < p) && self.fits(i, p, Rank::Full) {
                return self.join(i, p, Rank::Full);
            }
        }
        let early = stage == Stage::Then && bound.is_none_or(|b| b.0 == Stage::First) && shape::size(&shape) <= SMALL;
        let p = self.open(GroupKind::Loop, &shape, 0, if early { Stage::First } else { stage });
        self.join(i, p, Rank::Full);
    }

    /// True if an elementwise node can run in this group at this rank.
    fn fits(&self, i: usize, p: Position, rank: Rank) -> bool {
        let group = self.group(p);
        if group.kind == GroupKind::Alone || group.members.len() >= MAX_MEMBERS {
            return false;
        }
        let space = match rank {
            Rank::Full => group.shape.clone(),
            Rank::Row if group.axes == 0 => return false,
            Rank::Row => group.kept(),
        };
        work::count(1 + self.pending.edges[i].len());
        let shape = self.pending.shape(i);
        if shape::size(shape) != shape::size(&space) {
            return false;
        }
        self.pending.edges[i].iter().all(|e| {
            if self.pending.as_number(e.base).is_some() {
                return true;
            }
            let map = e.map.broadcast(&e.shape, shape);
            match self.of[e.base] {
                Some((q, from)) if q == p => link(group, from, rank, shape, &map),
                _ => map.reshape(shape, &space).is_some(),
            }
        })
    }

    fn place_reduce(&mut self, i: usize, axes: u64) {
        let edge: &Edge = &self.pending.edges[i][0];
        let same = edge.map.is_contiguous(&edge.shape) && edge.map.offset == 0;
        if let Some((p, Rank::Full)) = self.of[edge.base] {
            let group = self.group(p);
            let joins = same
                && group.kind == GroupKind::Loop
                && p.0 != Stage::Last
                && group.shape == edge.shape
                && (group.axes == 0 || group.axes == axes)
                && group.members.len() < MAX_MEMBERS;
            if joins {
                return self.reduce_in(i, p, axes);
            }
        }
        // Another reduction of the same space over the same axes shares the pass; else another loop over the space does.
        let shape = edge.shape.clone();
        let reducing = self.reducing.get(&(shape.clone(), axes)).map(|&k| (Stage::Then, k));
        for p in reducing.into_iter().chain(self.latest(Stage::Then, &shape)) {
            let group = self.group(p);
            let free = group.kind == GroupKind::Loop && (group.axes == 0 || group.axes == axes);
            if free && group.members.len() < MAX_MEMBERS && self.bound(i).is_none_or(|b| b < p) {
                return self.reduce_in(i, p, axes);
            }
        }
        let p = self.open(GroupKind::Loop, &shape, axes, Stage::Then);
        self.reduce_in(i, p, axes);
    }

    /// Puts a reduction into a group.
    fn reduce_in(&mut self, i: usize, p: Position, axes: u64) {
        if p.0 == Stage::Then {
            let shape = self.group(p).shape.clone();
            let latest = self.reducing.entry((shape, axes)).or_insert(p.1);
            *latest = p.1.max(*latest);
        }
        self.group_mut(p).axes = axes;
        self.join(i, p, Rank::Row);
    }
}

/// True if a value of rank `from` in the group, read through `map` over `shape`, is just the value at hand.
pub(crate) fn link(group: &Group, from: Rank, to: Rank, shape: &[usize], map: &Map) -> bool {
    match (from, to) {
        (Rank::Full, Rank::Full) | (Rank::Row, Rank::Row) => map.offset == 0 && map.is_contiguous(shape),
        (Rank::Row, Rank::Full) => {
            if group.mode() != Mode::Rows || group.row_len() > MAX_ROW || shape != group.shape.as_slice() || map.offset != 0 {
                return false;
            }
            let mut wanted = shape::contiguous(&group.kept()).into_iter();
            (0..shape.len()).all(|a| {
                let step = if group.axes >> a & 1 == 1 { 0 } else { wanted.next().expect("one a kept axis") };
                shape[a] == 1 || map.strides[a] == step
            })
        }
        (Rank::Full, Rank::Row) => false,
    }
}
