//! The acts of a program. Each draws from a generator of its own, so that leaving some out leaves the others as they are.

use crate::random::Random;
use crate::world::{Fault, Origin, Param, Var, World, data, elements, is_of_values, is_overwritten};
use crate::{calls, composed, nested, structured, threads};
use fluxrs::buffer::faults;
use fluxrs::evaluate::{self, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::Op;
use fluxrs::reference::{self, Array};
use fluxrs::tape::{self, Target};
use fluxrs::{DType, Error, Result, Tensor, no_grad};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Elements of a tensor at most.
pub const MOST: usize = 60_000;

pub fn shape(r: &mut Random) -> Vec<usize> {
    match r.below(24) {
        0 => vec![],
        1 => vec![*r.pick(&[2047, 2048, 2049, 5000, 9000])],
        2 => vec![r.below(4) + 1, *r.pick(&[2047, 2048, 2050, 4100])],
        3 => vec![*r.pick(&[63, 64, 65, 130, 300]), r.below(12) + 1],
        4 => vec![*r.pick(&[70, 129, 200]), *r.pick(&[33, 64, 100])],
        5 => vec![*r.pick(&[65, 130]), *r.pick(&[1, 2, 300])],
        6 => vec![3, *r.pick(&[2, 70]), *r.pick(&[5, 40])],
        7 => vec![2, 0, 3],
        8 => vec![0],
        _ => (0..r.below(4) + 1).map(|_| *r.pick(&[1, 1, 2, 3, 3, 4, 5, 6])).collect(),
    }
}

fn dtype(r: &mut Random) -> DType {
    *r.pick(&[DType::F32, DType::F32, DType::F32, DType::F32, DType::F64, DType::F64, DType::I64, DType::I32, DType::Bool])
}

/// A new tensor of this shape, as a variable.
pub fn fresh(w: &mut World, r: &mut Random, shape: &[usize], dtype: DType) -> usize {
    let wild = r.once_in(60);
    let n = shape.iter().product();
    let t = match r.once_in(8) {
        true => Tensor::full(shape, elements(r, 1, dtype, false)[0], dtype).unwrap(),
        false => data(&elements(r, n, dtype, wild), shape, dtype),
    };
    w.add(t, Origin::default())
}

fn new_data(w: &mut World, r: &mut Random) {
    let (s, d) = (shape(r), dtype(r));
    fresh(w, r, &s, d);
}

fn new_param(w: &mut World, r: &mut Random) {
    if w.params.len() >= 5 {
        return;
    }
    let s = shape(r);
    let d = *r.pick(&[DType::F32, DType::F32, DType::F64]);
    let tracked = !r.once_in(4);
    let n = s.iter().product();
    let t = data(&elements(r, n, d, false), &s, d);
    let value = w.meaning(&t).expect("data has a value");
    let leaf = Leaf::of(&t, tracked).expect("memory for a test");
    w.say(format!("  → parameter {} of {d}{s:?}, tracked: {tracked}", w.params.len()));
    w.params.push(Param {
        leaf,
        value,
        version: 0,
        grad: None,
        before: vec![],
        grad_guards: BTreeSet::new(),
        grad_stale: false,
        grad_broken: false,
    });
}

pub fn some_param(w: &World, r: &mut Random) -> Option<usize> {
    (!w.params.is_empty()).then(|| r.below(w.params.len()))
}

/// Data in the shape and type of a parameter.
pub fn vector(r: &mut Random, like: &Array) -> Tensor {
    data(&elements(r, like.len(), like.dtype, false), &like.shape, like.dtype)
}

/// A variable that shows a parameter as it is now.
pub fn show_param(w: &mut World, p: usize) -> Option<usize> {
    let t = w.value_of(p)?;
    let tracked = w.params[p].leaf.is_tracked();
    let versions = if tracked { BTreeSet::from([(p, w.params[p].version)]) } else { BTreeSet::new() };
    Some(w.add(t, Origin { versions, ..Origin::default() }))
}

fn param_value(w: &mut World, r: &mut Random) {
    if let Some(p) = some_param(w, r) {
        show_param(w, p);
    }
}

fn drop_some(w: &mut World, r: &mut Random) {
    for _ in 0..r.below(4) {
        if w.vars.len() > 3 {
            let i = r.below(w.vars.len());
            let v = w.vars.swap_remove(i);
            w.say(format!("  drop v{}", v.id));
        }
    }
}

/// Runs something that may fail because we ask for it, and again in peace.
fn with_faults(w: &mut World, r: &mut Random, act: impl Fn(&mut World)) {
    if r.once_in(4) {
        let n = r.below(6) as u64 + 1;
        w.fault = if r.coin() { Fault::Memory } else { Fault::Interrupt };
        w.say(format!("  {:?} after {n}", w.fault));
        match w.fault {
            Fault::Memory => faults::fail_after(n),
            _ => faults::interrupt_after(n),
        }
        act(w);
        faults::fail_after(0);
        faults::interrupt_after(0);
        w.fault = Fault::None;
        w.check_params();
    }
    act(w);
}

fn read(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    w.say(format!("  read v{}", w.vars[i].id));
    with_faults(w, r, |w| w.read(i));
}

fn evaluate_some(w: &mut World, r: &mut Random) {
    let chosen: Vec<usize> = (0..r.below(5)).filter_map(|_| w.any(r)).collect();
    let ids: Vec<usize> = chosen.iter().map(|&i| w.vars[i].id).collect();
    w.say(format!("  evaluate {ids:?}"));
    let roots: Vec<Tensor> = chosen.iter().map(|&i| w.vars[i].tensor().clone()).collect();
    match evaluate::evaluate(&roots) {
        Ok(()) => assert!(roots.iter().all(evaluate::is_ready), "what was asked for is not there"),
        Err(e) if is_of_values(&e) => {
            assert!(chosen.iter().any(|&i| w.vars[i].expected.is_err()), "an error of something not asked for")
        }
        Err(Error::Value(_)) => assert!(chosen.iter().any(|&i| w.vars[i].stale), "an error of something not asked for"),
        Err(e) => panic!("evaluate: {e}"),
    }
    drop(roots);
    chosen.into_iter().for_each(|i| w.read(i));
}

fn flush(w: &mut World, r: &mut Random) {
    with_faults(w, r, World::flush);
}

/// p ← p + Δ, with Δ of whatever is at hand, and of what is known to be dangerous.
fn update(w: &mut World, r: &mut Random) {
    let Some(p) = some_param(w, r) else { return };
    let Some(now) = w.value_of(p) else { return };
    let want = now.shape().to_vec();
    let made = no_grad(|| calls::fitting(w, r, &now, &want, p));
    let Some((delta, origin)) = made else { return };
    drop(now);
    w.say(format!("  update parameter {p} by {delta:?} from {:?}", origin.made_of));
    let delta = if delta.dtype() == w.params[p].value.dtype { delta } else { no_grad(|| delta.cast(w.params[p].value.dtype)) };
    let value = w.meaning(&delta).map(|d| reference::sum(&w.params[p].value, &d));
    let leaf = Arc::clone(&w.params[p].leaf);
    leaf::update(&leaf, &delta).expect("shapes fit, and nothing waits");
    w.enqueue(p, value, origin.guards, origin.stale, true);
}

fn assign(w: &mut World, r: &mut Random) {
    let Some(p) = some_param(w, r) else { return };
    let Some(now) = w.value_of(p) else { return };
    let want = now.shape().to_vec();
    let made = no_grad(|| calls::fitting(w, r, &now, &want, p));
    let Some((x, origin)) = made else { return };
    drop(now);
    let dtype = w.params[p].value.dtype;
    w.say(format!("  assign {x:?} from {:?} to parameter {p}", origin.made_of));
    let value = no_grad(|| x.cast(dtype));
    let value = w.meaning(&value);
    let leaf = Arc::clone(&w.params[p].leaf);
    leaf::assign(&leaf, &x).expect("shapes fit, and nothing waits");
    w.enqueue(p, value, origin.guards, origin.stale, false);
}

fn finite(v: &Var) -> bool {
    v.expected.as_ref().map_or(true, |a| (0..a.len()).all(|i| a.at(i).is_finite()))
}

/// A float variable that something tracked is behind.
pub fn some_loss(w: &World, r: &mut Random) -> Option<usize> {
    let float = |v: &Var| v.tensor().is_tracked() && v.tensor().dtype().is_float();
    // A loss of parameters that are not finite: no error is due.
    let told = |v: &Var| finite(v) || !matches!(v.tensor().base().op(), Op::Data);
    w.find(r, |v| float(v) && told(v))
}

/// A loss's number and whether it is stale: a version of a leaf that it needs has been overwritten.
fn lose(w: &mut World, y: usize) -> (usize, bool) {
    let number = w.loss_number(w.vars[y].tensor().id(), finite(&w.vars[y]));
    if w.vars[y].expected.is_err() {
        w.broken.insert(number);
    }
    let stale = w.vars[y].stale || w.vars[y].versions.iter().any(|&(p, version)| w.params[p].version != version);
    (number, stale)
}

/// The nodes behind everything derived from the gradient of `y`. One that is out of reach is refused, so it is not stale.
fn gradient_origin(w: &World, y: usize, loss: usize) -> Origin {
    let mut origin = Origin::of(&[&w.vars[y]]);
    origin.made_of.clear();
    origin.guards.insert(loss);
    origin
}

fn gradient(w: &mut World, r: &mut Random) {
    if let Some(y) = some_loss(w, r) {
        let nest = r.once_in(3);
        gradient_of(w, r, y, nest);
    }
}

/// The gradients of `y` by some of what it depends on, as variables.
pub fn gradient_of(w: &mut World, r: &mut Random, y: usize, nest: bool) -> Vec<usize> {
    let y_tensor = w.vars[y].tensor().clone();
    let mut targets = Vec::new();
    for p in 0..w.params.len() {
        if r.coin() {
            targets.push(Target::Leaf(w.params[p].leaf.number()));
        }
    }
    if let (true, Some(i)) = (r.once_in(3), w.find(r, |v| v.tensor().is_tracked() && v.tensor().dtype().is_float())) {
        targets.push(Target::Node(w.vars[i].tensor().clone()));
    }
    let seed = w.find(r, |v| v.tensor().shape() == y_tensor.shape()).filter(|_| r.coin());
    let (loss, stale) = lose(w, y);
    let mut origin = gradient_origin(w, y, loss);
    w.say(format!("  gradient of v{} (loss {loss}, finite: {}), nest: {nest}", w.vars[y].id, w.losses[loss]));
    let seed = seed.map(|i| {
        origin.guards.extend(w.vars[i].guards.clone());
        origin.stale |= w.vars[i].stale;
        origin.versions.extend(w.vars[i].versions.clone());
        w.vars[i].tensor().clone()
    });
    let Some(grads) = taken(w, tape::gradient(&y_tensor, seed.as_ref(), &targets, nest), stale) else { return vec![] };
    drop((y_tensor, targets));
    grads.into_iter().flatten().map(|g| w.add(g, origin.clone())).collect()
}

/// A gradient; none where a checkpoint would have had to run again with a parameter that was updated since.
fn taken<T>(w: &World, grads: Result<T>, stale: bool) -> Option<T> {
    match grads {
        Err(e) if (stale || !w.queue.is_empty()) && is_overwritten(&e) => None,
        grads => Some(grads.expect("nothing else here has a gradient that can fail")),
    }
}

fn back(w: &mut World, r: &mut Random) {
    let Some(y) = some_loss(w, r) else { return };
    let y_tensor = w.vars[y].tensor().clone();
    let (loss, stale) = lose(w, y);
    let origin = gradient_origin(w, y, loss);
    w.say(format!("  back of v{} (loss {loss}, finite: {})", w.vars[y].id, w.losses[loss]));
    let targets: Vec<Target> = w.params.iter().map(|p| Target::Leaf(p.leaf.number())).collect();
    let parts = tape::gradient(&y_tensor, None, &targets, false);
    let Some(parts) = taken(w, parts, stale) else { return };
    for (p, part) in parts.into_iter().enumerate() {
        let Some(part) = part else { continue };
        let part = w.meaning(&part);
        let param = &mut w.params[p];
        param.before.push((origin.guards.clone(), param.grad.clone()));
        param.grad_guards.extend(origin.guards.clone());
        param.grad_stale |= origin.stale;
        match part {
            Ok(part) => param.grad = Some(param.grad.as_ref().map_or(part.clone(), |old| reference::sum(old, &part))),
            Err(_) => {
                param.grad_broken = true;
                param.grad.get_or_insert_with(|| param.value.clone());
            }
        }
    }
    leaf::back(&y_tensor, None).expect("nothing here has a gradient that can fail");
}

/// An optimiser's step: gradients of one loss, one update for each parameter.
fn step(w: &mut World, r: &mut Random) {
    let Some(y) = some_loss(w, r) else { return };
    let y_tensor = w.vars[y].tensor().clone();
    if r.once_in(3) {
        w.read(y);
    }
    let (loss, stale) = lose(w, y);
    let origin = gradient_origin(w, y, loss);
    w.say(format!("  step by v{} (loss {loss}, finite: {})", w.vars[y].id, w.losses[loss]));
    let targets: Vec<Target> = w.params.iter().map(|p| Target::Leaf(p.leaf.number())).collect();
    let grads = tape::gradient(&y_tensor, None, &targets, false);
    let Some(grads) = taken(w, grads, stale) else { return };
    if r.coin() {
        // The loop of a user: the loss is not looked at again.
        drop(y_tensor);
        w.vars.swap_remove(y);
    }
    let grads: Vec<Option<Handle>> = grads.into_iter().map(|g| g.map(Handle::new)).collect();
    for (p, g) in grads.iter().enumerate() {
        let Some(g) = g else { continue };
        if w.value_of(p).is_none() {
            return;
        }
        let delta = no_grad(|| (g.tensor() * -0.125).cast(w.params[p].value.dtype));
        let value = w.meaning(&delta).map(|d| reference::sum(&w.params[p].value, &d));
        let leaf = Arc::clone(&w.params[p].leaf);
        leaf::update(&leaf, &delta).expect("shapes fit, and nothing waits");
        w.enqueue(p, value, origin.guards.clone(), origin.stale, true);
    }
    if r.coin() {
        drop(grads);
    }
    if r.coin() {
        flush(w, r);
    }
}

fn zero_grad(w: &mut World, r: &mut Random) {
    let Some(p) = some_param(w, r) else { return };
    let param = &mut w.params[p];
    param.leaf.set_grad(None).expect("no gradient fits");
    (param.grad, param.before) = (None, vec![]);
    (param.grad_guards, param.grad_stale, param.grad_broken) = (BTreeSet::new(), false, false);
}

fn check(w: &mut World, r: &mut Random) {
    w.check_all(r);
}

type Act = fn(&mut World, &mut Random);

/// Every act with its weight.
const ACTS: &[(usize, &str, Act)] = &[
    (6, "data", new_data),
    (3, "param", new_param),
    (7, "param value", param_value),
    (26, "elementwise", calls::elementwise),
    (3, "cast", calls::cast),
    (16, "view", calls::view),
    (6, "place", calls::place),
    (14, "reduce", calls::reduce),
    (8, "matmul", calls::matmul),
    (5, "index", calls::index),
    (4, "subscript", composed::subscripts),
    (3, "join", composed::join),
    (4, "power", composed::powers),
    (3, "activation", composed::activation),
    (2, "layer", composed::layer),
    (4, "order", structured::order),
    (3, "running", structured::running),
    (3, "attention", structured::attend),
    (4, "pool", structured::pools),
    (4, "convolution", structured::convolution),
    (5, "random", structured::random),
    (3, "equations", structured::equations),
    (4, "computed index", structured::computed),
    (2, "custom gradient", nested::custom_gradient),
    (2, "checkpoint", nested::checkpoint),
    (2, "second", nested::second),
    (4, "scan", nested::scanned),
    (1, "read elsewhere", threads::read_elsewhere),
    (1, "update elsewhere", threads::update_elsewhere),
    (1, "race", threads::race),
    (6, "read", read),
    (2, "evaluate", evaluate_some),
    (6, "update", update),
    (1, "assign", assign),
    (2, "flush", flush),
    (6, "drop", drop_some),
    (5, "gradient", gradient),
    (2, "back", back),
    (3, "step", step),
    (1, "zero grad", zero_grad),
    (1, "check", check),
];

/// The act that a seed stands for.
pub fn act(w: &mut World, seed: u64) {
    w.act = seed;
    let mut r = Random::new(seed);
    let total: usize = ACTS.iter().map(|a| a.0).sum();
    let mut at = r.below(total);
    for &(weight, name, act) in ACTS {
        if at < weight {
            w.say(format!("{seed:#x} {name}"));
            return act(w, &mut r);
        }
        at -= weight;
    }
}
