//! Every structured kernel polls before each piece of its work, ends when it is told to, and says how long it takes.

use fluxrs::error::{Error, Result};
use fluxrs::evaluate;
use fluxrs::ops::along::take_along_axis;
use fluxrs::ops::attention::attention;
use fluxrs::ops::index::take;
use fluxrs::ops::poll::PIECE;
use fluxrs::ops::pool::{self, Window};
use fluxrs::ops::{Op, Operand, OperandMut, Poll, create, linalg, random};
use fluxrs::tape::{Target, gradient};
use fluxrs::{DType, Number, Tensor, shape};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A node, what its kernel reads, and the elements that it goes through at least.
struct Case {
    kernel: &'static str,
    node: Tensor,
    operands: Vec<Tensor>,
    work: usize,
}

/// Elements in one go at most: a run of a sort.
const MOST: usize = 4 * PIECE;
const N: usize = 1 << 19;

fn data(shape: &[isize]) -> Tensor {
    let n = shape.iter().product::<isize>() as usize;
    let mixed = (0..n).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32).collect::<Vec<_>>();
    Tensor::from_slice(&mixed, &[n]).unwrap().reshape(shape).unwrap()
}

fn index(n: usize, below: usize) -> Tensor {
    Tensor::from_slice(&(0..n).map(|i| (i * 7 % below) as i64).collect::<Vec<_>>(), &[n]).unwrap()
}

/// The node of a gradient: the adjoint of an op that is linear in `x`.
fn adjoint(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
    let x = Tensor::tracked_identity(x);
    let y = f(&x).unwrap();
    let weights = Tensor::full(y.shape(), 1.0, y.dtype()).unwrap();
    let total = fluxrs::Elementwise::multiply.apply(&[&y, &weights]).unwrap().sum(None, false).unwrap();
    gradient(&total, None, &[Target::Node(x)], true).unwrap().remove(0).unwrap()
}

fn cases() -> Vec<Case> {
    let case = |kernel, node: Result<Tensor>, operands: &[&Tensor], work| {
        let operands = operands.iter().map(|&x| x.clone()).collect();
        Case { kernel, node: node.unwrap().base(), operands, work }
    };
    let number = |n: i64| Tensor::number(n);
    let (flat, wide, tall) = (data(&[N as isize]), data(&[4, N as isize / 4]), data(&[N as isize / 4, 4]));
    let (few, many) = (index(4, 4), index(N, N / 4));
    let rows = index(4 * 1000, 1000).reshape(&[4, 1000]).unwrap();
    let matrix = data(&[300, 300]);
    let stack = data(&[2000, 8, 8]);
    let right = data(&[2, N as isize / 2]);
    let small = Tensor::from_slice(&[2f32, 1.0, 1.0, 3.0], &[2, 2]).unwrap();
    let images = data(&[8, 256, 256]);
    let squares = Window { kernel: &[3, 3], stride: &[2, 2], margins: &[(1, 1), (1, 1)] };
    let whole = Window { kernel: &[256, 256], stride: &[1, 1], margins: &[(0, 0), (0, 0)] };
    let heads = data(&[2, 512, 16]);
    let images_flat = images.reshape(&[8, 256 * 256]).unwrap();
    let (seed, at) = (number(1), number(2));
    let float = Number::Float;
    vec![
        case("Iota", create::arange(float(0.0), float(N as f64), float(1.0), DType::F32), &[&number(0), &number(1)], N),
        case("Gather", take(&wide, &few, 0), &[&wide, &few], N),
        case("Gather", take(&tall, &many, 0), &[&tall, &many], 4 * N),
        case("ScatterAdd", Ok(adjoint(&wide, |x| take(x, &few, 0))), &[&wide, &few], 2 * N),
        case("ScatterAdd", Ok(adjoint(&tall, |x| take(x, &many, 0))), &[&data(&[N as isize, 4]), &many], 5 * N),
        case("Argsort", flat.argsort(None), &[&flat], 4 * N),
        case("Argsort", tall.argsort(Some(1)), &[&tall], 2 * N),
        case("Argsort", flat.cast(DType::F64).argsort(None), &[&flat.cast(DType::F64)], 4 * N),
        case("Argextreme", flat.argmax(None, false), &[&flat], N),
        case("Argextreme", tall.argmin(Some(1), false), &[&tall], N),
        case("TakeAlong", take_along_axis(&flat, &many, Some(0)), &[&flat, &many], N),
        case("TakeAlong", take_along_axis(&wide, &rows, Some(1)), &[&wide, &rows], 4000),
        case("AddAlong", Ok(adjoint(&flat, |x| take_along_axis(x, &many, Some(0)))), &[&flat, &many], 2 * N),
        case("Peaks", pool::peak_places(&images, squares), &[&images_flat], 9 * N / 5),
        case("Peaks", pool::peak_places(&images, whole), &[&images_flat], N),
        case("Mean", pool::meanpool(&images, squares), &[&images_flat], 9 * N / 5),
        case("Mean", pool::meanpool(&images, whole), &[&images_flat], N),
        case("Spread", Ok(adjoint(&images, |x| pool::meanpool(x, squares))), &[&data(&[8, 128 * 128])], 9 * N / 5),
        case("Spread", Ok(adjoint(&images, |x| pool::meanpool(x, whole))), &[&data(&[8, 1])], 2 * N),
        case("Attention", attention(&heads, &heads, &heads, None, false, None), &[&heads, &heads, &heads], N),
        case("Cumulative", flat.cumsum(None), &[&flat], N),
        case("Cumulative", wide.cumsum(Some(0)), &[&wide], N),
        case("Cumulative", tall.cumprod(Some(0)), &[&tall], N),
        case("Cumulative", tall.cumprod(Some(1)), &[&tall], N),
        case("Inverse", linalg::inverse(&matrix), &[&matrix], 300 * 300 * 100),
        case("Inverse", linalg::inverse(&stack), &[&stack], 2000 * 64 * 4),
        case("Solve", linalg::solve(&small, &right), &[&small, &right], 3 * N),
        case("Adjugate", linalg::adjugate(&matrix), &[&matrix], 300 * 300 * 300),
        case("Determinant", linalg::det(&matrix), &[&matrix], 300 * 300 * 100),
        case("Random", random::rand(&[N], DType::F32), &[&seed, &at], N),
        case("Random", random::rand(&[N], DType::F64), &[&seed, &at], N),
        case("Random", random::randn(&[N], DType::F32), &[&seed, &at], N),
        case("Random", random::randn(&[N], DType::F64), &[&seed, &at], N),
        case("Random", random::randint(0, 9, &[N], DType::I64), &[&seed, &at, &number(0), &number(9)], N),
        case("Random", random::randint(0, 1 << 40, &[N], DType::I64), &[&seed, &at, &number(0), &number(1 << 40)], N),
    ]
}

/// Runs the kernel alone; `stop` is asked before each piece.
fn run(case: &Case, stop: &(dyn Fn(usize) -> bool + Sync)) -> Result<()> {
    let Op::Structured(op) = case.node.op() else { panic!("{}: {:?} is no structured op", case.kernel, case.node) };
    let memory: Vec<_> = case.operands.iter().map(|x| (!x.is_number()).then(|| evaluate::read(x).unwrap())).collect();
    let numbers: Vec<[u8; 8]> =
        case.operands.iter().map(|x| if let Op::Number(n) = x.op() { n.to_bytes(x.dtype()) } else { [0; 8] }).collect();
    let strides: Vec<_> = case.operands.iter().map(|x| shape::contiguous(x.shape())).collect();
    let operands: Vec<Operand<'_>> = case
        .operands
        .iter()
        .zip(memory.iter().zip(&numbers).zip(&strides))
        .map(|(x, ((memory, number), strides))| {
            let ptr = match memory {
                Some((buffer, _)) => buffer.as_host().unwrap().as_ptr().cast_const(),
                None => number.as_ptr(),
            };
            Operand { ptr, shape: x.shape(), strides, dtype: x.dtype() }
        })
        .collect();
    let mut out = vec![0u64; case.node.size() + 1];
    let (shape, dtype) = (case.node.shape(), case.node.dtype());
    op.cpu(&operands, OperandMut { ptr: out.as_mut_ptr().cast(), shape, dtype, poll: Poll(stop) })
}

#[test]
fn every_kernel_has_a_case() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops")).unwrap();
    let text: String = sources.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let kernels: Vec<&str> = text.split("impl Structured for ").skip(1).map(|s| s.split_whitespace().next().unwrap()).collect();
    let cases = cases();
    for kernel in kernels {
        assert!(cases.iter().any(|c| c.kernel == kernel), "{kernel}: no case");
    }
}

#[test]
fn kernels_poll_before_each_piece_and_end_when_told_to() {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    for (k, case) in cases().iter().enumerate() {
        let what = format!("{}, case {k}", case.kernel);
        let (polls, elements, largest) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let count = |n: usize| {
            polls.fetch_add(1, Relaxed);
            elements.fetch_add(n, Relaxed);
            largest.fetch_max(n, Relaxed);
            false
        };
        assert_eq!(run(case, &count), Ok(()), "{what}");
        let (polls, elements) = (polls.into_inner(), elements.into_inner());
        assert!(elements >= case.work, "{what}: {elements} elements announced of {}", case.work);
        assert!(largest.into_inner() <= MOST, "{what}: a piece is too long");
        let Op::Structured(op) = case.node.op() else { unreachable!() };
        let shapes: Vec<&[usize]> = case.operands.iter().map(Tensor::shape).collect();
        let cost = op.cost(&shapes, case.node.shape());
        assert!(cost >= elements / 8, "{what}: {elements} elements are said to take {cost} ns");
        for part in [0, 1, 3, 7, 10, 13, 15] {
            let (last, asked) = (polls * part / 16, AtomicUsize::new(0));
            assert_eq!(run(case, &|_| asked.fetch_add(1, Relaxed) >= last), Err(Error::Interrupted), "{what}");
            let late = asked.into_inner() - last;
            assert!(late <= 2 * threads.max(2), "{what}: {late} polls after the flag was raised");
        }
    }
}
