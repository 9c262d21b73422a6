//! Counts that do not depend on the machine: kernels, plans, allocations.

#![allow(confusable_idents)]

#[path = "common/allocator.rs"]
mod allocator;

use allocator::{CALLS, LIVE};
use fluxrs::evaluate::{self, COUNTERS, Handle};
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::scan;
use fluxrs::optim::{self, Hyper};
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Elementwise, Tensor};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

/// The counters belong to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// (kernels, plans made, runs) that `f` takes.
fn counted(f: impl FnOnce()) -> (u64, u64, u64) {
    let now = || [&COUNTERS.kernels, &COUNTERS.plans_made, &COUNTERS.runs].map(|c| c.load(Ordering::Relaxed));
    let before = now();
    f();
    let after = now();
    (after[0] - before[0], after[1] - before[1], after[2] - before[2])
}

fn data(n: usize, shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 97) as f32 / 97.0 - 0.5).collect();
    Tensor::from_slice(&values, shape).unwrap()
}

fn param(shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&data(shape.iter().product(), shape), true).unwrap()
}

/// Gradients of `loss`, with the step of plain descent queued.
fn descend(loss: &Tensor, params: &[&Arc<Leaf>]) {
    let targets: Vec<Target> = params.iter().map(|p| Target::Leaf(p.number())).collect();
    let grads = gradient(loss, None, &targets, false).unwrap();
    for (p, g) in params.iter().zip(grads) {
        leaf::update(p, &(g.expect("the loss reaches every parameter") * -0.01)).unwrap();
    }
}

struct Dense {
    w: Arc<Leaf>,
    b: Arc<Leaf>,
}

impl Dense {
    fn new(inputs: usize, outputs: usize) -> Dense {
        Dense { w: param(&[outputs, inputs]), b: param(&[outputs]) }
    }

    fn call(&self, x: &Tensor) -> Tensor {
        matmul(x, &self.w.value().unwrap().transpose(None).unwrap()).unwrap() + self.b.value().unwrap()
    }
}

fn squares(x: &Tensor) -> Tensor {
    Elementwise::square.apply(&[x]).unwrap().mean(None, false).unwrap()
}

#[test]
fn a_dense_layers_step() {
    let _alone = alone();
    let layer = Dense::new(32, 16);
    let (x, y) = (data(8 * 32, &[8, 32]), data(8 * 16, &[8, 16]));
    let step = || {
        let out = Elementwise::tanh.apply(&[&layer.call(&x)]).unwrap();
        let loss = Handle::new(squares(&(out - &y)));
        descend(loss.tensor(), &[&layer.w, &layer.b]);
        leaf::flush().unwrap();
    };
    step();
    // The product with tanh behind it, the loss, the slope with b's gradient, W's gradient, W's update, b's update.
    let (kernels, plans, runs) = counted(step);
    assert_eq!((plans, runs), (0, 1));
    assert!(kernels <= 6, "{kernels} kernels");
}

/// Nodes that `f` makes, by the numbers they take.
fn nodes(f: impl FnOnce()) -> u64 {
    let next = || Tensor::number(0.0).id();
    let before = next();
    f();
    next() - before - 1
}

#[test]
fn a_known_gradient_is_not_written_out() {
    let _alone = alone();
    let layers: Vec<Dense> = (0..6).map(|_| Dense::new(4, 4)).collect();
    let x = data(8, &[2, 4]);
    let forward = || {
        let out = layers.iter().fold(x.clone(), |x, layer| Elementwise::tanh.apply(&[&layer.call(&x)]).unwrap());
        Handle::new(squares(&out))
    };
    let params: Vec<&Arc<Leaf>> = layers.iter().flat_map(|l| [&l.w, &l.b]).collect();
    let targets: Vec<Target> = params.iter().map(|p| Target::Leaf(p.number())).collect();
    let step = || {
        let loss = forward();
        // A gradient takes one node a parameter, and one number for all of them, however much lies behind it.
        let made = nodes(|| {
            let grads = gradient(loss.tensor(), None, &targets, false).unwrap();
            assert!(grads.iter().all(Option::is_some));
        });
        assert!(made <= params.len() as u64 + 1, "{made} nodes for {} parameters", params.len());
        descend(loss.tensor(), &params);
        leaf::flush().unwrap();
    };
    step();
    let first = nodes(step);
    let (_, plans, runs) = counted(step);
    assert_eq!((plans, runs), (0, 1));
    assert_eq!(nodes(step), first);
}

#[test]
fn softmax_and_cross_entropy_are_two_passes() {
    let _alone = alone();
    let logits = param(&[64, 10]);
    let (x, y) = (logits.value().unwrap(), data(640, &[64, 10]));
    let (kernels, _, runs) = counted(|| {
        let loss = -(x.logsoftmax(-1).unwrap() * &y).sum(None, false).unwrap() / 64.0;
        let g = gradient(&loss, None, &[Target::Leaf(logits.number())], false).unwrap()[0].clone().unwrap();
        let (loss, g) = (Handle::new(loss), Handle::new(g));
        evaluate::evaluate(&[loss.tensor().clone(), g.tensor().clone()]).unwrap();
    });
    assert_eq!(runs, 1);
    assert!(kernels <= 4, "{kernels} kernels");
}

#[test]
fn adam_over_twenty_tensors() {
    let _alone = alone();
    let rule = optim::by_name("ADAM").unwrap();
    let params: Vec<Arc<Leaf>> = (0..20).map(|_| param(&[8, 4])).collect();
    let state: Vec<Vec<Arc<Leaf>>> = params
        .iter()
        .map(|_| (0..2).map(|_| Leaf::of(&Tensor::full(&[8, 4], 0.0, DType::F32).unwrap(), false).unwrap()).collect())
        .collect();
    let grads: Vec<Option<Tensor>> = params.iter().map(|_| Some(data(32, &[8, 4]))).collect();
    let step = |t: f64| {
        let h = Hyper { η: 0.001, ρ: 0.9, β1: 0.9, β2: 0.999, ε: 1e-8, decay: 0.0, couple: false, t };
        rule.step(&h, &params, &grads, &state).unwrap();
        leaf::flush().unwrap();
    };
    step(1.0);
    let (kernels, plans, runs) = counted(|| step(2.0));
    assert_eq!((plans, runs), (0, 1));
    // Ninety-six nodes a kernel at most, and about a dozen a parameter.
    assert!(kernels <= 4, "{kernels} kernels");
}

#[test]
fn a_loss_that_is_read_first_costs_no_second_product() {
    let _alone = alone();
    let layer = Dense::new(64, 32);
    let x = data(16 * 64, &[16, 64]);
    let run = |read: bool| {
        let (kernels, _, _) = counted(|| {
            let loss = Handle::new(squares(&layer.call(&x)));
            if read {
                evaluate::evaluate(&[loss.tensor().clone()]).unwrap();
            }
            descend(loss.tensor(), &[&layer.w, &layer.b]);
            leaf::flush().unwrap();
        });
        kernels
    };
    let (plain, read) = (run(false), run(true));
    assert!(read <= plain + 1, "{read} kernels, {plain} without reading");
}

#[test]
fn batch_sizes_without_end() {
    let _alone = alone();
    let layer = Dense::new(4, 3);
    for n in 1..=3000 {
        let x = Tensor::full(&[n, 4], 0.5, DType::F32).unwrap();
        let y = Handle::new(layer.call(&x).sum(None, false).unwrap());
        evaluate::evaluate(&[y.tensor().clone()]).unwrap();
    }
    // The plans, and what is remembered of their graphs.
    assert!(evaluate::cached_bytes() <= (256 + 4) << 20);
}

/// Live bytes and calls of the allocator on this thread during `f`.
fn allocated(f: impl FnOnce()) -> (isize, usize) {
    let (live, calls) = (LIVE.get(), CALLS.get());
    f();
    (LIVE.get() - live, CALLS.get() - calls)
}

#[test]
fn a_hundred_thousand_steps_hold_nothing() {
    let _alone = alone();
    let layer = Dense::new(3, 2);
    let (x, y) = (data(12, &[4, 3]), data(8, &[4, 2]));
    let step = || {
        let loss = Handle::new(squares(&(layer.call(&x) - &y)));
        descend(loss.tensor(), &[&layer.w, &layer.b]);
    };
    (0..100).for_each(|_| step());
    let (live, first) = allocated(|| (0..1000).for_each(|_| step()));
    let (kernels, plans, runs) = counted(|| {
        let (more, calls) = allocated(|| (0..100_000).for_each(|_| step()));
        assert!(live.abs() < 10_000 && more.abs() < 10_000, "{live} and {more} bytes");
        assert!(calls <= first * 101, "{calls} allocations, {first} in the first thousand");
    });
    assert_eq!((plans, runs), (0, 100_000));
    assert!(kernels % 100_000 == 0);
    leaf::flush().unwrap();
}

#[test]
fn steps_of_accumulated_gradients_hold_nothing() {
    let _alone = alone();
    let w = param(&[3]);
    let step = || {
        for _ in 0..2 {
            leaf::back(&squares(&w.value().unwrap()), None).unwrap();
        }
        let g = Handle::new(w.grad().unwrap());
        leaf::update(&w, &(g.tensor() * -0.01)).unwrap();
    };
    (0..100).for_each(|_| step());
    let (live, _) = allocated(|| (0..10_000).for_each(|_| step()));
    assert!(live.abs() < 10_000, "{live} bytes");
    leaf::flush().unwrap();
}

#[test]
fn accumulating_without_a_step_holds_little() {
    let _alone = alone();
    for read in [true, false] {
        let w = param(&[3]);
        let step = || {
            let loss = Handle::new(squares(&w.value().unwrap()));
            leaf::back(loss.tensor(), None).unwrap();
            if read {
                evaluate::evaluate(&[loss.tensor().clone()]).unwrap();
            }
        };
        // Results that nothing reads are computed every 256 calls; the plan for that many is large, and kept.
        (0..2560).for_each(|_| step());
        let (live, _) = allocated(|| (0..5120).for_each(|_| step()));
        assert!(live.abs() < 100_000, "{live} bytes, losses read: {read}");
        let total = Handle::new(w.grad().unwrap());
        evaluate::evaluate(&[total.tensor().clone()]).unwrap();
    }
}

#[test]
fn values_without_history_hold_nothing_else() {
    let _alone = alone();
    let w = param(&[16, 16]);
    let mut losses = Vec::new();
    let mut step = |n: usize| {
        for _ in 0..n {
            let x = data(64 * 16, &[64, 16]);
            let loss = Handle::new(squares(&matmul(&x, &w.value().unwrap()).unwrap()));
            losses.push(Handle::new(loss.tensor().detached()));
            descend(loss.tensor(), &[&w]);
        }
        leaf::flush().unwrap();
    };
    step(100);
    // A batch alone is 4 kB.
    let (live, _) = allocated(|| step(1000));
    assert!(live < 1_000_000, "{live} bytes");
}

#[test]
fn a_checkpoint_keeps_no_intermediates() {
    use fluxrs::graph::Checkpoint;
    use fluxrs::ops::Pullback;
    use fluxrs::ops::custom::checkpointed;
    struct Never;
    impl Pullback for Never {
        fn name(&self) -> String {
            "never".into()
        }
        fn pull(&self, _: &Tensor, _: &Tensor) -> fluxrs::Result<Vec<Option<Tensor>>> {
            unreachable!("nothing goes back here")
        }
    }
    let _alone = alone();
    let w = param(&[64, 64]);
    let deep = |x: &Tensor| (0..20).fold(x.clone(), |x, _| matmul(&x, &w.value().unwrap()).unwrap());
    let x = data(64 * 64, &[64, 64]);
    let (mut plain, mut passing) = (None, None);
    let (kept, _) = allocated(|| {
        let y = plain.insert(Handle::new(deep(&x).sum(None, false).unwrap()));
        evaluate::evaluate(&[y.tensor().clone()]).unwrap();
    });
    let (passed, _) = allocated(|| {
        let y = {
            let _scope = Checkpoint::enter();
            deep(&x).sum(None, false).unwrap()
        };
        let y = passing.insert(Handle::new(checkpointed(&y, &[w.value().unwrap()], Arc::new(Never))));
        evaluate::evaluate(&[y.tensor().clone()]).unwrap();
    });
    // Twenty products of 16 kB; the plan itself is kept by both.
    assert!(kept > 20 * 16_000, "{kept} bytes");
    assert!(passed < 60_000, "{passed} bytes");
    assert!(passing.is_some_and(|y| y.tensor().is_tracked()));
}

#[test]
fn a_chain_of_a_million_ops() {
    let _alone = alone();
    let x = param(&[2]);
    let (live, _) = allocated(|| {
        let mut y = x.value().unwrap();
        for i in 0..500_000 {
            y = if i % 3 == 0 { y.flip(None).unwrap() } else { y + 1e-6 };
            y = Elementwise::negative.apply(&[&y]).unwrap();
        }
        let y = Handle::new(y.sum(None, false).unwrap());
        let g = gradient(y.tensor(), None, &[Target::Leaf(x.number())], false).unwrap()[0].clone().unwrap();
        let g = Handle::new(g);
        evaluate::evaluate(&[y.tensor().clone(), g.tensor().clone()]).unwrap();
        assert!(evaluate::is_ready(g.tensor()));
    });
    assert!(live < 1_000_000, "{live} bytes stay");
}

#[test]
fn a_loop_that_never_reads() {
    let _alone = alone();
    let start = data(4, &[4]);
    let mut y = Handle::new(start + 0.0);
    let mut most = 0;
    let before = LIVE.get();
    let (_, _, runs) = counted(|| {
        for _ in 0..600_000 {
            y = Handle::new(y.tensor() * 0.5 + 1.0);
            most = most.max(LIVE.get() - before);
        }
    });
    assert!((4..30).contains(&runs), "{runs} evaluations");
    assert!(most < 1_000_000_000, "{most} bytes");
}

/// A layer h = tanh(x·Wᵀ + h·Uᵀ) over sequences.
struct Recurrent {
    w: Arc<Leaf>,
    u: Arc<Leaf>,
}

impl Recurrent {
    fn new(inputs: usize, outputs: usize) -> Recurrent {
        Recurrent { w: param(&[outputs, inputs]), u: param(&[outputs, outputs]) }
    }

    /// The states of all steps.
    fn call(&self, x: &Tensor) -> Tensor {
        let (batch, outputs) = (x.shape()[1], self.u.peek().shape()[0]);
        let transposed = |p: &Arc<Leaf>| p.value().unwrap().transpose(None).unwrap();
        let step = |h: &[Tensor], x: &[Tensor]| {
            let h = Elementwise::tanh.apply(&[&(matmul(&x[0], &transposed(&self.w))? + matmul(&h[0], &transposed(&self.u))?)])?;
            Ok((vec![h.clone()], vec![h]))
        };
        let first = data(batch * outputs, &[batch, outputs]);
        scan::over(step, &[first], std::slice::from_ref(x), x.shape()[0], false).unwrap().swap_remove(1)
    }

    fn step(&self, x: &Tensor) {
        let loss = Handle::new(squares(&self.call(x)));
        descend(loss.tensor(), &[&self.w, &self.u]);
        leaf::flush().unwrap();
    }
}

#[test]
fn a_scan_is_a_kernel_and_a_step_of_it_allocates_nothing() {
    let _alone = alone();
    let layer = Recurrent::new(8, 6);
    let allocations = |steps: usize| {
        let x = data(steps * 5 * 8, &[steps, 5, 8]);
        layer.step(&x);
        layer.step(&x);
        let before = CALLS.get();
        let (kernels, plans, runs) = counted(|| layer.step(&x));
        assert_eq!((plans, runs), (0, 1));
        // The product of all rows, Uᵀ laid anew, the scan, the loss and its gradient, zeros, the scan back, two products, updates.
        assert!(kernels <= 11, "{kernels} kernels");
        CALLS.get() - before
    };
    let (few, many) = (allocations(20), allocations(1000));
    assert!(many <= few + 8, "{many} allocations for 1000 steps, {few} for 20");
}

#[test]
fn a_scans_products_of_rows_are_one_product() {
    let _alone = alone();
    let layer = Recurrent::new(8, 6);
    let x = data(30 * 5 * 8, &[30, 5, 8]);
    layer.step(&x);
    let plan = evaluate::explain_last().unwrap();
    for product in ["product 150×8 · 8×6", "product 6×150 · 150×8", "product 6×150 · 150×6"] {
        assert!(plan.contains(product), "no {product} in\n{plan}");
    }
    // One of a step each: of the state, and of its gradient.
    assert_eq!(plan.matches("product 5×6 · 6×6").count(), 2, "{plan}");
}
