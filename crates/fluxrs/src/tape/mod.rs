//! Reverse-mode differentiation: the gradient of a graph is more graph, made of the same ops.

pub(crate) mod deferred;
mod scan;
mod total;

use crate::bail;
use crate::error::Result;
use crate::graph::{self, Graph, Pass, Tensor, Value, mark, no_grad};
use crate::guards::Guards;
use crate::ops::{self, Op, Sum};
use crate::shape::show;
use crate::stop;
use crate::work;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};
use std::sync::atomic::AtomicBool;

/// The thing that a gradient is taken by: the node itself, or any version of a leaf.
#[derive(Clone)]
pub enum Target {
    Node(Tensor),
    Leaf(u64),
}

impl Target {
    /// The number of the leaf, or of the node itself: both count from one source and never meet.
    fn number(&self) -> u64 {
        match self {
            Target::Node(node) => node.id(),
            Target::Leaf(leaf) => *leaf,
        }
    }
}

/// One tracked node on the way from the result back.
struct Visit<'a> {
    node: &'a Tensor,
    srcs: &'a [Tensor],
    /// The local index of each src, or NONE for one that is not tracked.
    links: SmallVec<[u32; 3]>,
}

const NONE: u32 = u32::MAX;

/// A result whose gradient is taken, and what that is multiplied by.
struct Root {
    y: Tensor,
    seed: Seed,
}

enum Seed {
    /// Everything made of the gradient carries the result as its guard.
    Guarded(Option<Tensor>),
    Plain(Tensor),
}

/// The tracked history of `roots`, every node after its srcs, and whether a parameter in it has been overwritten: back to nodes that
/// `ends` says are as far as one need go, and to none numbered below `floor`.
fn history<'a>(roots: &'a [Root], floor: u64, ends: impl Fn(&Tensor) -> bool) -> Result<(Vec<Visit<'a>>, bool)> {
    let mut g = graph::lock();
    let pass = &mut Pass::begin(&mut g);
    let mut stale = false;
    let mut visits: Vec<Visit<'a>> = Vec::new();
    let mut stack: Vec<(&'a Tensor, &'a [Tensor], usize)> = Vec::new();
    let enter = |g: &mut Graph, epoch: u32, t: &'a Tensor| {
        mark(g, epoch, t, NONE);
        if ends(t) {
            return (t, &[][..], 0);
        }
        // SAFETY: the srcs of a tracked node never change while it lives, and every node here lives as long as `y`.
        (t, unsafe { &t.0.srcs.lasting()[..] }, 0)
    };
    let is_part = |t: &Tensor| t.is_tracked() && t.id() >= floor;
    let mut looks = 0;
    let mut rest = roots.iter();
    loop {
        if pass.is_due(looks) {
            // A signal's handler runs outside of the scope that the gradient is made in.
            let _scope = graph::Tracking::enter();
            g = pass.pause(g, |g, epoch| {
                let done = visits.iter().enumerate().map(|(i, visit)| (visit.node, i as u32));
                let begun = stack.iter().map(|&(node, ..)| (node, NONE));
                done.chain(begun).for_each(|(node, i)| mark(g, epoch, node, i));
            })?;
        }
        let Some((node, srcs, next)) = stack.last_mut() else {
            let Some(Root { y, .. }) = rest.next() else { break };
            if is_part(y) && y.0.mark.get(&g).0 != pass.epoch {
                stack.push(enter(&mut g, pass.epoch, y));
            }
            continue;
        };
        looks += 1;
        if let Some(src) = srcs.get(*next) {
            *next += 1;
            if is_part(src) && src.0.mark.get(&g).0 != pass.epoch {
                let entry = enter(&mut g, pass.epoch, src);
                stack.push(entry);
            }
            continue;
        }
        let (node, srcs) = (*node, *srcs);
        stack.pop();
        stale |= matches!(node.op(), Op::Data) && matches!(node.0.value.get(&g), Value::Overwritten);
        mark(&mut g, pass.epoch, node, visits.len() as u32);
        let links = srcs.iter().map(|s| if is_part(s) { s.0.mark.get(&g).1 } else { NONE }).collect();
        visits.push(Visit { node, srcs, links });
    }
    work::count(looks);
    Ok((visits, stale))
}

/// The gradient of `y`, weighted by `seed` of its shape, by each target; `None` where `y` does not depend on it.
/// With `nest` the results can be differentiated again.
pub fn gradient(y: &Tensor, seed: Option<&Tensor>, targets: &[Target], nest: bool) -> Result<Vec<Option<Tensor>>> {
    let y = &whole(y);
    if nest {
        return backward(&root(y, seed), targets, false);
    }
    match deferred::defer(y, seed, targets) {
        Some(gradients) => Ok(gradients),
        None => no_grad(|| backward(&root(y, seed), targets, false)),
    }
}

/// `y`, in memory of its own if it shows a part of something else: a loss is watched as it is, not with what lies beside it.
pub(crate) fn whole(y: &Tensor) -> Tensor {
    let is_whole = || y.size() == y.base().size() && y.map().is_contiguous(y.shape());
    if !matches!(y.op(), Op::View(_)) || is_whole() {
        return y.clone();
    }
    let _tracking = y.is_tracked().then(graph::Tracking::enter);
    y.contiguous()
}

/// As `gradient`, of a function whose inputs are the targets: how one target depends on another does not count, and what is an
/// input twice has its gradient once.
pub fn pullback(y: &Tensor, seed: Option<&Tensor>, inputs: &[Target]) -> Result<Vec<Option<Tensor>>> {
    let mut out = backward(&root(&whole(y), seed), inputs, true)?;
    let mut seen = FxHashSet::default();
    out.iter_mut().zip(inputs).filter(|(_, t)| !seen.insert(t.number())).for_each(|(g, _)| *g = None);
    Ok(out)
}

/// The gradients towards the inputs of the checkpoint `out`, whose function made `again` of them when it ran once more.
pub fn gradient_again(out: &Tensor, again: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
    if again.shape() != g.shape() {
        let (first, second) = (show(g.shape()), show(again.shape()));
        bail!(Shape, "checkpoint: the function returned shape {first}, and {second} when it ran again");
    }
    let srcs = out.0.srcs.get(&graph::lock()).clone();
    let target = |s: &Tensor| if s.0.leaf == 0 { Target::Node(s.clone()) } else { Target::Leaf(s.0.leaf) };
    let targets: Vec<Target> = srcs.iter().skip(1).map(target).collect();
    pullback(again, Some(g), &targets)
}

fn root(y: &Tensor, seed: Option<&Tensor>) -> [Root; 1] {
    [Root { y: y.clone(), seed: Seed::Guarded(seed.cloned()) }]
}

/// The sum over the roots of their gradients, by each target; `cut`: as if no target depended on another.
fn backward(roots: &[Root], targets: &[Target], cut: bool) -> Result<Vec<Option<Tensor>>> {
    let mut wanted: FxHashMap<u64, SmallVec<[usize; 1]>> = FxHashMap::default();
    let (mut nodes, mut floor) = (false, u64::MAX);
    for (i, t) in targets.iter().enumerate() {
        nodes |= matches!(t, Target::Node(_));
        // A tensor that is older than a node does not depend on it.
        floor = floor.min(if matches!(t, Target::Node(_)) { t.number() } else { 0 });
        wanted.entry(t.number()).or_default().push(i);
    }
    let hits = |node: &Tensor| {
        let by_leaf = if node.0.leaf == 0 { None } else { wanted.get(&node.0.leaf) };
        if nodes { by_leaf.or_else(|| wanted.get(&node.id())) } else { by_leaf }
    };
    let (visits, stale) = history(roots, floor, |t| cut && hits(t).is_some())?;
    // Only nodes between a target and the result take part.
    let mut needed: Vec<bool> = Vec::with_capacity(visits.len());
    for visit in &visits {
        let below = visit.links.iter().any(|&l| l != NONE && needed[l as usize]);
        needed.push(below || hits(visit.node).is_some());
    }
    let mut grads: Vec<Option<Sum>> = visits.iter().map(|_| None).collect();
    let mut out: Vec<Option<Tensor>> = vec![None; targets.len()];
    for Root { y, seed } in roots {
        let Some(at) = visits.iter().rposition(|visit| visit.node.ptr_eq(y)) else { continue };
        let seed = match seed {
            Seed::Guarded(seed) => start(y, seed.as_ref()),
            Seed::Plain(seed) => seed.clone(),
        };
        give(&mut grads[at], seed);
    }
    // Gradients in a function that a scan runs have no values, nor have those of several parts together.
    let watched = |g: &Tensor| crate::ENGINE.looks_for_nan() && graph::level() == 0 && !matches!(g.op(), Op::Parts(_));
    let mut walk = || -> Result<()> {
        for i in (0..visits.len()).rev() {
            go_on(i)?;
            if !needed[i] {
                continue;
            }
            let Some(g) = grads[i].take().map(Sum::tensor) else { continue };
            let visit = &visits[i];
            if watched(&g) {
                crate::ENGINE.inspect_gradient(visit.node, &g, false)?;
            }
            for &t in hits(visit.node).into_iter().flatten() {
                out[t] = Some(match out[t].take() {
                    None => g.clone(),
                    Some(sum) => sum + &g,
                });
            }
            let wants = |k: usize| visit.links[k] != NONE && needed[visit.links[k] as usize];
            let pass = |k: usize, part: Option<Tensor>| -> Result<()> {
                let Some(part) = part else { return Ok(()) };
                if watched(&part) {
                    crate::ENGINE.inspect_gradient(visit.node, &part, true)?;
                }
                // The one place where a broadcast is reversed.
                let shape = visit.srcs[k].shape();
                let part = if part.shape() == shape { part } else { part.sum_to(shape) };
                give(&mut grads[visit.links[k] as usize], part);
                Ok(())
            };
            towards_operands(visit, &g, wants, pass)?;
        }
        Ok(())
    };
    // A long walk looks for signals.
    if visits.len() < stop::NODES {
        walk()?
    } else {
        stop::watch(&AtomicBool::new(false), walk)?
    }
    if stale {
        roots.iter().try_for_each(|root| check_reach(&root.y, &out))?;
    }
    Ok(out)
}

/// Gives `pass` the gradient towards each operand that is wanted, where there is one.
fn towards_operands(
    visit: &Visit<'_>,
    g: &Tensor,
    wants: impl Fn(usize) -> bool,
    mut pass: impl FnMut(usize, Option<Tensor>) -> Result<()>,
) -> Result<()> {
    let Visit { node, srcs, .. } = *visit;
    match node.op() {
        Op::Scan(_) => {
            let parts = scan::pull(node, srcs, g, &wants)?.into_iter().enumerate();
            parts.filter(|&(k, _)| wants(k)).try_for_each(|(k, part)| pass(k, part))
        }
        Op::Custom(custom) => {
            if !(1..srcs.len()).any(&wants) {
                return Ok(());
            }
            let parts = (1..srcs.len()).zip(custom.pull(node, g)?);
            parts.filter(|&(k, _)| wants(k)).try_for_each(|(k, part)| pass(k, part))
        }
        Op::Structured(op) => {
            let wanted: SmallVec<[bool; 4]> = (0..srcs.len()).map(&wants).collect();
            op.gradients(&wanted, srcs, node, g).into_iter().enumerate().try_for_each(|(k, part)| pass(k, part))
        }
        _ => (0..srcs.len()).filter(|&k| wants(k)).try_for_each(|k| pass(k, ops::gradient(k, srcs, node, g))),
    }
}

fn give(slot: &mut Option<Sum>, part: Tensor) {
    *slot = Some(match slot.take() {
        None => Sum::Tensor(part),
        Some(sum) => sum.add(part),
    });
}

/// An error if a signal asks this thread to stop; its handler runs outside of the scopes that gradients are made in.
fn go_on(i: usize) -> Result<()> {
    if !i.is_multiple_of(stop::NODES) {
        return Ok(());
    }
    let _scope = graph::Tracking::enter();
    stop::go_on(i)
}

/// An error if the gradients of `y`, or `y` itself, which guards them, need a value that is there no more.
fn check_reach(y: &Tensor, grads: &[Option<Tensor>]) -> Result<()> {
    let lost = graph::out_of_reach(&mut graph::lock(), grads.iter().flatten().chain([y]));
    lost.map_or(Ok(()), |node| Err(graph::overwritten(&node.0)))
}

/// The gradient of `y` by itself, times the seed. Everything made of it carries `y` as its guard.
fn start(y: &Tensor, seed: Option<&Tensor>) -> Tensor {
    let guards = Some(Guards::of(y));
    let one = Tensor::guarded(Op::Fill, smallvec![Tensor::number(1.0)], y.shape().into(), y.dtype(), y.device(), guards);
    match seed {
        None => one,
        Some(seed) => one * seed.cast(y.dtype()),
    }
}

/// The leaves that `y` depends on, by number, in order of first use.
pub fn leaves(y: &Tensor) -> Vec<u64> {
    inputs(y, 0).iter().map(|x| x.0.leaf).collect()
}

/// The inputs that a function made `y` of, if it began when nodes were numbered from `since`: leaves, each once, and tracked
/// results that were there before. How those were made is not looked at.
pub fn inputs(y: &Tensor, since: u64) -> Vec<Tensor> {
    let mut g = graph::lock();
    g.epoch += 1;
    let seen = (g.epoch, NONE);
    let (mut out, mut known) = (Vec::new(), FxHashSet::default());
    let mut stack: SmallVec<[&Tensor; 32]> = SmallVec::new();
    stack.extend(y.is_tracked().then_some(y));
    let mut looks = 0;
    while let Some(node) = stack.pop() {
        looks += 1;
        if node.0.mark.set(&mut g, seen).0 == seen.0 {
            continue;
        }
        if node.0.leaf != 0 {
            if known.insert(node.0.leaf) {
                out.push(node.clone());
            }
            continue;
        }
        if node.id() < since {
            out.push(node.clone());
            continue;
        }
        // SAFETY: the srcs of a tracked node never change while it lives, and every node here lives as long as `y`.
        for src in unsafe { node.0.srcs.lasting() }.iter().rev() {
            if src.is_tracked() && src.0.mark.get(&g).0 != seen.0 {
                stack.push(src);
            }
        }
    }
    work::count(looks);
    out
}
