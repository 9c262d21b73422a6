//! Training steps on the device: every optimiser, bad losses, indices out of range, counts.

use super::parity::{registered, tensor, uniform, values};
use crate::device::{Gpu, gpu};
use fluxrs::device::Device;
use fluxrs::error::Error;
use fluxrs::evaluate::{Handle, evaluate};
use fluxrs::graph::Tensor;
use fluxrs::leaf::{self, Leaf};
use fluxrs::ops::Elementwise;
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::optim::{Hyper, RULES};
use fluxrs::tape::{Target, gradient};
use fluxrs::transfer::to_device;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn data(n: usize, seed: u64) -> Vec<f32> {
    uniform(n, seed, -1.0, 1.0).iter().map(|&x| x as f32).collect()
}

fn param(shape: &[usize], seed: u64, device: Device) -> Arc<Leaf> {
    let x = tensor(&data(shape.iter().product(), seed), shape);
    Leaf::of(&to_device(&x, device).unwrap(), true).unwrap()
}

pub(crate) struct Model {
    pub params: Vec<Arc<Leaf>>,
    x: Tensor,
    y: Tensor,
}

impl Model {
    /// Two dense layers on eight samples.
    pub(crate) fn new(device: Device) -> Model {
        let shapes: [&[usize]; 4] = [&[6, 5], &[6], &[3, 6], &[3]];
        let params = shapes.iter().enumerate().map(|(i, shape)| param(shape, i as u64 + 1, device)).collect();
        let x = to_device(&tensor(&data(40, 9), &[8, 5]), device).unwrap();
        let y = to_device(&tensor(&data(24, 10), &[8, 3]), device).unwrap();
        Model { params, x, y }
    }

    pub(crate) fn loss(&self) -> Tensor {
        let p: Vec<Tensor> = self.params.iter().map(|p| p.value().unwrap()).collect();
        let dense = |x: &Tensor, w: &Tensor, b: &Tensor| matmul(x, &w.transpose(None).unwrap()).unwrap() + b;
        let hidden = Elementwise::tanh.apply(&[&dense(&self.x, &p[0], &p[1])]).unwrap();
        let error = dense(&hidden, &p[2], &p[3]) - &self.y;
        (&error * &error).mean(None, false).unwrap()
    }

    fn grads(&self, loss: &Tensor) -> Vec<Option<Tensor>> {
        let targets: Vec<Target> = self.params.iter().map(|p| Target::Leaf(p.number())).collect();
        gradient(loss, None, &targets, false).unwrap()
    }

    pub(crate) fn values(&self) -> Vec<f64> {
        self.params.iter().flat_map(|p| values(&p.value().unwrap())).collect()
    }
}

pub(crate) fn state(model: &Model, slots: usize, device: Device) -> Vec<Vec<Arc<Leaf>>> {
    let zeros = |p: &Arc<Leaf>| {
        let shape = p.value().unwrap().shape().to_vec();
        let zero = tensor(&vec![0f32; shape.iter().product()], &shape);
        Leaf::of(&to_device(&zero, device).unwrap(), false).unwrap()
    };
    model.params.iter().map(|p| (0..slots).map(|_| zeros(p)).collect()).collect()
}

#[test]
fn every_optimiser_takes_the_same_steps_as_on_the_cpu() {
    let Some(session) = registered() else { return };
    let device = session.device;
    for rule in RULES {
        let mut results = Vec::new();
        for device in [Device::CPU, device] {
            let model = Model::new(device);
            let state = state(&model, rule.slots.len(), device);
            for t in 1..=10 {
                let h = Hyper { η: 0.01, ρ: 0.9, β1: 0.9, β2: 0.999, ε: 1e-6, decay: 0.01, couple: false, t: f64::from(t) };
                let loss = model.loss();
                rule.step(&h, &model.params, &model.grads(&loss), &state).unwrap();
                leaf::flush().unwrap();
            }
            results.push(model.values());
        }
        let worst = results[0].iter().zip(&results[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("{:9} {worst:.1e}", rule.name);
        assert!(worst < 2e-4, "{}: {worst}", rule.name);
    }
}

/// One SGD step whose loss is divided by `divisor`.
pub(crate) fn step(model: &Model, divisor: f64) -> Result<(), Error> {
    let loss = model.loss() / divisor;
    for (p, g) in model.params.iter().zip(model.grads(&loss)) {
        leaf::update(p, &(g.unwrap() * -0.1)).unwrap();
    }
    leaf::flush()
}

/// As `step`, waiting for how it ended.
fn settled(model: &Model, divisor: f64, device: Device) -> Result<(), Error> {
    step(model, divisor).and_then(|()| fluxrs::backend::backend(device).synchronize())
}

#[test]
fn a_bad_loss_changes_nothing() {
    let Some(session) = registered() else { return };
    let device = session.device;
    let model = Model::new(device);
    step(&model, 1.0).unwrap();
    let before = model.values();
    assert!(matches!(settled(&model, 0.0, device), Err(Error::BadLoss(_))));
    assert_eq!(model.values(), before);
    settled(&model, 1.0, device).unwrap();
    assert_ne!(model.values(), before);
}

#[test]
fn an_index_out_of_range_raises_and_changes_nothing() {
    let Some(session) = registered() else { return };
    let device = session.device;
    let x = to_device(&tensor(&data(12, 1), &[4, 3]), device).unwrap();
    let index = |i: i64| to_device(&tensor(&[1i64, i], &[2]), device).unwrap();
    for bad in [4, -5, 1000] {
        let rows = take(&x, &index(bad), 0).unwrap();
        let result = evaluate(std::slice::from_ref(&rows)).and_then(|()| fluxrs::backend::backend(device).synchronize());
        let Err(Error::Index(message)) = result else { panic!("{bad}: {result:?}") };
        assert_eq!(message, format!("take: index {bad} is out of range for axis 0 of size 4"));
    }
    let p = param(&[4, 3], 5, device);
    let before = values(&p.value().unwrap());
    let loss = take(&p.value().unwrap(), &index(7), 0).unwrap().sum(None, false).unwrap();
    let g = gradient(&loss, None, &[Target::Leaf(p.number())], false).unwrap();
    leaf::update(&p, g[0].as_ref().unwrap()).unwrap();
    let result = leaf::flush().and_then(|()| fluxrs::backend::backend(device).synchronize());
    assert!(matches!(result, Err(Error::Index(_))));
    assert_eq!(values(&p.value().unwrap()), before);
    assert_eq!(values(&take(&x, &index(-1), 0).unwrap())[3..], values(&x)[9..]);
}

#[test]
fn a_step_is_one_submit_and_makes_nothing_new() {
    let Some(session) = registered() else { return };
    a_replayed_step_makes_nothing_new(session.device, gpu().unwrap());
}

pub(crate) fn a_replayed_step_makes_nothing_new(device: Device, gpu: &Gpu) {
    let model = Model::new(device);
    let rule = RULES.iter().find(|rule| rule.name == "ADAM").unwrap();
    let state = state(&model, rule.slots.len(), device);
    let mut t = 0.0;
    let mut step = || {
        t += 1.0;
        let h = Hyper { η: 0.01, ρ: 0.9, β1: 0.9, β2: 0.999, ε: 1e-8, decay: 0.0, couple: false, t };
        let loss = Handle::new(model.loss());
        rule.step(&h, &model.params, &model.grads(loss.tensor()), &state).unwrap();
        leaf::flush().unwrap();
    };
    (0..10).for_each(|_| step());
    let count = || {
        let counters = &gpu.counters;
        [&counters.submits, &counters.dispatches, &counters.bind_groups].map(|counter| counter.load(Ordering::Relaxed))
    };
    let (kernels, (_, buffers), before) = (gpu.compiled(), gpu.memory(), count());
    (0..10).for_each(|_| step());
    let [submits, dispatches, groups] = std::array::from_fn(|i| count()[i] - before[i]);
    println!("{} dispatches a step", dispatches / 10);
    assert_eq!((gpu.compiled(), gpu.memory().1), (kernels, buffers));
    assert_eq!((submits, groups), (10, 0));
}
