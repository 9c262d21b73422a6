use crate::check::{check_gradients, close, exp, float32, float64, int64, numbers, square, values};
use fluxrs::ops::along::take_along_axis;
use fluxrs::{DType, Tensor};

#[test]
fn argsort_is_stable_and_nan_is_last() {
    let x = float32(&[2.0, f32::NAN, -0.0, 0.0, -1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY, f32::NAN], &[9]);
    assert_eq!(values(&x.argsort(Some(-1)).unwrap()), [7.0, 4.0, 2.0, 3.0, 0.0, 6.0, 5.0, 1.0, 8.0]);
    let sorted = values(&x.sort(Some(0)).unwrap());
    close("sort", &sorted[..7], &[f64::NEG_INFINITY, -1.0, 0.0, 0.0, 2.0, 2.0, f64::INFINITY], 0.0);
    assert!(sorted[7].is_nan() && sorted[8].is_nan());
    let whole = int64(&[3, i64::MIN, i64::MAX, -1, 3], &[5]);
    assert_eq!(values(&whole.argsort(None).unwrap()), [1.0, 3.0, 0.0, 4.0, 2.0]);
    assert_eq!(values(&int64(&[1, 0, 1, 0], &[4]).to_bool().argsort(None).unwrap()), [1.0, 3.0, 0.0, 2.0]);
}

#[test]
fn one_kernel_gives_the_places_and_the_elements() {
    let kernels =
        |xs: &[Tensor]| fluxrs::evaluate::explain(xs, false).unwrap().lines().filter(|line| line.contains("argsort")).count();
    for n in [6usize, 40_000] {
        let x = float32(&numbers(2 * n, (-5.0, 5.0), 3).iter().map(|&x| x as f32).collect::<Vec<_>>(), &[2, n]);
        let elements = x.sort(Some(1)).unwrap();
        let plan = fluxrs::evaluate::explain(std::slice::from_ref(&elements), false).unwrap();
        assert!(plan.contains("argsort take_along_axis"), "{plan}");
        let places = x.argsort(Some(1)).unwrap();
        let both = [places.clone(), take_along_axis(&x, &places, Some(1)).unwrap()];
        assert_eq!(kernels(&both), 1);
        fluxrs::evaluate::evaluate(&both).unwrap();
        assert_eq!(values(&both[1]), values(&elements));
        // Of another tensor, the places are taken by a kernel of their own.
        let other = [take_along_axis(&(&x * 2.0), &x.argsort(Some(1)).unwrap(), Some(1)).unwrap()];
        assert_eq!(values(&other[0]), values(&(elements * 2.0)));
    }
}

#[test]
fn sort_along_every_axis() {
    let x = numbers(60, (-5.0, 5.0), 1);
    let shape = [3, 4, 5];
    for axis in 0..3usize {
        let got = values(&float64(&x, &shape).sort(Some(axis as isize)).unwrap());
        let inner: usize = shape[axis + 1..].iter().product();
        let mut want = x.clone();
        for start in (0..60).filter(|i| (i / inner).is_multiple_of(shape[axis])) {
            let mut line: Vec<f64> = (0..shape[axis]).map(|k| x[start + k * inner]).collect();
            line.sort_by(f64::total_cmp);
            line.iter().enumerate().for_each(|(k, &v)| want[start + k * inner] = v);
        }
        assert_eq!(got, want, "axis {axis}");
    }
    let many = numbers(100_000, (-5.0, 5.0), 2);
    let mut want = many.clone();
    want.sort_by(f64::total_cmp);
    assert_eq!(values(&float64(&many, &[100_000]).sort(None).unwrap()), want);
    assert_eq!(float64(&[], &[0, 2]).sort(Some(0)).unwrap().shape(), [0, 2]);
}

#[test]
fn extremes() {
    let x = float64(&[1.0, 5.0, 5.0, -2.0, 0.0, -2.0], &[2, 3]);
    assert_eq!(values(&x.argmax(None, false).unwrap()), [1.0]);
    assert_eq!(values(&x.argmin(None, false).unwrap()), [3.0]);
    assert_eq!(values(&x.argmax(Some(1), false).unwrap()), [1.0, 1.0]);
    assert_eq!(values(&x.argmax(Some(0), false).unwrap()), [0.0, 0.0, 0.0]);
    assert_eq!(x.argmin(Some(0), true).unwrap().shape(), [1, 3]);
    assert_eq!(x.argmin(None, true).unwrap().shape(), [1, 1]);
    let nan = float64(&[1.0, f64::NAN, 7.0, f64::NAN], &[4]);
    assert_eq!(values(&nan.argmax(None, false).unwrap()), [1.0]);
    assert_eq!(values(&nan.argmin(None, false).unwrap()), [1.0]);
    assert_eq!(values(&Tensor::number(3.0).argmax(None, false).unwrap()), [0.0]);
    assert!(float64(&[], &[0, 2]).argmax(Some(0), false).unwrap_err().to_string().contains("length 0"));
    assert_eq!(float64(&[], &[0, 2]).argmax(Some(1), false).unwrap().shape(), [0]);
    let many = numbers(90_000, (-5.0, 5.0), 3);
    let best = (0..90_000).max_by(|&a, &b| many[a].total_cmp(&many[b])).unwrap();
    assert_eq!(values(&float64(&many, &[90_000]).argmax(None, false).unwrap()), [best as f64]);
}

#[test]
fn elements_along_an_axis() {
    let x = float64(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
    let index = int64(&[-1, 0, 1, 1], &[2, 2]);
    assert_eq!(values(&take_along_axis(&x, &index, Some(1)).unwrap()), [3.0, 1.0, 5.0, 5.0]);
    // The other axes broadcast.
    assert_eq!(values(&take_along_axis(&x, &int64(&[2, 0], &[1, 2]), Some(1)).unwrap()), [3.0, 1.0, 6.0, 4.0]);
    assert_eq!(values(&take_along_axis(&x, &int64(&[1, 0, 1], &[1, 3]), Some(0)).unwrap()), [4.0, 2.0, 6.0]);
    assert_eq!(values(&take_along_axis(&x, &int64(&[5, 0], &[2]), None).unwrap()), [6.0, 1.0]);
    let bad = take_along_axis(&x, &int64(&[3], &[1, 1]), Some(1)).unwrap();
    let error = fluxrs::evaluate::evaluate(&[bad]).unwrap_err().to_string();
    assert!(error.contains("index 3 is out of range for axis 1 of size 3"), "{error}");
    assert!(take_along_axis(&x, &index.cast(fluxrs::DType::F32), Some(1)).unwrap_err().to_string().contains("astype"));
}

#[test]
fn gradients() {
    let x = numbers(12, (-2.0, 2.0), 5);
    for axis in [0, 1] {
        check_gradients("sort", &[(&x, &[3, 4])], &|x| exp(x[0].sort(Some(axis)).unwrap()));
    }
    let index = int64(&[0, 0, -1, 2], &[1, 4]);
    check_gradients("take_along_axis", &[(&x, &[3, 4])], &|x| square(take_along_axis(&x[0], &index, Some(0)).unwrap()));
    check_gradients("take_along_axis", &[(&x, &[3, 4])], &|x| square(take_along_axis(&x[0], &index, Some(1)).unwrap()));
}

#[test]
fn long_rows_are_sorted_in_runs_that_are_merged() {
    for n in [65_536, 65_537, 131_072, 200_001, 400_000] {
        let keys: Vec<u64> = (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52).collect();
        let mut want: Vec<usize> = (0..n).collect();
        want.sort_by_key(|&i| keys[i]);
        let wide = float64(&keys.iter().map(|&k| k as f64).collect::<Vec<_>>(), &[n]);
        for x in [wide.cast(DType::F32), wide] {
            let got = values(&x.argsort(None).unwrap());
            assert!(got.iter().zip(&want).all(|(&g, &w)| g as usize == w), "{n} elements of {}", x.dtype());
        }
    }
}
