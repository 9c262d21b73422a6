//! Gradients of gradients, gradients that the caller defines, and functions that run again in the backward pass.

use crate::acts::{gradient_of, some_loss};
use crate::calls::call;
use crate::random::Random;
use crate::world::World;
use fluxrs::graph::{Checkpoint, Tracking};
use fluxrs::leaf::inputs_are_current;
use fluxrs::ops::Pullback;
use fluxrs::ops::custom::{checkpointed, custom};
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::random::{Replay, Stream, bernoulli};
use fluxrs::ops::scan;
use fluxrs::tape::{self, Target};
use fluxrs::{Elementwise, Result, Tensor, no_grad};
use std::sync::Arc;

/// The gradient of a function of a gradient.
pub fn second(w: &mut World, r: &mut Random) {
    let Some(y) = some_loss(w, r) else { return };
    let first = gradient_of(w, r, y, true);
    let tracked: Vec<usize> = first.into_iter().filter(|&i| w.vars[i].tensor().is_tracked()).collect();
    if tracked.is_empty() {
        return;
    }
    let i = *r.pick(&tracked);
    let e = *r.pick(&[Elementwise::square, Elementwise::tanh, Elementwise::abs]);
    let of_it = call(w, r, &[i], |x| e.apply(&[&x[0]])?.sum(None, false));
    if let Some(z) = of_it.filter(|&z| w.vars[z].tensor().is_tracked()) {
        let nest = r.coin();
        gradient_of(w, r, z, nest);
    }
}

/// a·b with a gradient that is not its own, and none towards its third input.
struct Odd {
    a: Tensor,
    b: Tensor,
}

impl Pullback for Odd {
    fn name(&self) -> String {
        "odd".into()
    }

    fn pull(&self, _: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let by = |e: Elementwise, x: &Tensor| e.apply(&[g, x]);
        Ok(vec![Some(by(Elementwise::multiply, &self.b)?), Some(by(Elementwise::subtract, &self.a)?), None])
    }
}

pub fn custom_gradient(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().dtype().is_float()) else { return };
    let (shape, dtype) = (w.vars[i].tensor().shape().to_vec(), w.vars[i].tensor().dtype());
    let j = w.find(r, |v| v.tensor().shape() == shape && v.tensor().dtype() == dtype).unwrap_or(i);
    let k = w.find(r, |v| v.tensor().is_tracked()).unwrap_or(i);
    let detach = r.coin();
    let made = call(w, r, &[i, j, k], |x| {
        let product = || &x[0] * &x[1];
        let value = if detach { product().detached() } else { no_grad(product) };
        Ok(custom(&value, x, Arc::new(Odd { a: x[0].clone(), b: x[1].clone() })))
    });
    if let Some(y) = made {
        // Its value is none of the third's affair.
        let third = w.vars[k].id;
        let others = [w.vars[i].id, w.vars[j].id];
        w.vars[y].made_of.retain(|&id| id != third || others.contains(&id));
    }
}

/// Some ops, drawn from a seed, the same at every call; and whether the last operand had a part in them.
fn function(seed: u64, xs: &[Tensor]) -> Result<(Tensor, bool)> {
    let mut r = Random::new(seed);
    let (mut y, mut last) = (xs[0].clone(), xs.len() == 1);
    for _ in 0..r.below(5) + 1 {
        y = match r.below(7) {
            0 => Elementwise::multiply.apply(&[&y, &bernoulli(&Tensor::number(0.7), y.shape())?])?,
            1 => {
                let k = r.below(xs.len());
                last |= k == xs.len() - 1;
                Elementwise::add.apply(&[&y, &xs[k]])?
            }
            2 if y.ndim() == 2 && y.size() < 5000 => matmul(&matmul(&y, &y.transpose(None)?)?, &y)?,
            3 if y.ndim() > 0 => y.softmax(-1)?,
            4 if y.ndim() > 0 => y.flip(Some(&[0]))?,
            5 => Elementwise::maximum.apply(&[&y, &Tensor::number(0.1)])?,
            _ => Elementwise::tanh.apply(&[&y])?,
        };
    }
    Ok((if r.coin() { y.sum(None, false)? } else { y }, last))
}

struct Again {
    seed: u64,
    inputs: Vec<Tensor>,
    random: Stream,
}

impl Again {
    fn run(&self) -> Result<(Tensor, bool)> {
        let _stream = Replay::enter(self.random);
        function(self.seed, &self.inputs)
    }
}

impl Pullback for Again {
    fn name(&self) -> String {
        "checkpoint".into()
    }

    fn pull(&self, out: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        inputs_are_current(out)?;
        let y = {
            let _tracking = Tracking::enter();
            self.run()?.0
        };
        let targets: Vec<Target> = self.inputs.iter().map(|x| Target::Node(x.clone())).collect();
        tape::pullback(&y, Some(g), &targets)
    }
}

/// A function of which no intermediate is kept: its value and its gradient are those of the function.
pub fn checkpoint(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().dtype().is_float() && v.tensor().is_tracked()) else { return };
    let shape = w.vars[i].tensor().shape().to_vec();
    let mut of = vec![i];
    if let Some(j) = w.find(r, |v| v.tensor().shape() == shape && v.tensor().is_tracked()).filter(|&j| j != i) {
        of.push(j);
    }
    let (seed, random) = (r.word(), Stream { seed: r.word(), counter: r.word() >> r.below(60) });
    let inputs: Vec<Tensor> = of.iter().map(|&i| w.vars[i].tensor().clone()).collect();
    // Its inputs are nodes, whatever becomes of their leaf.
    let again = Again { seed, inputs, random };
    let scope = Checkpoint::enter();
    let Ok((plain, last)) = again.run() else { return };
    drop(scope);
    let targets: Vec<Target> = again.inputs.iter().map(|x| Target::Node(x.clone())).collect();
    let wanted = tape::pullback(&plain, None, &targets).expect("nothing here has a gradient that can fail");
    let made = call(w, r, &of, |x| Ok(checkpointed(&plain, x, Arc::new(again))));
    let Some(y) = made else { return };
    if !last {
        w.vars[y].made_of.truncate(1);
    }
    if !w.vars[y].tensor().is_tracked() {
        return;
    }
    assert_eq!(w.meaning(&plain).is_ok(), w.vars[y].expected.is_ok());
    let Ok(got) = tape::pullback(w.vars[y].tensor(), None, &targets) else { return };
    for (got, want) in got.iter().zip(&wanted) {
        let (Some(got), Some(want)) = (got, want) else { continue };
        if let (Ok(got), Ok(want)) = (w.meaning(got), w.meaning(want)) {
            assert!(want.same(&got), "the gradient of a checkpoint is not that of its function");
        }
    }
}

/// A function run over the rows of a variable, whose state is another and which reads a third.
pub fn scanned(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().dtype().is_float()) else { return };
    let Some(j) = w.find(r, |v| v.tensor().ndim() > 0 && v.tensor().shape()[0] <= 40) else { return };
    let k = w.find(r, |v| v.tensor().dtype().is_float()).unwrap_or(i);
    let (seed, reverse, which, inner) = (r.word(), r.coin(), r.below(3), r.once_in(4));
    let _stream = Replay::enter(Stream { seed: r.word(), counter: r.word() });
    call(w, r, &[i, j, k], |x| {
        let length = x[1].shape()[0];
        let step = |states: &[Tensor], rows: &[Tensor]| {
            let (y, _) = function(seed, &[states[0].clone(), rows[0].clone(), x[2].clone()])?;
            // Whatever was drawn, every operand has a part in it.
            let all = rows[0].cast(y.dtype()).sum(None, false)? + x[2].cast(y.dtype()).sum(None, false)?;
            let (y, z) = (y.cast(states[0].dtype()), y + all);
            // A state keeps its shape.
            let new = if y.shape() == states[0].shape() { y } else { &states[0] * 0.5 + y.mean(None, false)? };
            let count = &states[1] + 1i64;
            if !inner {
                return Ok((vec![new, count], vec![z]));
            }
            let again = |s: &[Tensor], _: &[Tensor]| Ok((vec![Elementwise::tanh.apply(&[&s[0]])? * 0.9], vec![]));
            let new = scan::over(again, &[new], &[], 3, false)?.swap_remove(0);
            Ok((vec![new, count], vec![z]))
        };
        let count = Tensor::from_slice(&[0i64], &[])?;
        let mut parts = scan::over(step, &[x[0].clone(), count], &[x[1].clone()], length, reverse)?;
        Ok(match which {
            0 => parts.swap_remove(0),
            1 => parts.swap_remove(2),
            _ => parts[0].sum(None, false)? + parts[2].sum(None, false)? + parts[1].cast(parts[0].dtype()),
        })
    });
}
