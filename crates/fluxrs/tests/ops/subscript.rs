use crate::check::{check_gradients, int64, numbers, values};
use Index::{Array, At, Ellipsis, Mask, NewAxis, Range};
use fluxrs::ops::index::nonzero;
use fluxrs::ops::subscript::{Index, subscript};
use fluxrs::{DType, Tensor};

fn at(list: &[i64]) -> Index {
    Array(int64(list, &[list.len()]), list.iter().min().zip(list.iter().max()).map(|(&a, &b)| (a, b)))
}

fn mask(list: &[i64], shape: &[usize]) -> Index {
    Mask(nonzero(&int64(list, shape)).unwrap(), shape.into())
}

fn all() -> Index {
    Range { start: 0, stop: isize::MAX, step: 1 }
}

/// The elements of (2, 3, 4), each its own number.
fn counted() -> Tensor {
    int64(&(0..24).collect::<Vec<_>>(), &[2, 3, 4])
}

#[test]
fn shapes_and_first_elements() {
    let table: Vec<(Vec<Index>, &[usize], f64)> = vec![
        (vec![], &[2, 3, 4], 0.0),
        (vec![At(1)], &[3, 4], 12.0),
        (vec![At(-1), At(2), At(-4)], &[], 20.0),
        (vec![Ellipsis, At(3)], &[2, 3], 3.0),
        (vec![NewAxis, At(1), Ellipsis, NewAxis], &[1, 3, 4, 1], 12.0),
        (vec![all(), Range { start: 2, stop: isize::MIN, step: -1 }], &[2, 3, 4], 8.0),
        (vec![all(), all(), Range { start: -3, stop: 100, step: 2 }], &[2, 3, 2], 1.0),
        (vec![Range { start: 1, stop: 2, step: isize::MAX }], &[1, 3, 4], 12.0),
        (vec![at(&[1, 0, -1])], &[3, 3, 4], 12.0),
        (vec![all(), at(&[2, 0]), at(&[1, 3])], &[2, 2], 9.0),
        (vec![at(&[1, 1]), all(), at(&[1, 3])], &[2, 3], 13.0),
        (vec![all(), At(1), at(&[1, 3])], &[2, 2], 5.0),
        (vec![all(), At(1), Ellipsis, at(&[1, 3])], &[2, 2], 5.0),
        (vec![at(&[0, 1]), NewAxis, At(1)], &[2, 1, 4], 4.0),
        (vec![all(), mask(&[0, 1, 1], &[3])], &[2, 2, 4], 4.0),
        (vec![mask(&[0, 1, 0, 0, 0, 1], &[2, 3]), At(2)], &[2], 6.0),
    ];
    for (k, (entries, shape, first)) in table.into_iter().enumerate() {
        let y = subscript(&counted(), entries).unwrap();
        assert_eq!((y.shape(), values(&y)[0]), (shape, first), "row {k}");
    }
}

#[test]
fn an_ellipsis_of_no_axes_separates_arrays() {
    let y = subscript(&counted(), vec![all(), At(1), Ellipsis, at(&[1, 3, 0])]).unwrap();
    assert_eq!((y.shape(), values(&y)), (&[3, 2][..], vec![5.0, 17.0, 7.0, 19.0, 4.0, 16.0]));
}

#[test]
fn subscripts_that_do_not_fit_are_refused() {
    let table: Vec<(Vec<Index>, &str)> = vec![
        (vec![At(2)], "index 2 is out of range for axis 0 of size 2"),
        (vec![all(), at(&[0, -4])], "index -4 is out of range for axis 1 of size 3"),
        (vec![Ellipsis, Ellipsis], "one Ellipsis"),
        (vec![At(0), At(0), At(0), At(0)], "4 indices for a tensor of 3 axes"),
        (vec![mask(&[1, 1], &[1, 2])], "a mask of shape (1, 2) does not fit axis 0"),
        (vec![At(isize::MIN)], "out of range"),
    ];
    for (entries, message) in table {
        let error = subscript(&counted(), entries).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn gradients() {
    let data = numbers(24, (-1.0, 1.0), 9);
    check_gradients("subscript", &[(&data, &[2, 3, 4])], &|x| {
        subscript(&x[0], vec![at(&[1, 1]), Range { start: 2, stop: isize::MIN, step: -2 }, at(&[0, 3])]).unwrap()
    });
    assert_eq!(subscript(&counted().cast(DType::F32), vec![at(&[])]).unwrap().shape(), [0, 3, 4]);
}
