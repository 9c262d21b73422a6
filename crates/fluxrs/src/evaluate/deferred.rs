//! Plans for graphs whose gradients are deferred; `tape::deferred` says what that is.

use super::collect::{collect, make_plan};
use super::gather::{Gathered, Wanted, Writing};
use crate::dtype::Number;
use crate::error::Result;
use crate::graph::{self, Graph};
use crate::plan::{Body, Plan};
use crate::schedule::Request;
use crate::tape::deferred::Written;
use rustc_hash::FxHashMap;
use std::sync::MutexGuard;

/// A plan of a graph and its gradients beside it, with the numbers that only their rules brought in. It serves every graph with the
/// key of `short`, which is what was gathered without them; None if it would not: then `short` has lost its slots.
pub(super) fn plan_beside(
    wanted: &Wanted<'_>,
    short: &mut Gathered,
    long: &mut Gathered,
    written: &Written,
) -> Result<Option<(Plan, Vec<Number>)>> {
    // The number of references to a buffer decides what may be overwritten: the first gathering must not add to it.
    let slots = std::mem::take(&mut short.slots).len();
    let g = collect(graph::lock(), wanted, Writing::Beside { written, numbers: short.numbers.len() }, long)?;
    if long.slots.len() != slots || !extends(long, short) {
        return Ok(None);
    }
    let mut plan = make_plan(g, long, written)?;
    renumber(&mut plan, short, long);
    std::mem::swap(&mut short.slots, &mut long.slots);
    Ok(Some((plan, std::mem::take(&mut long.constants))))
}

/// Gathers anew with every gradient written out instead of its node.
pub(super) fn gather_instead(
    wanted: &Wanted<'_>,
    gathered: &mut Gathered,
    written: &Written,
) -> Result<MutexGuard<'static, Graph>> {
    gathered.clear();
    collect(graph::lock(), wanted, Writing::Instead(written), gathered)
}

/// True if `long` is `short` with nothing but gradients written out in between: the same numbers and results.
fn extends(long: &Gathered, short: &Gathered) -> bool {
    let node = |x: &Gathered, r: &Request| x.locals[r.local as usize].node.id();
    let alike = |(a, b): (&Request, &Request)| node(long, a) == node(short, b) && a.donor == b.donor;
    !long.foreign
        && !long.has_deferred()
        && long.numbers.len() == short.numbers.len()
        && long.requests.len() == short.requests.len()
        && long.requests.iter().zip(&short.requests).all(alike)
}

/// Lets the calls of a plan that was made of `long` name the locals of `short`.
fn renumber(plan: &mut Plan, short: &Gathered, long: &Gathered) {
    let known: FxHashMap<u64, u32> = short.locals.iter().enumerate().map(|(i, local)| (local.node.id(), i as u32)).collect();
    for kernel in &mut plan.kernels {
        if let Body::Structured(call) = &mut kernel.body {
            let node = &long.locals[call.local as usize].node;
            call.local = known.get(&node.id()).copied().unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dtype::DType;
    use crate::error::Result;
    use crate::evaluate::COUNTERS;
    use crate::graph::{Handle, Tensor};
    use crate::leaf::{self, Leaf};
    use crate::ops::{Op, Operand, OperandMut, Structured};
    use crate::shape::Shape;
    use crate::tape::{Target, gradient};
    use smallvec::smallvec;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    /// 2·x, with a gradient rule that brings in a value in memory.
    struct Doubled;

    impl Structured for Doubled {
        fn name(&self) -> &'static str {
            "doubled"
        }

        fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
            Some(g * Tensor::from_slice(&[2.0f32; 3], &[3]).unwrap())
        }

        fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
            let x = srcs[0].as_slice::<f32>();
            out.as_mut_slice::<f32>().iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
            Ok(())
        }
    }

    #[test]
    fn gradients_that_do_not_fit_beside_their_graph_are_planned_once() {
        let p = Leaf::of(&Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[3]).unwrap(), true).unwrap();
        let step = || {
            let op = Op::Structured(Arc::new(Doubled));
            let y = Tensor::within(op, smallvec![p.value().unwrap()], Shape::from_slice(&[3]), DType::F32);
            let loss = Handle::new(y.sum(None, false).unwrap());
            let grads = gradient(loss.tensor(), None, &[Target::Leaf(p.number())], false).unwrap();
            leaf::update(&p, &(grads[0].as_ref().unwrap() * -0.25)).unwrap();
            leaf::flush().unwrap();
        };
        step();
        let plans = COUNTERS.plans_made.load(Ordering::Relaxed);
        step();
        assert_eq!(COUNTERS.plans_made.load(Ordering::Relaxed), plans);
        let values = crate::transfer::to_host(&p.value().unwrap()).unwrap();
        assert_eq!(values.as_slice::<f32>()[..3], [0.0, 1.0, 2.0]);
    }
}
