//! Sizes that no tensor can have are refused where the node would be made, in the name of the op that was called.

use crate::check::float32;
use fluxrs::error::{Error, Result};
use fluxrs::ops::create::{arange, eye, linspace, tril};
use fluxrs::ops::einsum::einsum;
use fluxrs::ops::index::{take, take_at};
use fluxrs::ops::matmul::matmul;
use fluxrs::ops::place::{concatenate, stack};
use fluxrs::ops::products::{diagm, kron, outer, tensordot};
use fluxrs::ops::random::{permutation, rand};
use fluxrs::shape::{MOST_AXES, MOST_ELEMENTS, check, is_possible};
use fluxrs::{DType, Elementwise, Number, Tensor};

#[test]
fn possible_shapes() {
    for (shape, possible) in [
        (&[][..], true),
        (&[MOST_ELEMENTS], true),
        (&[MOST_ELEMENTS + 1], false),
        (&[1 << 30, 1 << 29], true),
        (&[1 << 30, 1 << 30], false),
        (&[1 << 32, 1 << 32, 1 << 32], false),
        (&[usize::MAX, usize::MAX], false),
        (&[0, 1 << 59], true),
        (&[0, 1 << 60], false),
        (&[1 << 40, 0, 1 << 40], false),
        (&[1; MOST_AXES], true),
        (&[1; MOST_AXES + 1], false),
    ] {
        assert_eq!(is_possible(shape), possible, "{shape:?}");
        assert_eq!(check("op", shape).is_ok(), possible, "{shape:?}");
    }
}

fn wide(shape: &[usize]) -> Tensor {
    float32(&[1.0], &[1]).broadcast_to(shape).unwrap()
}

#[test]
fn errors_name_the_op() {
    const HUGE: usize = 1 << 32;
    let x = float32(&[1.0; 8], &[8]);
    let (row, column) = (wide(&[HUGE]), wide(&[HUGE, 1]));
    let index = Tensor::from_slice(&[0i64], &[1]).unwrap().broadcast_to(&[HUGE]).unwrap();
    let cases: Vec<(&str, Result<Tensor>)> = vec![
        ("full", Tensor::full(&[HUGE, HUGE], 0.0, DType::F32)),
        ("eye", eye(HUGE, HUGE, 0, DType::F32)),
        ("arange", arange(Number::Int(0), Number::Int(i64::MAX), Number::Int(1), DType::I64)),
        ("linspace", linspace(0.0, 1.0, usize::MAX, true, DType::F64)),
        ("rand", rand(&[HUGE, HUGE], DType::F32)),
        ("permutation", permutation(1 << 60)),
        ("multiply", Elementwise::multiply.apply(&[&row, &column])),
        ("where", Elementwise::r#where.apply(&[&row, &column, &x.sum(None, false).unwrap()])),
        ("broadcast_to", x.broadcast_to(&[1 << 60, 8])),
        ("reshape", wide(&[0]).reshape(&[0, 1 << 40, 1 << 40])),
        ("expand_dims", x.expand_dims(&(0..64).collect::<Vec<_>>())),
        ("repeat", x.repeat((1 << 61) + 1, 0)),
        ("tile", x.tile(&[1 << 62])),
        ("tile", wide(&[1; 40]).tile(&[2])),
        ("pad", x.pad(&[(1 << 63, 1 << 63)], Number::Int(0))),
        ("concatenate", concatenate(&vec![wide(&[MOST_ELEMENTS]); 17], 0)),
        ("stack", stack(&vec![wide(&[1 << 59]); 2], 0)),
        ("diagm", diagm(&x, isize::MIN)),
        ("kron", kron(&row, &row)),
        ("outer", outer(&row, &row)),
        ("tensordot", tensordot(&wide(&[1; 40]), &wide(&[1; 40]), &[], &[])),
        ("matmul", matmul(&column, &wide(&[1, HUGE]))),
        ("matmul", matmul(&wide(&[HUGE, 2]), &wide(&[2, HUGE]))),
        ("matmul", matmul(&wide(&[HUGE, 0]), &wide(&[0, HUGE]))),
        ("einsum", einsum("i,j->ij", &[row.clone(), row.clone()])),
        ("take", take(&wide(&[4, HUGE]), &index, 0)),
        ("indexing", take_at(&wide(&[4, 4, HUGE]), &[index.clone(), index.clone()])),
    ];
    for (op, made) in cases {
        let Err(Error::Value(text)) = made else { panic!("{op}: {made:?}") };
        assert!(text.starts_with(&format!("{op}: the result would have")), "{op}: {text}");
    }
}

#[test]
fn offsets_beyond_every_size() {
    let x = float32(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    for k in [isize::MIN, -(1 << 62), 2, 1 << 62, isize::MAX] {
        assert_eq!(x.diagonal(k, 0, 1).unwrap().shape(), [0], "{k}");
        assert_eq!(eye(2, 2, k, DType::F32).unwrap().shape(), [2, 2], "{k}");
        let kept = crate::check::values(&tril(&x, k).unwrap()).iter().sum::<f64>();
        assert_eq!(kept, if k < 0 { 0.0 } else { 10.0 }, "{k}");
    }
}
