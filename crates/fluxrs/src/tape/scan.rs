//! The gradient of a scan is a scan from the other end. Its function is the gradient of the first one's, which it computes again
//! from the states, but for dear values, which the first scan gave.

use super::total::Total;
use super::{Root, Seed, Target, backward};
use crate::error::Result;
use crate::graph::{Tensor, Tracing, lock};
use crate::ops::Op;
use crate::ops::scan::{self, Outline, Part, Scan};

/// The gradients towards the operands of the scan `node` that are wanted, given those by its parts.
pub(super) fn pull(node: &Tensor, srcs: &[Tensor], g: &Tensor, wants: impl Fn(usize) -> bool) -> Result<Vec<Option<Tensor>>> {
    let forward = scan::of(node);
    let body = &forward.body;
    let (given, mut kept) = scan::parts_of(g);
    if kept.is_empty() {
        kept = scan::kept(node)?;
    }
    let find = |part: Part| given.iter().find(|(k, _)| forward.part(*k) == part).map(|(_, g)| g.clone());
    let n = body.states;
    let _tracing = Tracing::enter(body.level);
    let argument = |like: &Tensor| Tensor::argument(like.shape(), like.dtype(), like.device(), crate::graph::tracking());

    let (mut states, mut rows, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    // The states and sequences of the first scan, and what it kept, are sequences of this one.
    rows.extend(body.inputs[..n].iter().zip(&kept).map(|(x, all)| (x.clone(), forward.before(all))));
    rows.extend((n..n + body.rows).map(|k| (body.inputs[k].clone(), srcs[k].clone())));
    rows.extend(body.outputs[n + body.given..].iter().cloned().zip(kept[n..].iter().cloned()));
    let differentiable: Vec<usize> = (0..n).filter(|&i| body.inputs[i].dtype().is_float()).collect();
    for &i in &differentiable {
        let carried = argument(&body.inputs[i]);
        let mut seed = carried.clone();
        if let Some(all) = find(Part::All(i)) {
            let own = argument(&carried);
            seed = &seed + &own;
            rows.push((own, placed(forward, &all).unwrap_or_else(|| forward.after(&all))));
        }
        roots.push(Root { y: body.outputs[i].clone(), seed: Seed::Plain(seed) });
        let last = find(Part::Last(i)).unwrap_or_else(|| body.inputs[i].zeros_like());
        states.push((carried, last));
    }
    for (j, y) in body.outputs[n..].iter().enumerate() {
        if let Some(g) = find(Part::Step(j)) {
            let own = argument(y);
            rows.push((own.clone(), g));
            roots.push(Root { y: y.clone(), seed: Seed::Plain(own) });
        }
    }

    let wanted: Vec<usize> = (n..srcs.len()).filter(|&k| wants(k)).collect();
    let targets: Vec<Target> = differentiable.iter().chain(&wanted).map(|&k| Target::Node(body.inputs[k].clone())).collect();
    let mut grads = backward(&roots, &targets, true)?;
    let of_inputs = grads.split_off(differentiable.len());
    let mut results: Vec<Tensor> =
        grads.into_iter().zip(&differentiable).map(|(g, &i)| g.unwrap_or_else(|| body.inputs[i].zeros_like())).collect();

    // A row's gradient is a result of the step; that of what all steps read is a product or a sum over all of them, or summed up
    // on the way.
    let (mut steps, mut places, mut totals) = (Steps::default(), Vec::new(), Vec::new());
    let (sequences, consts): (Vec<_>, Vec<_>) = wanted.iter().zip(of_inputs).partition(|&(&k, _)| k < n + body.rows);
    for (&k, g) in sequences {
        let Some(g) = g else { continue };
        places.push((k, Part::Step(steps.take(g))));
    }
    let consts: Vec<(usize, Tensor)> = consts.into_iter().filter_map(|(&k, g)| Some((k, g?))).collect();
    // Products first: what they take of the steps serves the sums.
    let mut left = Vec::new();
    for (k, g) in consts {
        match Total::of(&g, &|_| false) {
            Some(total) => totals.push((k, steps.total(&rows, total))),
            None => left.push((k, g)),
        }
    }
    for (k, g) in left {
        if let Some(total) = Total::of(&g, &|x| rows.iter().any(|(node, _)| node.ptr_eq(x)) || steps.has(x)) {
            totals.push((k, steps.total(&rows, total)));
            continue;
        }
        let sum = argument(&body.inputs[k]);
        places.push((k, Part::Last(states.len())));
        results.push(&sum + &g);
        states.push((sum, body.inputs[k].zeros_like()));
    }
    let sequences = rows.clone();
    results.extend(steps.0.iter().cloned());

    let numbers = (n + body.rows..srcs.len()).filter(|&k| srcs[k].is_number()).map(|k| {
        let counter = forward.counters.iter().find(|c| c.input == k);
        let (first, step) = counter.map_or((0, 0), |c| (c.first + (forward.length as i64 - 1) * c.step, -c.step));
        (body.inputs[k].clone(), srcs[k].clone(), first, step)
    });
    let numbers = numbers.collect();
    let outline = Outline {
        level: body.level,
        length: forward.length,
        reverse: !forward.reverse,
        states,
        rows,
        numbers,
        drawn: 0,
        results,
    };
    let backwards = scan::scan(outline)?;
    let again = if backwards.is_tracked() { scan::kept(&backwards)? } else { vec![] };
    let mut out = vec![None; srcs.len()];
    for (at, &i) in differentiable.iter().enumerate().filter(|&(_, &i)| wants(i)) {
        let mut first = scan::part(&backwards, Part::Last(at), &again)?;
        if let Some(all) = find(Part::All(i)).filter(|all| placed(forward, all).is_none()) {
            first = first + all.narrow(0, if forward.reverse { forward.length } else { 0 }, 1).reshape_to(body.inputs[i].shape());
        }
        out[i] = Some(first);
    }
    let parts = (0..steps.0.len()).map(|j| scan::part(&backwards, Part::Step(j), &again)).collect::<Result<Vec<Tensor>>>()?;
    for (k, part) in places {
        out[k] = Some(match part {
            Part::Step(j) => parts[j].clone(),
            part => scan::part(&backwards, part, &again)?,
        });
    }
    for (k, total) in totals {
        let all = |x: &Tensor| match sequences.iter().find(|(node, _)| node.ptr_eq(x)) {
            Some((_, all)) => all.clone(),
            None => parts[steps.place(x).expect("taken above")].clone(),
        };
        out[k] = Some(total.made(&all));
    }
    Ok(out)
}

/// The gradient by a state's values after each step, if the one by all its values is made of that alone.
fn placed(forward: &Scan, all: &Tensor) -> Option<Tensor> {
    let Op::Place(place) = all.op() else { return None };
    let rows = forward.after(all);
    let x = all.0.srcs.get(&lock()).first()?.clone();
    (place.maps.len() == 1 && x.shape() == rows.shape() && place.maps[0] == rows.map()).then_some(x)
}

/// The results of a step, each node once.
#[derive(Default)]
struct Steps(Vec<Tensor>);

impl Steps {
    fn place(&self, x: &Tensor) -> Option<usize> {
        self.0.iter().position(|y| y.ptr_eq(x))
    }

    fn has(&self, x: &Tensor) -> bool {
        self.place(x).is_some()
    }

    fn take(&mut self, x: Tensor) -> usize {
        self.place(&x).unwrap_or_else(|| {
            self.0.push(x);
            self.0.len() - 1
        })
    }

    /// Sees to it that there is all that a sum takes.
    fn total(&mut self, rows: &[(Tensor, Tensor)], total: Total) -> Total {
        let mut nodes = Vec::new();
        total.nodes(&mut nodes);
        for x in nodes.into_iter().filter(|x| !rows.iter().any(|(node, _)| node.ptr_eq(x))) {
            self.take(x.clone());
        }
        total
    }
}
