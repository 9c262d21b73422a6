use crate::check::{check_gradients, close, float32, float64, int64, numbers, square, values};
use fluxrs::Tensor;
use fluxrs::evaluate::evaluate;
use fluxrs::ops::linalg::{adjugate, det, inverse, rdivide, solve};
use fluxrs::ops::matmul::matmul;

/// A matrix far from singular: random with a heavy diagonal, its rows in another order.
fn matrix(n: usize, salt: u64) -> Vec<f64> {
    let mut a = numbers(n * n, (-1.0, 1.0), salt);
    (0..n).for_each(|i| a[(i + 1) % n * n + i] += 3.0);
    a
}

#[test]
fn a_system_holds() {
    for n in [1, 2, 5, 40, 150] {
        let (a, b) = (float64(&matrix(n, 1), &[n, n]), float64(&numbers(n * 3, (-2.0, 2.0), 2), &[n, 3]));
        let x = solve(&a, &b).unwrap();
        close("A·X", &values(&matmul(&a, &x).unwrap()), &values(&b), 1e-12);
        let x = rdivide(&b.transpose(None).unwrap(), &a).unwrap();
        assert_eq!(x.shape(), [3, n]);
        close("X·A", &values(&matmul(&x, &a).unwrap()), &values(&b.transpose(None).unwrap()), 1e-12);
        let one = values(&matmul(&inverse(&a).unwrap(), &a).unwrap());
        let eye: Vec<f64> = (0..n * n).map(|i| f64::from(i % (n + 1) == 0)).collect();
        close("A⁻¹·A", &one, &eye, 1e-12);
    }
}

#[test]
fn shapes() {
    let a = float64(&[2.0, 0.0, 0.0, 4.0], &[2, 2]);
    assert_eq!(values(&solve(&a, &float64(&[2.0, 2.0], &[2])).unwrap()), [1.0, 0.5]);
    assert_eq!(values(&rdivide(&float64(&[2.0, 2.0], &[2]), &a).unwrap()), [1.0, 0.5]);
    assert_eq!(values(&rdivide(&a, &float64(&[2.0], &[])).unwrap()), [1.0, 0.0, 0.0, 2.0]);
    let stack = float64(&[[1.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 4.0]].concat(), &[2, 2, 2]);
    let x = solve(&stack, &float64(&[4.0, 8.0], &[2, 1])).unwrap();
    assert_eq!((x.shape(), values(&x)), ([2, 2, 1].as_slice(), vec![4.0, 8.0, 2.0, 2.0]));
    assert_eq!(inverse(&float64(&[], &[0, 0])).unwrap().shape(), [0, 0]);
    assert_eq!(values(&det(&float64(&[], &[0, 0])).unwrap()), [1.0]);
    let whole = inverse(&int64(&[2, 0, 0, 4], &[2, 2])).unwrap();
    assert_eq!((whole.dtype(), values(&whole)), (fluxrs::DType::F32, vec![0.5, 0.0, 0.0, 0.25]));
    let error = |t: fluxrs::Result<Tensor>| t.unwrap_err().to_string();
    assert!(error(inverse(&float64(&[1.0; 6], &[2, 3]))).contains("square matrix"));
    assert!(error(solve(&a, &float64(&[1.0; 3], &[3]))).contains("(2, 2) does not fit 3 equations"));
    assert!(error(solve(&a, &float64(&[1.0], &[]))).contains("needs an axis"));
}

#[test]
fn singular_and_nan() {
    let fails = |t: Tensor| evaluate(&[t]).unwrap_err().to_string();
    let bad = float32(&[1.0, 2.0, 2.0, 4.0], &[2, 2]);
    assert!(fails(inverse(&bad).unwrap()).contains("inv: the matrix is singular: its column 1"));
    let stack = float64(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], &[2, 2, 2]);
    assert!(fails(solve(&stack, &float64(&[1.0, 1.0], &[2, 1])).unwrap()).contains("solve: matrix 1 of the batch is singular"));
    assert_eq!(values(&det(&bad).unwrap()), [0.0]);
    let nan = float64(&[f64::NAN, 2.0, 2.0, 4.0], &[2, 2]);
    assert!(values(&inverse(&nan).unwrap()).iter().all(|x| x.is_nan()));
}

#[test]
fn determinants() {
    close("det", &values(&det(&float64(&[1.0, 2.0, 3.0, 4.0], &[2, 2])).unwrap()), &[-2.0], 1e-15);
    let swapped = float64(&[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], &[3, 3]);
    assert_eq!(values(&det(&swapped).unwrap()), [1.0]);
}

/// A · adj A = det A, and the adjugates of singular matrices in whole numbers.
#[test]
fn adjugates() {
    for n in [1, 2, 5, 40] {
        let a = float64(&matrix(n, 9).iter().map(|x| x / 3.0).collect::<Vec<_>>(), &[n, n]);
        let d = values(&det(&a).unwrap())[0];
        let eye: Vec<f64> = (0..n * n).map(|i| if i % (n + 1) == 0 { d } else { 0.0 }).collect();
        close("A · adj A", &values(&matmul(&a, &adjugate(&a).unwrap()).unwrap()), &eye, 1e-12);
    }
    let table: [(&[f64], &[f64]); 6] = [
        (&[0.0], &[1.0]),
        (&[1.0, 2.0, 2.0, 4.0], &[4.0, -2.0, -2.0, 1.0]),
        (&[0.0, 1.0, 0.0, 0.0], &[0.0, -1.0, 0.0, 0.0]),
        (&[0.0, 0.0, 0.0, 0.0], &[0.0; 4]),
        (&[0.0, 1.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (&[1.0; 9], &[0.0; 9]),
    ];
    for (a, want) in table {
        let n = a.len().isqrt();
        assert_eq!(values(&adjugate(&float64(a, &[n, n])).unwrap()), want, "{a:?}");
    }
}

#[test]
fn gradients() {
    let (a, b) = (matrix(3, 4), numbers(6, (-1.0, 1.0), 5));
    check_gradients("inv", &[(&a, &[3, 3])], &|x| inverse(&x[0]).unwrap());
    check_gradients("det", &[(&a, &[3, 3])], &|x| det(&x[0]).unwrap());
    for n in [1, 2, 7] {
        check_gradients("det", &[(&matrix(n, 8).iter().map(|x| x / 3.0).collect::<Vec<_>>()[..], &[n, n])], &|x| {
            det(&x[0]).unwrap()
        });
    }
    check_gradients("solve", &[(&a, &[3, 3]), (&b, &[3, 2])], &|x| solve(&x[0], &x[1]).unwrap());
    check_gradients("rdivide", &[(&b, &[2, 3]), (&a, &[3, 3])], &|x| rdivide(&x[0], &x[1]).unwrap());
    check_gradients("solve a vector", &[(&a, &[3, 3]), (&b[..3], &[3])], &|x| square(solve(&x[0], &x[1]).unwrap()));
    let two = [matrix(2, 6), matrix(2, 7)].concat();
    check_gradients("solve a stack", &[(&two, &[2, 2, 2]), (&b[..4], &[2, 2])], &|x| solve(&x[0], &x[1]).unwrap());
    check_gradients("inv of a stack", &[(&two, &[2, 2, 2])], &|x| inverse(&x[0]).unwrap());
}
