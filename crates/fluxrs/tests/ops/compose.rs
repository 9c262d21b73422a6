use crate::check::{check_gradients, close, float64, int64, numbers, square, values};
use fluxrs::Tensor;
use fluxrs::ops::compose::clip;
use fluxrs::ops::index::nonzero;

#[test]
fn clips() {
    let x = float64(&[-2.0, 0.5, 3.0, f64::NAN], &[4]);
    let (low, high) = (Tensor::number(-1.0), Tensor::number(1i64));
    close("clip", &values(&clip(&x, Some(&low), Some(&high)).unwrap()), &[-1.0, 0.5, 1.0, f64::NAN], 0.0);
    close("clip", &values(&clip(&x, None, Some(&high)).unwrap()), &[-2.0, 0.5, 1.0, f64::NAN], 0.0);
    assert_eq!(values(&clip(&int64(&[-5, 5], &[2]), Some(&Tensor::number(0i64)), None).unwrap()), [0.0, 5.0]);
    let bounds: &[f64] = &[0.2, -0.4];
    let data = numbers(6, (-1.0, 1.0), 1);
    check_gradients("clip", &[(&data, &[3, 2]), (bounds, &[2])], &|x| {
        square(clip(&x[0], Some(&x[1]), Some(&Tensor::number(0.6))).unwrap())
    });
}

#[test]
fn rolls() {
    let x = int64(&[1, 2, 3, 4, 5, 6], &[2, 3]);
    let rolled = |shifts: &[isize], axes: Option<&[isize]>| values(&x.roll(shifts, axes).unwrap());
    assert_eq!(rolled(&[1], None), [6.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(rolled(&[-1], Some(&[1])), [2.0, 3.0, 1.0, 5.0, 6.0, 4.0]);
    assert_eq!(rolled(&[1], Some(&[0, 1])), [6.0, 4.0, 5.0, 3.0, 1.0, 2.0]);
    assert_eq!(rolled(&[7, 3], Some(&[0, -1])), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    assert!(x.roll(&[1, 2], Some(&[0, 1, 1])).unwrap_err().to_string().contains("2 shifts for 3 axes"));
    assert_eq!(float64(&[], &[0]).roll(&[3], Some(&[0])).unwrap().shape(), [0]);
    check_gradients("roll", &[(&numbers(6, (-1.0, 1.0), 2), &[2, 3])], &|x| square(x[0].roll(&[1], Some(&[1])).unwrap()));
}

#[test]
fn shapes() {
    let x = float64(&[1.0, 2.0, 3.0], &[3]);
    assert_eq!(x.atleast(1).shape(), [3]);
    assert_eq!(x.atleast(2).shape(), [1, 3]);
    assert_eq!(x.atleast(3).shape(), [1, 3, 1]);
    assert_eq!(Tensor::number(1.0).atleast(3).shape(), [1, 1, 1]);
    assert_eq!(float64(&[1.0; 6], &[2, 3]).atleast(3).shape(), [2, 3, 1]);
    assert_eq!(float64(&[1.0; 6], &[2, 3]).swapaxes(0, -1).unwrap().shape(), [3, 2]);
    assert_eq!(float64(&[1.0; 6], &[2, 3]).ravel().shape(), [6]);
}

#[test]
fn where_a_mask_is_true() {
    let mask = int64(&[0, 1, 0, 2, 0, 3], &[2, 3]);
    let index: Vec<Vec<f64>> = nonzero(&mask).unwrap().iter().map(values).collect();
    assert_eq!(index, [[0.0, 1.0, 1.0], [1.0, 0.0, 2.0]]);
    let flipped = nonzero(&mask.flip(None).unwrap().to_bool()).unwrap();
    assert_eq!(values(&flipped[1]), [0.0, 2.0, 1.0]);
    assert!(nonzero(&int64(&[], &[0, 2])).unwrap().iter().all(|i| i.shape() == [0]));
}
