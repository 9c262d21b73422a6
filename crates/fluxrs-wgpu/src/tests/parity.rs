//! The device against the CPU, op by op and in small programs.

use super::recorder::recorder;
use crate::GpuBackend;
use crate::device::lock;
use fluxrs::backend::register;
use fluxrs::device::Device;
use fluxrs::dtype::{DType, Element};
use fluxrs::evaluate::evaluate;
use fluxrs::graph::Tensor;
use fluxrs::ops::{Class, Elementwise};
use fluxrs::transfer::{to_device, to_host};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The device as the core knows it, for one test at a time: counts and flags belong to the process.
pub(crate) struct Session {
    pub device: Device,
    _alone: MutexGuard<'static, ()>,
}

/// The device, or None where there is none.
pub(crate) fn registered() -> Option<Session> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let device = *DEVICE.get_or_init(|| Some(register(Arc::new(GpuBackend::over(super::device()?)))));
    Some(Session { device: device?, _alone: lock(&ALONE) })
}

/// The elements as f64, wherever they are.
pub(crate) fn values(x: &Tensor) -> Vec<f64> {
    let host = to_host(x).unwrap();
    let bytes = &host.as_slice::<u8>()[..x.size() * x.dtype().bytes()];
    let each = bytes.chunks_exact(x.dtype().bytes());
    match x.dtype() {
        DType::Bool => each.map(|b| f64::from(b[0])).collect(),
        DType::I32 => each.map(|b| f64::from(i32::from_ne_bytes(b.try_into().unwrap()))).collect(),
        DType::I64 => each.map(|b| i64::from_ne_bytes(b.try_into().unwrap()) as f64).collect(),
        DType::F32 => each.map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap()))).collect(),
        DType::F64 => each.map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect(),
    }
}

pub(crate) fn tensor<T: Element>(data: &[T], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape).unwrap()
}

/// Pseudo-random numbers of a range.
pub(crate) fn uniform(n: usize, seed: u64, low: f64, high: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n).map(|_| low + (high - low) * next()).collect()
}

/// The largest difference in units of the last place of f32, NaN and infinities being equal to themselves.
pub(crate) fn ulps(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let one = |(&g, &w): (&f64, &f64)| {
        if g == w || g.is_nan() && w.is_nan() {
            return 0.0;
        }
        let tiny = f64::from(f32::MIN_POSITIVE);
        if g.abs() <= tiny && w.abs() <= tiny {
            return 0.0;
        }
        let exponent = w.abs().max(tiny).log2().floor();
        let error = (g - w).abs() / (exponent - 23.0).exp2();
        if error.is_nan() { f64::INFINITY } else { error }
    };
    got.iter().zip(want).map(one).fold(0.0, f64::max)
}

fn operand(class: Class, dtype: DType, i: usize, n: usize, domain: (f64, f64)) -> Tensor {
    let mut x = uniform(n, i as u64 + 7, domain.0, domain.1);
    if dtype.is_float() {
        let specials = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.5, 2.0];
        // Every pair of special values, each operand going through them at its own pace.
        for k in 0..81 {
            x.push(specials[if i == 0 { k % 9 } else { k / 9 }]);
        }
    } else {
        x.extend([0.0; 81].iter().enumerate().map(|(k, _)| if i == 0 { k as f64 - 40.0 } else { (k % 7) as f64 - 3.0 }));
    }
    let shape = [x.len()];
    if class == Class::Logic || class == Class::Select && i == 0 {
        return tensor(&x.iter().map(|&x| u8::from(x > 0.0)).collect::<Vec<_>>(), &shape);
    }
    match dtype {
        DType::I32 => tensor(&x.iter().map(|&x| x as i32).collect::<Vec<_>>(), &shape),
        DType::I64 => tensor(&x.iter().map(|&x| x as i64).collect::<Vec<_>>(), &shape),
        _ => tensor(&x.iter().map(|&x| x as f32).collect::<Vec<_>>(), &shape),
    }
}

#[test]
fn every_op_of_the_table_agrees_with_the_cpu() {
    let mut failures = Vec::new();
    for &op in Elementwise::ALL {
        let record = op.record();
        let dtypes: &[DType] = match record.class {
            Class::Real | Class::Test | Class::Round | Class::Logic => &[DType::F32],
            _ => &[DType::F32, DType::I32, DType::I64],
        };
        for &dtype in dtypes {
            let xs: Vec<Tensor> =
                record.domain.iter().enumerate().map(|(i, &d)| operand(record.class, dtype, i, 2000, d)).collect();
            let recorded: Vec<Tensor> = xs.iter().map(|x| to_device(x, recorder()).unwrap()).collect();
            evaluate(&[op.apply(&recorded.iter().collect::<Vec<_>>()).unwrap()]).unwrap();
            let Some(session) = registered() else { continue };
            let device = session.device;
            let moved: Vec<Tensor> = xs.iter().map(|x| to_device(x, device).unwrap()).collect();
            let want = op.apply(&xs.iter().collect::<Vec<_>>()).unwrap();
            let got = op.apply(&moved.iter().collect::<Vec<_>>()).unwrap();
            match evaluate(std::slice::from_ref(&got)) {
                Err(error) => failures.push(format!("{} {dtype}: {error}", record.name)),
                Ok(()) => {
                    let (g, w) = (values(&got), values(&want));
                    let error = ulps(&g, &w);
                    println!("{:14} {dtype:8} {error:.1} ulp", record.name);
                    let limit = if dtype == DType::F32 { 2.0 * f64::from(record.ulp) + 4.0 } else { 0.0 };
                    if error > limit {
                        let k = (0..g.len())
                            .max_by(|&a, &b| ulps(&g[a..=a], &w[a..=a]).total_cmp(&ulps(&g[b..=b], &w[b..=b])))
                            .unwrap();
                        let at: Vec<f64> = xs.iter().map(|x| values(x)[k]).collect();
                        failures.push(format!("{} {dtype}: {} instead of {} at {at:?}, {error:.1} ulp", record.name, g[k], w[k]));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
