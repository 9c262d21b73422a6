//! Calls of ops that have a file of their own: convolutions, order, running sums, random numbers, systems of equations, elements by index.

use crate::acts::{MOST, fresh, shape};
use crate::calls::call;
use crate::random::Random;
use crate::world::{Origin, World, data, elements};
use fluxrs::ops::along::take_along_axis;
use fluxrs::ops::attention::attention;
use fluxrs::ops::conv::{Step, conv, conv_transpose};
use fluxrs::ops::index::{take, take_at};
use fluxrs::ops::linalg::{det, inverse, rdivide, solve};
use fluxrs::ops::pool::{Window, maxpool, meanpool};
use fluxrs::ops::random::{Replay, Stream, bernoulli, permutation, rand, randint, randn};
use fluxrs::{DType, Elementwise, Result, Tensor};

/// A variable with axes, and one of them (or none: all elements in a row).
fn with_axis(w: &World, r: &mut Random, wanted: impl Fn(&Tensor) -> bool) -> Option<(usize, Option<isize>)> {
    let i = w.find(r, |v| v.tensor().ndim() > 0 && wanted(v.tensor()))?;
    let axis = r.range(-(w.vars[i].tensor().ndim() as isize), w.vars[i].tensor().ndim() as isize);
    Some((i, (!r.once_in(4)).then_some(axis)))
}

pub fn order(w: &mut World, r: &mut Random) {
    let Some((i, axis)) = with_axis(w, r, |_| true) else { return };
    let (which, keep, plain) = (r.below(6), r.coin(), r.coin());
    call(w, r, &[i], |x| match which {
        0 | 1 => x[0].sort(axis),
        2 => x[0].argsort(axis),
        3 => x[0].argmax(axis, keep),
        4 => x[0].argmin(axis, keep),
        // The ranks, or the elements sorted by them once more: an index that is computed.
        _ if plain => x[0].argsort(axis)?.argsort(axis),
        _ => take_along_axis(&x[0], &x[0].argsort(axis)?, axis),
    });
}

pub fn running(w: &mut World, r: &mut Random) {
    let Some((i, axis)) = with_axis(w, r, |_| true) else { return };
    let sum = r.coin();
    call(w, r, &[i], |x| if sum { x[0].cumsum(axis) } else { x[0].cumprod(axis) });
}

/// A variable that attends to another one with as many features, or to itself.
pub fn attend(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().ndim() >= 2 && v.tensor().size() <= 2000) else { return };
    let features = *w.vars[i].tensor().shape().last().expect("two axes");
    let fits = |t: &Tensor| t.ndim() >= 2 && t.size() <= 2000 && t.shape()[t.ndim() - 1] == features;
    let j = w.find(r, |v| fits(v.tensor())).unwrap_or(i);
    let (causal, masked) = (r.coin(), r.below(3));
    call(w, r, &[i, j], |x| {
        let scores = x[0].shape()[x[0].ndim() - 2] * x[1].shape()[x[1].ndim() - 2];
        let rows = x[0].shape()[x[0].ndim() - 2];
        let numbers: Vec<f64> = (0..scores).map(|k| (k % 5) as f64 - 2.0).collect();
        let mask = data(&numbers, &[rows, scores / rows.max(1)], DType::F32);
        match masked {
            0 => attention(&x[0], &x[1], &x[1], None, causal, None),
            1 => attention(&x[0], &x[1], &x[1], Some(&mask), causal, Some(0.5)),
            _ => attention(&x[0], &x[1], &x[1], Some(&mask.cast(DType::Bool)), causal, None),
        }
    });
}

/// Windows over the last axes of a variable; once in a while ones that do not fit.
pub fn pools(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().ndim() > 0 && v.tensor().ndim() <= 5) else { return };
    let ndim = w.vars[i].tensor().ndim();
    let axes = r.range(ndim.saturating_sub(2).max(1) as isize, ndim.min(3) as isize + 1) as usize;
    let wild = r.once_in(15);
    let kernel: Vec<usize> = (0..axes).map(|_| 1 + r.below(if wild { 40 } else { 4 })).collect();
    let stride: Vec<usize> = (0..axes).map(|_| 1 + r.below(3)).collect();
    let margins: Vec<(usize, usize)> = kernel.iter().map(|&k| (r.below(k), r.below(k))).collect();
    let largest = r.coin();
    call(w, r, &[i], |x| {
        let window = Window { kernel: &kernel, stride: &stride, margins: &margins };
        if largest { maxpool(&x[0], window) } else { meanpool(&x[0], window) }
    });
}

/// A variable seen as an input, or as the kernel of a fresh one; the other operand fits or nearly so.
pub fn convolution(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| (2..=5).contains(&v.tensor().ndim()) && v.tensor().size() <= 6000) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let (as_kernel, sample, transposed) =
        (s.len() > 2 && r.once_in(3), s.len() == 2 || s.len() < 5 && r.once_in(3), r.once_in(3));
    let groups = *r.pick(&[1, 1, 1, 2, 3]);
    let first = if as_kernel || !sample { 2 } else { 1 };
    let steps: Vec<Step> = (first..s.len())
        .map(|_| Step {
            stride: *r.pick(&[1, 1, 1, 2, 3]),
            dilation: *r.pick(&[1, 1, 2, 3]),
            pad: (r.range(-1, 4) as i64, r.range(-1, 4) as i64),
        })
        .collect();
    let lengths: Vec<usize> = steps.iter().map(|_| r.below(if as_kernel { 9 } else { 4 }) + 1).collect();
    let shape = match (as_kernel, transposed) {
        (true, false) => [&[r.below(3), s[1] * groups], &lengths[..]].concat(),
        (true, true) => [&[r.below(3), s[0]], &lengths[..]].concat(),
        (false, false) => [&[(r.below(3) + 1) * groups, s[first - 1] / groups], &lengths[..]].concat(),
        (false, true) => [&[s[first - 1], r.below(3) + 1], &lengths[..]].concat(),
    };
    let dtype = w.vars[i].tensor().dtype();
    let j = fresh(w, r, &shape, if dtype == DType::Bool { DType::F32 } else { dtype });
    let of = if as_kernel { [j, i] } else { [i, j] };
    call(w, r, &of, |x| match transposed {
        true => conv_transpose(&x[0], &x[1], &steps, groups),
        false => conv(&x[0], &x[1], &steps, groups),
    });
}

/// Counters begin anywhere: beyond 32 bits, and where they overflow.
fn stream(r: &mut Random) -> Stream {
    let counter = *r.pick(&[0, 1, 1000, u32::MAX as u64 - 2, 1 << 40, i64::MAX as u64 - 1, u64::MAX - 2]);
    Stream { seed: r.word(), counter }
}

pub fn random(w: &mut World, r: &mut Random) {
    let s = shape(r);
    let _stream = Replay::enter(stream(r));
    let float = *r.pick(&[DType::F32, DType::F32, DType::F64]);
    let int = *r.pick(&[DType::I32, DType::I64]);
    let (low, count) = (r.range(-5, 6) as i64, *r.pick(&[1, 2, 7, 1000, 1 << 30]));
    let (p, n) = (r.unit().abs(), r.below(300));
    // Where a drop-out's shape comes from, and what it leaves out.
    let (which, x) = (r.below(8), w.find(r, |v| v.tensor().dtype().is_float()));
    if let (0, Some(i)) = (which, x) {
        call(w, r, &[i], |x| {
            let kept = bernoulli(&Tensor::number(p), x[0].shape())?;
            Elementwise::multiply.apply(&[&x[0], &kept])
        });
        return;
    }
    call(w, r, &[], |_| match which {
        0 | 1 => rand(&s, float),
        2 | 3 => randn(&s, float),
        4 => randint(low, low + count, &s, int),
        5 => randint(i64::MIN, i64::MAX, &s, DType::I64),
        6 => bernoulli(&rand(&s, float)?, &s),
        _ => permutation(n),
    });
}

/// Square matrices that have an inverse, made of a variable where one fits; once in a while one that has none.
fn matrices(w: &mut World, r: &mut Random) -> Option<usize> {
    let square = |t: &Tensor| t.ndim() >= 2 && t.shape()[t.ndim() - 1] == t.shape()[t.ndim() - 2];
    let small = |t: &Tensor| t.size() <= 6000 && t.dtype().is_float();
    let found = w.find(r, |v| square(v.tensor()) && small(v.tensor()));
    let n = *r.pick(&[1, 2, 3, 3, 5, 17, 40]);
    let i = match found {
        Some(i) if r.coin() => i,
        _ => {
            let lead = *r.pick(&[&[] as &[usize], &[], &[2], &[3, 2]]);
            let float = *r.pick(&[DType::F32, DType::F64]);
            fresh(w, r, &[lead, &[n, n]].concat(), float)
        }
    };
    let n = w.vars[i].tensor().shape()[w.vars[i].tensor().ndim() - 1];
    let singular = r.once_in(15);
    call(w, r, &[i], |x| {
        if singular {
            return Ok(&x[0] * 0.0);
        }
        // A dominant diagonal.
        let diagonal: Vec<f64> = (0..n * n).map(|k| if k % (n + 1) == 0 { n as f64 + 2.0 } else { 0.0 }).collect();
        Elementwise::add.apply(&[&Elementwise::tanh.apply(&[&x[0]])?, &data(&diagonal, &[n, n], x[0].dtype())])
    })
}

pub fn equations(w: &mut World, r: &mut Random) {
    let Some(a) = matrices(w, r) else { return };
    let s = w.vars[a].tensor().shape().to_vec();
    let n = s[s.len() - 1];
    let fits = |t: &Tensor| t.ndim() > 0 && t.size() <= 6000 && t.shape()[t.ndim().saturating_sub(2)] == n;
    let b = match w.find(r, |v| fits(v.tensor())) {
        Some(b) => b,
        None => {
            let k = r.below(4);
            let shape = if r.coin() { vec![n] } else { vec![n, k] };
            fresh(w, r, &shape, DType::F32)
        }
    };
    match r.below(5) {
        0 => call(w, r, &[a], |x| inverse(&x[0])),
        1 => call(w, r, &[a], |x| det(&x[0])),
        2 => call(w, r, &[b, a], |x| rdivide(&x[0].swapaxes(0, -1)?, &x[1])),
        _ => call(w, r, &[a, b], |x| solve(&x[0], &x[1])),
    };
}

/// A computed index into an axis of this length, in range but for once in a while.
fn computed_index(r: &mut Random, x: &Tensor, n: usize, wild: bool) -> Result<Tensor> {
    let x = x.cast(DType::I64);
    let n = n as i64;
    if wild {
        return Ok(x);
    }
    let within = Elementwise::remainder.apply(&[&x, &Tensor::number(n)])?;
    // Some of them counted from the end.
    if r.coin() { Elementwise::subtract.apply(&[&within, &Tensor::number(n)]) } else { Ok(within) }
}

pub fn computed(w: &mut World, r: &mut Random) {
    let Some((i, axis)) = with_axis(w, r, |t| t.size() > 0 && t.size() < 5000) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let axis = axis.unwrap_or(0).rem_euclid(s.len() as isize) as usize;
    let Some(j) = w.find(r, |v| v.tensor().dtype() != DType::Bool && v.tensor().size() <= 60) else { return };
    let Some(k) = w.find(r, |v| v.tensor().dtype().is_int() && v.tensor().size() <= 60) else { return };
    let (which, wild) = (r.below(4), r.once_in(10));
    let count = r.below(6);
    let values = elements(r, s.iter().product::<usize>() / s[axis] * count, DType::I64, false);
    let mut inner = Random::new(r.word());
    let fits = s.iter().product::<usize>() * w.vars[j].tensor().size() <= MOST;
    if which == 0 {
        // One index for each element of the result.
        let mut along = s.clone();
        along[axis] = count;
        let at = w.add(data(&values, &along, DType::I64), Origin::default());
        call(w, r, &[i, at], |x| {
            let at = computed_index(&mut inner, &x[1], s[axis], wild)?;
            take_along_axis(&x[0], &at, Some(axis as isize))
        });
    } else if which == 1 && s.len() > 1 && fits {
        call(w, r, &[i, j, k], |x| {
            let first = computed_index(&mut inner, &x[1], s[0], wild)?;
            let second = computed_index(&mut inner, &x[2], s[1], wild)?;
            take_at(&x[0], &[first, second])
        });
    } else if fits {
        call(w, r, &[i, j], |x| take(&x[0], &computed_index(&mut inner, &x[1], s[axis], wild)?, axis as isize));
    }
}
