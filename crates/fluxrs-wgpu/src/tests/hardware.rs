//! The paths that only hardware takes, on whatever adapter there is: unrolled kernels, few bindings, two steps in flight
//! and flags that are seen late.

use super::parity::{Session, registered, values};
use super::programs::{map, random};
use super::steps::{Model, a_replayed_step_makes_nothing_new, state, step};
use crate::backend::GpuBackend;
use crate::device::{Gpu, lock};
use fluxrs::backend::{backend, register};
use fluxrs::device::Device;
use fluxrs::error::Error;
use fluxrs::evaluate::rollback;
use fluxrs::graph::Tensor;
use fluxrs::leaf;
use fluxrs::ops::index::take;
use fluxrs::ops::matmul::matmul;
use fluxrs::optim::{Hyper, RULES};
use fluxrs::tape::{Target, gradient};
use fluxrs::transfer::to_device;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// A device that passes for the least of hardware, beside the session that keeps other tests away.
fn hardware() -> Option<(Session, Device, &'static Gpu)> {
    static DEVICE: OnceLock<(Device, &'static Gpu)> = OnceLock::new();
    let session = registered()?;
    let open = || {
        let gpu = Gpu::open_with(|limits| {
            (limits.unroll, limits.flights) = (true, 2);
            limits.storage = limits.storage.min(8);
        });
        let gpu: &Gpu = Box::leak(Box::new(gpu.unwrap()));
        (register(Arc::new(GpuBackend::over(gpu))), gpu)
    };
    let (device, gpu) = *DEVICE.get_or_init(open);
    Some((session, device, gpu))
}

#[test]
fn a_program_over_many_tensors_is_cut() {
    let Some((_session, device, _)) = hardware() else { return };
    let xs: Vec<Tensor> = (0..12).map(|i| random(&[6, 7], i)).collect();
    let program = |xs: &[Tensor]| {
        let product = matmul(&xs[0], &xs[1].transpose(None).unwrap()).unwrap();
        let all = xs[1..].iter().fold(xs[0].clone(), |sum, x| &sum * 0.5 + map("tanh", &[x]));
        vec![product, all.clone(), map("exp", &[&all]), (&all * &xs[3]).sum(Some(&[0]), false).unwrap(), all.softmax(1).unwrap()]
    };
    let moved: Vec<Tensor> = xs.iter().map(|x| to_device(x, device).unwrap()).collect();
    for (got, want) in program(&moved).iter().zip(&program(&xs)) {
        for (g, w) in values(got).iter().zip(values(want)) {
            assert!((g - w).abs() < 1e-4, "{g} instead of {w}");
        }
    }
}

#[test]
fn a_bad_loss_is_raised_late_and_still_changes_nothing() {
    let Some((_session, device, _)) = hardware() else { return };
    let model = Model::new(device);
    step(&model, 1.0).unwrap();
    let before = model.values();
    let raised = step(&model, 0.0).and_then(|()| backend(device).synchronize());
    assert!(matches!(raised, Err(Error::BadLoss(_))), "{raised:?}");
    assert_eq!(model.values(), before);

    // Steps behind a bad one do nothing until the host has seen the flag; those after that count again.
    let results: Vec<_> = [0.0, 1.0, 1.0, 1.0, 1.0].iter().map(|&divisor| step(&model, divisor)).collect();
    let bad = results.iter().position(Result::is_err).expect("seen within a few steps");
    assert!(bad <= 2 && matches!(results[bad], Err(Error::BadLoss(_))), "{results:?}");
    assert!(results[bad + 1..].iter().all(Result::is_ok), "{results:?}");
    let cpu = Model::new(Device::CPU);
    (0..results.len() - bad).for_each(|_| step(&cpu, 1.0).unwrap());
    for (g, w) in model.values().iter().zip(cpu.values()) {
        assert!((g - w).abs() < 1e-5, "{g} instead of {w}");
    }
}

/// A parameter that is updated without a loss.
fn shift(p: &Arc<leaf::Leaf>, by: f64) -> Result<(), Error> {
    let x = p.value().unwrap();
    leaf::update(p, &(&(&x * 0.0) + by)).unwrap();
    leaf::flush()
}

#[test]
fn what_commits_without_a_loss_waits_for_the_steps_before() {
    let Some((_session, device, _)) = hardware() else { return };
    let model = Model::new(device);
    let w = leaf::Leaf::of(&to_device(&super::parity::tensor(&[1f32, 1.0], &[2]), device).unwrap(), true).unwrap();
    for _ in 0..3 {
        step(&model, 1.0).unwrap();
        shift(&w, 1.0).unwrap();
    }
    let before = (model.values(), values(&w.value().unwrap()));
    assert_eq!(before.1, [4.0, 4.0]);
    step(&model, 0.0).unwrap();
    let raised = shift(&w, 1.0);
    assert!(matches!(raised, Err(Error::BadLoss(_))), "{raised:?}");
    assert_eq!((model.values(), values(&w.value().unwrap())), before);
    shift(&w, 1.0).unwrap();
    assert_eq!(values(&w.value().unwrap()), [5.0, 5.0]);
}

#[test]
fn an_index_out_of_range_in_a_step_is_raised_late_and_changes_nothing() {
    let Some((_session, device, gpu)) = hardware() else { return };
    let table = random(&[4, 3], 5);
    let p = leaf::Leaf::of(&to_device(&table, device).unwrap(), true).unwrap();
    let step = |i: i64| {
        let index = to_device(&super::parity::tensor(&[1i64, i], &[2]), device).unwrap();
        let loss = take(&p.value().unwrap(), &index, 0).unwrap().sum(None, false).unwrap();
        let g = gradient(&loss, None, &[Target::Leaf(p.number())], false).unwrap();
        leaf::update(&p, g[0].as_ref().unwrap()).unwrap();
        leaf::flush()
    };
    step(0).unwrap();
    let before = values(&p.value().unwrap());
    step(7).unwrap();
    assert!(lock(&gpu.steps).in_flight() > 0, "a step with indices is not waited for");
    let raised = [step(2), step(2)].into_iter().find_map(Result::err).or_else(|| backend(device).synchronize().err());
    let Some(Error::Index(message)) = raised else { panic!("{raised:?}") };
    assert_eq!(message, "take: index 7 is out of range for axis 0 of size 4");
    assert_eq!(values(&p.value().unwrap()), before);
    step(3).unwrap();
    backend(device).synchronize().unwrap();
    assert_ne!(values(&p.value().unwrap()), before);
}

#[test]
fn two_steps_in_flight_make_nothing_new_either() {
    let Some((_session, device, gpu)) = hardware() else { return };
    a_replayed_step_makes_nothing_new(device, gpu);
}

#[test]
fn a_step_seen_late_to_be_bad_changes_nothing() {
    let Some((_session, device, _)) = hardware() else { return };
    let model = Model::new(device);
    let rule = RULES.iter().find(|rule| rule.name == "ADAM").unwrap();
    let state = state(&model, rule.slots.len(), device);
    let grads = || -> Vec<_> { model.params.iter().map(|p| p.grad()).collect() };
    let step = |t: f64| {
        let h = Hyper { η: 0.01, ρ: 0.9, β1: 0.9, β2: 0.999, ε: 1e-8, decay: 0.0, couple: false, t };
        rule.step(&h, &model.params, &grads(), &state).unwrap();
        leaf::flush()
    };
    let all = || -> Vec<f64> {
        let leaves = state.iter().flatten().flat_map(|s| values(&s.value().unwrap()));
        model.values().into_iter().chain(leaves).collect()
    };
    for t in 1..4 {
        leaf::back(&model.loss(), None).unwrap();
        step(f64::from(t)).unwrap();
    }
    let before = all();
    // A good gradient, then that of a bad loss: the first is there again, though the step took both.
    leaf::back(&model.loss(), None).unwrap();
    let good: Vec<Tensor> = grads().into_iter().flatten().collect();
    leaf::back(&(model.loss() / 0.0), None).unwrap();
    rollback::take_last();
    step(4.0).unwrap();
    let mut marks = vec![rollback::take_last().expect("the step was under way when it returned")];
    let raised = (0..4).find_map(|_| {
        leaf::back(&model.loss(), None).unwrap();
        let result = step(5.0);
        marks.extend(rollback::take_last());
        result.err()
    });
    assert!(matches!(raised, Some(Error::BadLoss(_))), "{raised:?}");
    assert!(marks.iter().all(|mark| mark.load(Ordering::Acquire)));
    assert_eq!(all(), before);
    for (p, good) in model.params.iter().zip(&good) {
        assert_eq!(values(&p.grad().unwrap()), values(good));
    }
    // Values that came back may have been used elsewhere: the first step writes fresh memory and is awaited.
    step(4.0).unwrap();
    assert!(rollback::take_last().is_none());
    leaf::back(&model.loss(), None).unwrap();
    step(5.0).unwrap();
    backend(device).synchronize().unwrap();
    assert_ne!(all(), before);
    let mark = rollback::take_last().unwrap();
    assert!(!mark.load(Ordering::Acquire) && Arc::strong_count(&mark) == 1, "a step that is done has no other reference");
}
