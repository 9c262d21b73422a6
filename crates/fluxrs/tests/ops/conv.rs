//! Convolutions against sums written out, in all their forms.

use crate::check::{check_gradients, close, float64, numbers, values};
use fluxrs::Tensor;
use fluxrs::ops::conv::{Step, conv, conv_transpose};

/// Sizes of one convolution: samples, channels in and out, groups; for each spatial axis size, kernel, stride, dilation and margins.
type Axis = (usize, usize, usize, usize, (i64, i64));
type Case = (usize, usize, usize, usize, &'static [Axis]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    (1, 1, 1, 1, &[(5, 3, 1, 1, (0, 0))]),
    (2, 3, 4, 1, &[(7, 3, 1, 1, (1, 1))]),
    (2, 3, 4, 1, &[(7, 3, 2, 1, (1, 0))]),
    (2, 3, 4, 1, &[(9, 3, 3, 2, (2, 1))]),
    (2, 4, 6, 2, &[(8, 2, 2, 1, (0, 0))]),
    (2, 4, 2, 2, &[(11, 3, 2, 4, (3, 4))]),
    (2, 2, 3, 1, &[(6, 2, 5, 1, (2, 0))]),
    (1, 2, 3, 1, &[(3, 1, 4, 1, (2, 2))]),
    (2, 2, 3, 1, &[(9, 3, 4, 1, (-1, -2))]),
    (2, 3, 2, 1, &[(5, 3, 1, 1, (1, 1)), (6, 3, 1, 1, (1, 1))]),
    (2, 2, 3, 1, &[(5, 2, 2, 1, (0, 1)), (6, 3, 1, 2, (2, 0))]),
    (1, 4, 4, 4, &[(5, 3, 1, 1, (1, 1)), (4, 3, 1, 1, (1, 1))]),
    (2, 2, 4, 2, &[(4, 1, 1, 1, (0, 0)), (5, 1, 1, 1, (0, 0))]),
    (2, 3, 2, 1, &[(6, 1, 2, 1, (0, 0)), (6, 1, 2, 1, (0, 0))]),
    (1, 2, 2, 1, &[(6, 2, 2, 1, (0, 0)), (7, 2, 3, 1, (1, 1))]),
    (2, 2, 2, 1, &[(5, 5, 1, 1, (0, 0)), (5, 5, 1, 1, (0, 0))]),
    (0, 2, 3, 1, &[(5, 3, 1, 1, (1, 1)), (5, 3, 2, 1, (1, 1))]),
    (2, 0, 3, 1, &[(4, 3, 1, 1, (1, 1)), (4, 2, 2, 1, (0, 0))]),
    (2, 2, 0, 1, &[(4, 3, 1, 1, (1, 1)), (4, 2, 2, 1, (0, 0))]),
    (1, 2, 3, 1, &[(3, 2, 1, 1, (0, 1)), (4, 3, 2, 1, (1, 1)), (3, 2, 1, 2, (1, 1))]),
    (2, 2, 2, 2, &[(3, 3, 2, 1, (1, 1)), (3, 2, 1, 1, (0, 0)), (5, 2, 2, 1, (0, 1))]),
];

fn steps(axes: &[Axis]) -> Vec<Step> {
    axes.iter().map(|&(_, _, stride, dilation, pad)| Step { stride, dilation, pad }).collect()
}

fn places(axes: &[Axis]) -> Vec<usize> {
    let along = |&(n, r, s, d, (lo, hi)): &Axis| ((n as i64 + lo + hi - ((r - 1) * d + 1) as i64) / s as i64 + 1) as usize;
    axes.iter().map(along).collect()
}

fn digits(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for (k, &n) in shape.iter().enumerate().rev() {
        out[k] = i % n;
        i /= n;
    }
    out
}

fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (&i, &n)| at * n + i)
}

/// Calls with (out, x, w): positions in the flat arrays of each product that the convolution adds up.
fn each(&(n, c, k, groups, axes): &Case, mut f: impl FnMut(usize, usize, usize)) {
    let (sizes, kernel, out): (Vec<_>, Vec<_>, _) =
        (axes.iter().map(|a| a.0).collect(), axes.iter().map(|a| a.1).collect(), places(axes));
    let outer = [&[n, k], &out[..]].concat();
    let inner = [&[c / groups], &kernel[..]].concat();
    for o in 0..outer.iter().product() {
        let at = digits(o, &outer);
        for t in 0..inner.iter().product() {
            let tap = digits(t, &inner);
            let place: Vec<i64> =
                axes.iter().enumerate().map(|(i, a)| (at[2 + i] * a.2 + tap[1 + i] * a.3) as i64 - a.4.0).collect();
            if place.iter().zip(&sizes).any(|(&p, &n)| p < 0 || p >= n as i64) {
                continue;
            }
            let place: Vec<usize> = place.iter().map(|&p| p as usize).collect();
            let channel = at[1] / (k / groups) * (c / groups) + tap[0];
            let x = flat(&[&[at[0], channel], &place[..]].concat(), &[&[n, c], &sizes[..]].concat());
            let w = flat(&[&[at[1]], &tap[..]].concat(), &[&[k], &inner[..]].concat());
            f(o, x, w);
        }
    }
}

fn shapes(&(n, c, k, groups, axes): &Case) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let sizes: Vec<usize> = axes.iter().map(|a| a.0).collect();
    let kernel: Vec<usize> = axes.iter().map(|a| a.1).collect();
    ([&[n, c], &sizes[..]].concat(), [&[k, c / groups], &kernel[..]].concat(), [&[n, k], &places(axes)[..]].concat())
}

fn drawn(shape: &[usize], salt: u64) -> Vec<f64> {
    numbers(shape.iter().product(), (-1.0, 1.0), salt)
}

#[test]
fn values_and_gradients_of_two_orders() {
    for case in CASES {
        let what = format!("{case:?}");
        let (xs, ws, os) = shapes(case);
        let (x, w) = (drawn(&xs, 1), drawn(&ws, 2));
        let mut want = vec![0.0; os.iter().product()];
        each(case, |o, i, j| want[o] += x[i] * w[j]);
        let call = |t: &[Tensor]| conv(&t[0], &t[1], &steps(case.4), case.3).unwrap();
        let got = call(&[float64(&x, &xs), float64(&w, &ws)]);
        assert_eq!(got.shape(), os, "{what}");
        close(&what, &values(&got), &want, 1e-12);
        check_gradients(&what, &[(&x, &xs), (&w, &ws)], &call);
        check_gradients(&format!("{what}, of one"), &[(&x, &xs), (&w, &ws)], &|t| {
            let y = call(t);
            &y * &y
        });
    }
}

/// The gradient by the input, as an op: from the results' places to the input's.
#[test]
fn transposed() {
    for case in CASES.iter().filter(|c| c.1 > 0 && c.2 > 0) {
        let what = format!("{case:?}");
        let (xs, ws, os) = shapes(case);
        let (y, w) = (drawn(&os, 3), drawn(&ws, 2));
        let mut want = vec![0.0; xs.iter().product()];
        each(case, |o, i, j| want[i] += y[o] * w[j]);
        // The margin behind is without what the stride leaves over there.
        let margin = |(step, (&(n, r, s, d, (lo, _)), o)): (Step, (&Axis, usize))| Step {
            pad: (lo, ((o - 1) * s + (r - 1) * d + 1) as i64 - n as i64 - lo),
            ..step
        };
        let exact: Vec<Step> = steps(case.4).into_iter().zip(case.4.iter().zip(places(case.4))).map(margin).collect();
        let call = |t: &[Tensor]| conv_transpose(&t[0], &t[1], &exact, case.3).unwrap();
        let got = call(&[float64(&y, &os), float64(&w, &ws)]);
        assert_eq!(got.shape(), xs, "{what}");
        close(&what, &values(&got), &want, 1e-12);
        check_gradients(&what, &[(&y, &os), (&w, &ws)], &call);
    }
}
