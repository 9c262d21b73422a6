use crate::check::{check_gradients, close, exp, float32, float64, int64, numbers, square, values};
use fluxrs::{DType, Tensor};

/// A running value along an axis by plain loops.
fn running(x: &[f64], shape: &[usize], axis: usize, join: fn(f64, f64) -> f64) -> Vec<f64> {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut out = x.to_vec();
    for i in 0..x.len() {
        if !(i / inner).is_multiple_of(shape[axis]) {
            out[i] = join(out[i - inner], x[i]);
        }
    }
    out
}

#[test]
fn values_along_every_axis() {
    let shape = [3, 4, 5];
    let x = numbers(60, (-2.0, 2.0), 1);
    for axis in 0..3 {
        let t = float64(&x, &shape);
        close("cumsum", &values(&t.cumsum(Some(axis)).unwrap()), &running(&x, &shape, axis as usize, |a, b| a + b), 1e-14);
        close("cumprod", &values(&t.cumprod(Some(axis)).unwrap()), &running(&x, &shape, axis as usize, |a, b| a * b), 1e-14);
    }
    let flat = float64(&x, &shape).cumsum(None).unwrap();
    assert_eq!(flat.shape(), [60]);
    close("flat cumsum", &values(&flat), &running(&x, &[60], 0, |a, b| a + b), 1e-14);
}

#[test]
fn a_long_one_and_many() {
    let x: Vec<f64> = (0..200_000).map(|i| (i % 7) as f64).collect();
    for shape in [vec![200_000], vec![400, 500], vec![2, 100, 1000], vec![100_000, 2]] {
        let axis = shape.len() - 1;
        let got = float64(&x, &shape).cumsum(Some(axis as isize)).unwrap();
        assert_eq!(values(&got), running(&x, &shape, axis, |a, b| a + b));
        let got = float64(&x, &shape).cumsum(Some(0)).unwrap();
        assert_eq!(values(&got), running(&x, &shape, 0, |a, b| a + b));
    }
}

#[test]
fn types_and_edges() {
    assert_eq!(int64(&[1, 2, 3], &[3]).cast(DType::I32).cumsum(Some(0)).unwrap().dtype(), DType::I64);
    let bools = int64(&[1, 0, 2], &[3]).to_bool();
    assert_eq!(values(&bools.cumsum(Some(0)).unwrap()), [1.0, 1.0, 2.0]);
    let nan = float32(&[1.0, f32::NAN, 2.0], &[3]).cumsum(Some(-1)).unwrap();
    assert_eq!(nan.dtype(), DType::F32);
    close("NaN", &values(&nan), &[1.0, f64::NAN, f64::NAN], 0.0);
    assert_eq!(float64(&[], &[0, 3]).cumprod(Some(0)).unwrap().shape(), [0, 3]);
    assert_eq!(values(&Tensor::number(5i64).cumsum(None).unwrap()), [5.0]);
    assert!(float64(&[], &[0, 3]).cumprod(Some(2)).unwrap_err().to_string().contains("axis 2 is out of range"));
}

#[test]
fn gradients() {
    let x = numbers(24, (-2.0, 2.0), 2);
    for axis in 0..3 {
        check_gradients("cumsum", &[(&x, &[2, 3, 4])], &|x| square(x[0].cumsum(Some(axis)).unwrap()));
        check_gradients("cumprod", &[(&x, &[2, 3, 4])], &|x| x[0].cumprod(Some(axis)).unwrap());
    }
    // A zero, and two of them, are factors like others.
    for zeros in [vec![0], vec![2], vec![1, 4], vec![0, 1, 4]] {
        let mut x = numbers(5, (0.5, 2.0), 3);
        zeros.iter().for_each(|&i| x[i] = 0.0);
        check_gradients("cumprod with zeros", &[(&x, &[5])], &|x| x[0].cumprod(Some(0)).unwrap());
    }
    let flipped = |x: &[Tensor]| exp(x[0].flip(None).unwrap().cumprod(None).unwrap());
    check_gradients("cumprod of a view", &[(&numbers(6, (-1.0, 1.0), 4), &[2, 3])], &flipped);
}
