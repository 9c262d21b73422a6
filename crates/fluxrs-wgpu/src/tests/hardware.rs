//! The paths that only hardware takes, on whatever adapter there is: unrolled kernels, few bindings, two steps in flight
//! and flags that are seen late.

use super::parity::{Session, registered, values};
use super::programs::{map, random};
use super::steps::{Model, step};
use crate::backend::GpuBackend;
use crate::device::Gpu;
use fluxrs::device::{Device, backend, register};
use fluxrs::error::Error;
use fluxrs::graph::Tensor;
use fluxrs::ops::matmul::matmul;
use fluxrs::transfer::to_device;
use std::sync::{Arc, OnceLock};

/// A device that passes for the least of hardware, beside the session that keeps other tests away.
fn hardware() -> Option<(Session, Device)> {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let session = registered()?;
    let open = || {
        let gpu = Gpu::open_with(|limits| {
            (limits.software, limits.flights) = (false, 2);
            limits.storage = limits.storage.min(8);
        });
        register(Arc::new(GpuBackend::over(Box::leak(Box::new(gpu.unwrap())))))
    };
    let device = *DEVICE.get_or_init(open);
    Some((session, device))
}

#[test]
fn a_program_over_many_tensors_is_cut() {
    let Some((_session, device)) = hardware() else { return };
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
    let Some((_session, device)) = hardware() else { return };
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
