//! What a device that fails says: memory at a bound, a kernel that the driver does not take, a device that goes away.

use super::parity::{registered, tensor, values};
use super::programs::random;
use crate::backend::GpuBackend;
use crate::device::{Gpu, lock};
use crate::fault::Fault;
use crate::limits::Limits;
use crate::pipeline::Access;
use fluxrs::backend::{backend, register};
use fluxrs::device::Device;
use fluxrs::error::Error;
use fluxrs::evaluate::evaluate;
use fluxrs::transfer::to_device;
use std::sync::Arc;

/// A device of its own with some limits.
fn opened(change: impl Fn(&mut Limits)) -> Option<(super::parity::Session, Device, &'static Gpu)> {
    let session = registered()?;
    let gpu: &Gpu = Box::leak(Box::new(Gpu::open_with(change).unwrap()));
    Some((session, register(Arc::new(GpuBackend::over(gpu))), gpu))
}

fn device_error(result: Result<(), Error>, part: &str) {
    let Err(Error::Device(message)) = result else { panic!("{result:?}") };
    assert!(message.contains(part), "{message}");
}

#[test]
fn memory_has_a_bound_and_freed_memory_is_used_before_it_is_reached() {
    let Some((_session, _, gpu)) = opened(|limits| limits.memory = Some(1 << 20)) else { return };
    let half = gpu.storage(1 << 19).unwrap();
    let Err(Fault::Memory(message)) = gpu.storage(1 << 20) else { panic!("there was room") };
    assert_eq!(message, "the GPU has no room for 1048576 bytes: 524288 of 1048576 are in use");
    drop(half);
    drop(gpu.storage(1 << 20).unwrap());
    assert_eq!(gpu.released(), 1);
}

#[test]
fn a_tensor_larger_than_a_buffer_is_told_the_limit() {
    let Some((_session, device, _)) = opened(|limits| limits.bytes = 1 << 16) else { return };
    let Err(Error::Memory(message)) = to_device(&random(&[1 << 15], 1), device) else { panic!("there was room") };
    assert!(message.starts_with("a tensor of 131072 bytes: one buffer of this GPU has at most 65536"), "{message}");
}

#[test]
fn a_kernel_that_the_driver_does_not_take_is_named() {
    let Some((_session, _, gpu)) = opened(|_| ()) else { return };
    let Err(Fault::Refused(label, why)) = gpu.kernel("fn main( {", &[Access::Read], "add+exp") else { panic!("it was taken") };
    assert_eq!(label, "add+exp");
    assert!(Fault::Refused(label, why).to_string().contains("kernel of add+exp"));
    gpu.check().unwrap();
}

#[test]
fn a_device_that_goes_away_says_so_from_then_on() {
    let Some((_session, device, gpu)) = opened(|_| ()) else { return };
    let x = to_device(&tensor(&[1f32, 2.0], &[2]), device).unwrap();
    assert_eq!(values(&(&x + 1.0)), [2.0, 3.0]);
    gpu.device.destroy();
    let _ = gpu.device.poll(wgpu::PollType::Poll);
    for _ in 0..3 {
        device_error(evaluate(&[&x * 2.0]).and_then(|()| backend(device).synchronize()), "the GPU was lost");
    }
}

#[test]
fn a_step_that_stopped_midway_is_a_device_lost_for_good() {
    let Some((_session, device, gpu)) = opened(|limits| limits.flights = 2) else { return };
    let x = to_device(&tensor(&[1f32, 2.0], &[2]), device).unwrap();
    evaluate(&[&x * 2.0]).unwrap();
    lock(&gpu.steps).cut_short();
    for _ in 0..2 {
        device_error(backend(device).synchronize(), "a step did not run to its end");
        device_error(evaluate(&[&x * 3.0]), "a step did not run to its end");
    }
}

#[test]
fn bind_groups_go_with_their_buffers() {
    let Some((_session, device, gpu)) = opened(|limits| limits.idle = 0) else { return };
    let x = to_device(&random(&[1000], 1), device).unwrap();
    for _ in 0..10 {
        let y = &x * 2.0;
        evaluate(std::slice::from_ref(&y)).unwrap();
    }
    // Of the last run alone: the results of those before were given back.
    assert!(gpu.released() >= 9 && gpu.groups.bindings() <= 2, "{} {}", gpu.released(), gpu.groups.bindings());
}

#[test]
fn a_long_kernel_is_cut_and_a_long_step_goes_in_several_submits() {
    let Some((_session, device, gpu)) = opened(|limits| (limits.dispatch, limits.submit) = (1000, 1)) else { return };
    let count = || gpu.counters.submits.load(std::sync::atomic::Ordering::Relaxed);
    let (x, before) = (random(&[300, 100], 1), count());
    let there = to_device(&x, device).unwrap();
    let program = |x: &fluxrs::graph::Tensor| [x * 2.0, x.sum(Some(&[1]), false).unwrap(), x.argmax(Some(0), false).unwrap()];
    let (got, want) = (program(&there), program(&x));
    evaluate(&got).unwrap();
    for (got, want) in got.iter().zip(&want) {
        for (g, w) in values(got).iter().zip(values(want)) {
            assert!((g - w).abs() < 1e-4, "{g} instead of {w}");
        }
    }
    assert!(count() - before >= 10, "{} submits", count() - before);
}
