use crate::check::{check_gradients, close, float32, float64, int64, numbers, square, values};
use fluxrs::ops::products::{diagm, dot, kron, norm, outer, tensordot, trace, vdot};
use fluxrs::{DType, Tensor};

#[test]
fn dots() {
    let (a, b) = (float64(&[1.0, 2.0, 3.0], &[3]), float64(&[4.0, 5.0, 6.0], &[3]));
    assert_eq!(values(&dot(&a, &b).unwrap()), [32.0]);
    let m = float64(&numbers(6, (0.0, 1.0), 1), &[2, 3]);
    assert_eq!(dot(&m, &a).unwrap().shape(), [2]);
    assert_eq!(values(&dot(&m, &float64(&[2.0], &[])).unwrap()), values(&(&m * 2.0)));
    let (x, y) = (numbers(6, (0.0, 1.0), 2), numbers(24, (0.0, 1.0), 3));
    let got = dot(&float64(&x, &[2, 3]), &float64(&y, &[4, 3, 2])).unwrap();
    assert_eq!(got.shape(), [2, 4, 2]);
    let want: Vec<f64> = (0..16).map(|i| (0..3).map(|k| x[i / 8 * 3 + k] * y[i / 2 % 4 * 6 + k * 2 + i % 2]).sum()).collect();
    close("dot", &values(&got), &want, 1e-14);
    assert_eq!(values(&vdot(&float64(&[1.0, 2.0, 3.0, 4.0], &[2, 2]), &float64(&[1.0; 4], &[4])).unwrap()), [10.0]);
    assert!(vdot(&a, &m).unwrap_err().to_string().contains("3 and 6 elements"));
    let truth = int64(&[1, 1, 0, 0], &[2, 2]).to_bool();
    for product in [dot(&truth, &truth).unwrap(), fluxrs::ops::einsum::einsum("ij,jk", &[truth.clone(), truth.clone()]).unwrap()]
    {
        assert_eq!((product.dtype(), values(&product)), (DType::Bool, vec![1.0, 1.0, 0.0, 0.0]));
    }
    assert_eq!(vdot(&truth, &truth).unwrap().dtype(), DType::Bool);
    let t = tensordot(&float64(&x, &[2, 3]), &float64(&y, &[4, 3, 2]), &[0, 1], &[2, 1]).unwrap();
    let want: Vec<f64> = (0..4).map(|i| (0..6).map(|k| x[k] * y[i * 6 + k % 3 * 2 + k / 3]).sum()).collect();
    close("tensordot", &values(&t), &want, 1e-14);
    assert!(tensordot(&m, &m, &[0], &[1]).unwrap_err().to_string().contains("differ in length"));
}

#[test]
fn outer_products() {
    let (a, b) = (int64(&[1, 2], &[2]), int64(&[3, 4, 5], &[3]));
    assert_eq!(values(&outer(&a, &b).unwrap()), [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
    assert_eq!(values(&kron(&a, &b).unwrap()), [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
    let m = kron(&float64(&[1.0, 2.0], &[2, 1]), &float64(&[1.0, 10.0], &[1, 2])).unwrap();
    assert_eq!((m.shape(), values(&m)), ([2, 2].as_slice(), vec![1.0, 10.0, 2.0, 20.0]));
    assert_eq!(kron(&Tensor::number(2.0), &b).unwrap().shape(), [3]);
    let x = [numbers(4, (-1.0, 1.0), 1), numbers(6, (-1.0, 1.0), 2)];
    check_gradients("kron", &[(&x[0], &[2, 2]), (&x[1], &[2, 3])], &|x| kron(&x[0], &x[1]).unwrap());
    check_gradients("outer", &[(&x[0], &[2, 2]), (&x[1], &[6])], &|x| outer(&x[0], &x[1]).unwrap());
    check_gradients("dot", &[(&x[0], &[2, 2]), (&x[1], &[3, 2, 1])], &|x| dot(&x[0], &x[1]).unwrap());
}

#[test]
fn diagonals() {
    let x = int64(&[1, 2], &[2]);
    assert_eq!(values(&diagm(&x, 0).unwrap()), [1.0, 0.0, 0.0, 2.0]);
    assert_eq!(values(&diagm(&x, 1).unwrap()), [0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    assert_eq!(values(&diagm(&x, -1).unwrap()), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    assert_eq!(values(&diagm(&int64(&[], &[0]), 1).unwrap()), [0.0]);
    assert!(diagm(&int64(&[1], &[1, 1]), 0).unwrap_err().to_string().contains("diagonal"));
    assert_eq!(values(&trace(&int64(&[1, 2, 3, 4], &[2, 2]), 0).unwrap()), [5.0]);
    check_gradients("diagm", &[(&[1.5, 2.5, -0.5], &[3])], &|x| square(diagm(&x[0], 1).unwrap()));
}

#[test]
fn norms() {
    let data = [3.0, -4.0, 0.5, 1.5];
    let x = float64(&data, &[2, 2]);
    let of = |p: f64| values(&norm(&x, p, None, false).unwrap())[0];
    for p in [1.0, 2.0, 3.0, 0.5, -1.0, -2.0, 7.5] {
        let want = data.iter().map(|x: &f64| x.abs().powf(p)).sum::<f64>().powf(1.0 / p);
        close(&format!("norm {p}"), &[of(p)], &[want], 1e-14);
    }
    assert_eq!((of(f64::INFINITY), of(f64::NEG_INFINITY), of(0.0)), (4.0, 0.5, 4.0));
    assert_eq!(values(&norm(&x, 1.0, Some(&[0]), true).unwrap()), [3.5, 5.5]);
    assert_eq!(values(&norm(&int64(&[3, 4], &[2]), 2.0, None, false).unwrap()), [5.0]);
    assert_eq!(norm(&int64(&[3, 4], &[2]), 2.0, None, false).unwrap().dtype(), DType::F32);
    // Zeros among the elements, and nothing but zeros.
    let zero = float32(&[0.0, 2.0], &[2]);
    assert_eq!(values(&norm(&zero, -1.0, None, false).unwrap()), [0.0]);
    close("norm", &values(&norm(&zero, 0.5, None, false).unwrap()), &[2.0], 1e-6);
    for p in [1.0, 2.0, 3.0, f64::INFINITY] {
        assert_eq!(values(&norm(&float64(&[], &[0]), p, None, false).unwrap()), [0.0], "{p}");
    }
}

#[test]
fn gradients_of_norms() {
    let x = numbers(6, (0.3, 2.0), 8).iter().enumerate().map(|(i, x)| if i % 2 == 0 { *x } else { -x }).collect::<Vec<_>>();
    for p in [1.0, 2.0, 3.0, 0.5, -1.5, f64::INFINITY, f64::NEG_INFINITY] {
        check_gradients(&format!("norm {p}"), &[(&x, &[2, 3])], &|x| norm(&x[0], p, None, false).unwrap());
        check_gradients(&format!("norm {p} of rows"), &[(&x, &[2, 3])], &|x| norm(&x[0], p, Some(&[1]), false).unwrap());
    }
}

#[test]
fn the_gradient_of_a_norm_at_zero_is_zero() {
    use fluxrs::tape::{Target, gradient};
    for p in [1.0, 2.0, 3.0, 0.5, f64::INFINITY] {
        let x = Tensor::tracked_identity(&float64(&[0.0; 3], &[3]));
        let target = [Target::Node(x.clone())];
        let n = norm(&x, p, None, false).unwrap();
        let g = gradient(&n, None, &target, true).unwrap()[0].clone().unwrap();
        assert_eq!(values(&g), [0.0; 3], "p = {p}");
        let h = gradient(&g.sum(None, false).unwrap(), None, &target, false).unwrap()[0].clone();
        assert!(h.is_none_or(|h| values(&h) == [0.0; 3]), "p = {p}");
    }
}
