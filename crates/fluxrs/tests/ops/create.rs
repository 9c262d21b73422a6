use crate::check::{check_gradients, close, float64, numbers, square, values};
use fluxrs::DType;
use fluxrs::dtype::Number;
use fluxrs::ops::create::{arange, eye, linspace, tril, triu};

#[test]
fn ranges() {
    let whole = |a: i64, b: i64, s: i64| values(&arange(a.into(), b.into(), s.into(), DType::I64).unwrap());
    assert_eq!(whole(0, 5, 1), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(whole(2, 9, 3), [2.0, 5.0, 8.0]);
    assert_eq!(whole(5, 0, -2), [5.0, 3.0, 1.0]);
    assert_eq!(whole(5, 0, 2), [0.0; 0]);
    let real = |a: f64, b: f64, s: f64| values(&arange(a.into(), b.into(), s.into(), DType::F64).unwrap());
    close("arange", &real(0.0, 1.0, 0.1), &(0..10).map(|i| i as f64 * 0.1).collect::<Vec<_>>(), 1e-15);
    assert_eq!(arange(Number::Int(0), Number::Float(2.5), Number::Int(1), DType::F32).unwrap().shape(), [3]);
    assert!(arange(0i64.into(), 5i64.into(), 0i64.into(), DType::I64).unwrap_err().to_string().contains("step"));
    assert!(arange(0.0.into(), f64::INFINITY.into(), 1.0.into(), DType::F32).is_err());
}

#[test]
fn equal_distances() {
    assert_eq!(values(&linspace(0.0, 1.0, 5, true, DType::F32).unwrap()), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(values(&linspace(0.0, 1.0, 4, false, DType::F64).unwrap()), [0.0, 0.25, 0.5, 0.75]);
    assert_eq!(*values(&linspace(0.0, 0.3, 7, true, DType::F64).unwrap()).last().unwrap(), 0.3);
    assert_eq!(values(&linspace(2.0, 3.0, 1, true, DType::F64).unwrap()), [2.0]);
    assert_eq!(values(&linspace(2.0, 3.0, 0, true, DType::F64).unwrap()), [0.0; 0]);
}

#[test]
fn diagonals_and_triangles() {
    for (n, m, k) in [(3, 3, 0), (2, 4, 1), (4, 2, -2), (3, 3, 5), (0, 2, 0), (2, 3, -1)] {
        let want: Vec<f64> = (0..n * m).map(|i| f64::from((i % m.max(1)) as isize - (i / m.max(1)) as isize == k)).collect();
        assert_eq!(values(&eye(n, m, k, DType::F32).unwrap()), want, "{n} {m} {k}");
    }
    let x = numbers(12, (1.0, 2.0), 1);
    for k in [-1, 0, 1, 2] {
        let keep = |below: bool| -> Vec<f64> {
            let on = |i: usize| (i % 4) as isize - (i / 4) as isize;
            x.iter().enumerate().map(|(i, &x)| if (on(i) <= k && below) || (on(i) >= k && !below) { x } else { 0.0 }).collect()
        };
        assert_eq!(values(&tril(&float64(&x, &[3, 4]), k).unwrap()), keep(true));
        assert_eq!(values(&triu(&float64(&x, &[3, 4]), k).unwrap()), keep(false));
    }
    check_gradients("tril", &[(&x, &[3, 4])], &|x| square(tril(&x[0], 0).unwrap()));
    assert!(tril(&float64(&[1.0], &[1]), 0).unwrap_err().to_string().contains("matrix"));
}
