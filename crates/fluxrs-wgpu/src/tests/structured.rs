//! Structured ops on the device against the CPU: running sums, sorting, systems of equations, numbers made there, int64.

use super::parity::{registered, tensor, values};
use super::programs::{agree, map, random};
use super::recorder::recorder;
use fluxrs::dtype::{DType, Number};
use fluxrs::error::Error;
use fluxrs::evaluate::evaluate;
use fluxrs::graph::Tensor;
use fluxrs::ops::attention::attention;
use fluxrs::ops::create::{arange, linspace, made_on};
use fluxrs::ops::linalg::{det, inverse, solve};
use fluxrs::ops::pool::{Window, maxpool, meanpool, peak_places};
use fluxrs::ops::reduce::Reduction;
use fluxrs::tape::{Target, gradient};
use fluxrs::transfer::to_device;

#[test]
fn structured_ops_agree() {
    let index = tensor(&[2i64, 0, -1, 1, 1, 0, 3, -4], &[4, 2]);
    let xs = [random(&[4, 5, 3], 1), random(&[4, 4], 2), index];
    agree(
        "running sums",
        |x| {
            let sum = |axis| x[0].cumsum(Some(axis)).unwrap();
            vec![sum(0), sum(1), sum(-1), x[0].cumprod(Some(1)).unwrap()]
        },
        &xs,
        1e-5,
    );
    agree(
        "places",
        |x| {
            let places = |x: &Tensor| vec![x.argmax(Some(-1), false).unwrap(), x.argmin(Some(0), true).unwrap()];
            let whole = (&x[0] * 3.0).cast(DType::I32);
            [places(&x[0]), places(&whole), places(&x[0].to_bool()), vec![x[0].argmax(None, false).unwrap()]].concat()
        },
        &xs,
        0.0,
    );
    agree(
        "sorting",
        |x| {
            let whole = (&x[0] * 3.0).cast(DType::I32);
            let places = x[0].argsort(Some(2)).unwrap();
            let elements = fluxrs::ops::along::take_along_axis(&x[0], &places, Some(2)).unwrap();
            vec![x[0].sort(Some(1)).unwrap(), x[0].argsort(None).unwrap(), whole.argsort(Some(0)).unwrap(), places, elements]
        },
        &xs,
        0.0,
    );
    agree(
        "along an axis",
        |x| {
            let x1 = Tensor::tracked_identity(&x[1]);
            let y = fluxrs::ops::along::take_along_axis(&x1, &x[2], Some(1)).unwrap();
            let loss = map("square", &[&y]).sum(None, false).unwrap();
            let g = gradient(&loss, None, &[Target::Node(x1)], false).unwrap().remove(0).unwrap();
            vec![y, g]
        },
        &xs,
        1e-5,
    );
}

#[test]
fn attention_agrees() {
    let xs = [random(&[2, 3, 7, 5], 1), random(&[2, 1, 70, 5], 2), random(&[2, 3, 70, 4], 3), random(&[7, 70], 4)];
    agree(
        "attention",
        |x| {
            let seen = (&x[3] * 2.0).cast(DType::I32).cast(DType::Bool);
            let masks = [(None, false), (None, true), (Some(&x[3]), false), (Some(&seen), true)];
            let all = |(mask, causal): (Option<&Tensor>, bool)| {
                let q = Tensor::tracked_identity(&x[0]);
                let k = Tensor::tracked_identity(&x[1]);
                let y = attention(&q, &k, &x[2], mask, causal, None).unwrap();
                let loss = map("square", &[&y]).sum(None, false).unwrap();
                let slopes = gradient(&loss, None, &[Target::Node(q), Target::Node(k)], false).unwrap();
                [vec![y], slopes.into_iter().map(Option::unwrap).collect()].concat()
            };
            masks.into_iter().flat_map(all).collect()
        },
        &xs,
        1e-5,
    );
}

#[test]
fn pools_agree() {
    let xs = [random(&[2, 3, 7, 6], 1), random(&[2, 9], 2), random(&[3, 4, 5, 3], 3)];
    agree(
        "pools",
        |x| {
            let all = |x: &Tensor, kernel: &[usize], stride: &[usize], margins: &[(usize, usize)]| {
                let window = Window { kernel, stride, margins };
                let x = Tensor::tracked_identity(x);
                let whole = (&x * 3.0).cast(DType::I32);
                let (most, mean) = (maxpool(&x, window).unwrap(), meanpool(&x, window).unwrap());
                let loss =
                    (map("square", &[&most]).sum(None, false).unwrap()) + map("square", &[&mean]).sum(None, false).unwrap();
                let g = gradient(&loss, None, &[Target::Node(x.clone())], false).unwrap().remove(0).unwrap();
                vec![most, mean, g, maxpool(&whole, window).unwrap(), peak_places(&x, window).unwrap()]
            };
            let turned = x[0].transpose(Some(&[0, 1, 3, 2])).unwrap();
            [
                all(&x[0], &[2, 2], &[2, 2], &[(0, 0), (0, 0)]),
                all(&turned, &[3, 2], &[1, 2], &[(1, 2), (0, 1)]),
                all(&x[1], &[4], &[3], &[(3, 0)]),
                all(&x[2], &[2, 3, 1], &[2, 1, 2], &[(1, 1), (2, 0), (0, 0)]),
            ]
            .concat()
        },
        &xs,
        1e-5,
    );
}

#[test]
fn random_bits_are_those_of_the_cpu() {
    use fluxrs::ops::random::{rand_on, randint_on, randn_on, seed, set_state, state};
    let draw = |device| {
        seed(7);
        let mut all = vec![rand_on(device, &[1001], DType::F32).unwrap(), randn_on(device, &[333, 3], DType::F32).unwrap()];
        all.push(randint_on(device, -5, 100, &[77], DType::I64).unwrap());
        all.push(randint_on(device, i64::from(i32::MIN), 1 << 31, &[77], DType::I32).unwrap());
        let mut far = state();
        far.counter = u64::from(u32::MAX) - 3;
        set_state(far);
        all.push(rand_on(device, &[100], DType::F32).unwrap());
        all
    };
    evaluate(&draw(recorder())).unwrap();
    let Some(session) = registered() else { return };
    let (got, want) = (draw(session.device), draw(fluxrs::device::Device::CPU));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let error = super::parity::ulps(&values(got), &values(want));
        println!("random {i}: {error:.1} ulp");
        assert!(error <= if i == 1 { 16.0 } else { 0.0 }, "{i}: {error} ulp");
    }
}

#[test]
fn long_rows_are_sorted() {
    let xs = [random(&[2, 5000], 1)];
    agree(
        "long rows",
        |x| {
            let whole = (&x[0] * 40.0).cast(DType::I32);
            let sorts = [&x[0], &whole, &whole.cast(DType::I64), &x[0].to_bool()];
            sorts.iter().map(|x| x.argsort(Some(1)).unwrap()).chain([x[0].sort(None).unwrap()]).collect()
        },
        &xs,
        0.0,
    );
}

#[test]
fn systems_of_equations_agree() {
    let eye = |n: usize| fluxrs::ops::create::eye(n, n, 0, DType::F32).unwrap() * 5.0;
    let xs = [random(&[6, 6], 1) + eye(6), random(&[6, 3], 2), random(&[3, 20, 20], 3) + eye(20), random(&[20], 4)];
    agree(
        "solve, inv and det",
        |x| {
            vec![
                solve(&x[0], &x[1]).unwrap(),
                solve(&x[2], &x[3]).unwrap(),
                inverse(&x[2]).unwrap(),
                inverse(&x[0].transpose(None).unwrap()).unwrap(),
                det(&x[0]).unwrap(),
                det(&(&x[2] / 5.0)).unwrap(),
            ]
        },
        &xs,
        1e-4,
    );
    agree(
        "their gradients",
        |x| {
            let xs: Vec<Tensor> = x.iter().map(Tensor::tracked_identity).collect();
            let y = map("square", &[&solve(&xs[0], &xs[1]).unwrap()]).sum(None, false).unwrap() + det(&(&xs[0] / 5.0)).unwrap();
            let targets: Vec<Target> = xs[..2].iter().cloned().map(Target::Node).collect();
            gradient(&y, None, &targets, false).unwrap().into_iter().flatten().collect()
        },
        &xs,
        1e-4,
    );
}

#[test]
fn a_singular_matrix_is_an_error() {
    let Some(session) = registered() else { return };
    let ones = to_device(&tensor(&[1f32; 9], &[3, 3]), session.device).unwrap();
    let result = evaluate(&[inverse(&ones).unwrap()]);
    let Err(Error::Value(message)) = result else { panic!("{result:?}") };
    assert_eq!(message, "inv: the matrix is singular: its column 1 is a combination of those before it");
    assert_eq!(values(&det(&ones).unwrap()), [0.0]);
}

#[test]
fn numbers_at_equal_distances_agree() {
    agree(
        "steps",
        |x| {
            let there = |made: Tensor| made_on(&made, x[0].device()).unwrap();
            let steps = |start: Number, stop: Number, step: Number, dtype| there(arange(start, stop, step, dtype).unwrap());
            let int = |i: i64| Number::Int(i);
            vec![
                steps(int(3), int(1000), int(7), DType::I64),
                steps(int(3), int(-1000), int(-7), DType::I32),
                steps(Number::Float(0.5), Number::Float(9.0), Number::Float(0.25), DType::F32),
                there(linspace(-1.0, 2.0, 100, true, DType::F32).unwrap()),
                there(linspace(-1.0, 2.0, 100, false, DType::F32).unwrap()) + 1.0,
            ]
        },
        &[random(&[1], 1)],
        1e-6,
    );
}

/// Each program on the device: the results of int64 that fit are the CPU's, others are an error.
#[test]
fn int64_is_right_or_raises() {
    type Program = fn(&Tensor) -> Tensor;
    let programs: [Program; 8] = [
        |x| x + x,
        |x| x * x,
        |x| -x - 1i64,
        |x| x.sum(None, false).unwrap(),
        |x| x.reduce(Reduction::Prod, None, false).unwrap(),
        |x| x.cumsum(Some(0)).unwrap(),
        |x| x.cumprod(Some(0)).unwrap(),
        |x| (x.cast(DType::F32) * 4.0).cast(DType::I64),
    ];
    let small = tensor(&[3i64, -40, 500], &[3]);
    let large = tensor(&[i64::from(i32::MIN), i64::from(i32::MIN), -1], &[3]);
    for (i, program) in programs.iter().enumerate() {
        evaluate(&[program(&to_device(&small, recorder()).unwrap())]).unwrap();
        let Some(session) = registered() else { continue };
        let there = |x: &Tensor| program(&to_device(x, session.device).unwrap());
        assert_eq!(values(&there(&small)), values(&program(&small)), "{i}");
        let result = evaluate(&[there(&large)]);
        assert!(matches!(&result, Err(Error::Device(why)) if why.contains("int64")) || i == 2, "{i}: {result:?}");
    }
}

#[test]
fn no_op_is_known_by_its_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = ["codegen", ""].map(|part| std::fs::read_dir(folder.join(part)).unwrap());
    for file in files.into_iter().flatten().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let compares = ["match ", "if ", "==", "contains("].iter().any(|word| line.contains(word));
            assert!(!(line.contains("name()") && compares), "{}: {line}", file.display());
        }
    }
}
