use crate::check::{check_gradients, close, float64, int64, numbers, values};
use fluxrs::ops::einsum::einsum;
use fluxrs::{DType, Tensor};
use std::collections::BTreeMap;

/// Every combination of indices, one after the other; `...` must be spelled out. Without `->` nothing is inferred.
fn naive(spec: &str, xs: &[(Vec<f64>, Vec<usize>)]) -> Vec<f64> {
    let (inputs, output) = spec.split_once("->").unwrap();
    let inputs: Vec<&str> = inputs.split(',').collect();
    let mut lengths = BTreeMap::new();
    for (part, (_, shape)) in inputs.iter().zip(xs) {
        part.chars().zip(shape).for_each(|(c, &n)| {
            let known = lengths.entry(c).or_insert(n);
            *known = n.max(*known);
        });
    }
    let size: usize = output.chars().map(|c| lengths[&c]).product();
    let mut out = vec![0.0; size];
    let total: usize = lengths.values().product();
    for step in 0..total {
        let mut rest = step;
        let index: BTreeMap<char, usize> = lengths
            .iter()
            .map(|(&c, &n)| {
                let i = rest % n;
                rest /= n;
                (c, i)
            })
            .collect();
        let position = |part: &str, shape: &[usize]| -> usize {
            part.chars().zip(shape).fold(0, |at, (c, &n)| at * n + if n == 1 { 0 } else { index[&c] })
        };
        let product: f64 = inputs.iter().zip(xs).map(|(part, (data, shape))| data[position(part, shape)]).product();
        let shape: Vec<usize> = output.chars().map(|c| lengths[&c]).collect();
        out[position(output, &shape)] += product;
    }
    out
}

/// A spec, the same spelled out for `naive`, and the shapes.
const CASES: &[(&str, &str, &[&[usize]])] = &[
    ("i,i", "i,i->", &[&[4], &[4]]),
    ("i,j", "i,j->ij", &[&[3], &[4]]),
    ("ij,jk", "ij,jk->ik", &[&[2, 3], &[3, 4]]),
    ("ij,jk->ki", "ij,jk->ki", &[&[2, 3], &[3, 4]]),
    ("ba", "ba->ab", &[&[2, 3]]),
    ("ij -> ji", "ij->ji", &[&[2, 3]]),
    ("ij->", "ij->", &[&[2, 3]]),
    ("ij->j", "ij->j", &[&[2, 3]]),
    ("ii", "ii->", &[&[3, 3]]),
    ("ii->i", "ii->i", &[&[3, 3]]),
    ("iij->ij", "iij->ij", &[&[3, 3, 2]]),
    ("iii->i", "iii->i", &[&[3, 3, 3]]),
    ("iji,jj->j", "iji,jj->j", &[&[3, 2, 3], &[2, 2]]),
    ("ij,ij->", "ij,ij->", &[&[2, 3], &[2, 3]]),
    ("ij,ij->i", "ij,ij->i", &[&[2, 3], &[2, 3]]),
    ("ij,j->i", "ij,j->i", &[&[2, 3], &[3]]),
    ("bij,bjk->bik", "bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 5]]),
    ("...ij,...jk", "abij,bjk->abik", &[&[2, 3, 2, 4], &[3, 4, 2]]),
    ("...i,...i->...", "abi,abi->ab", &[&[2, 1, 3], &[2, 4, 3]]),
    ("i...->...", "iab->ab", &[&[2, 3, 4]]),
    ("i...->...i", "iab->abi", &[&[2, 3, 4]]),
    ("...,i->i...", "ab,i->iab", &[&[2, 3], &[4]]),
    ("ij,kl->il", "ij,kl->il", &[&[2, 3], &[4, 2]]),
    ("ijk,jil->kl", "ijk,jil->kl", &[&[2, 3, 4], &[3, 2, 5]]),
    ("ij,jk,kl", "ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 2]]),
    ("bqhd,bkhd->bhqk", "bqhd,bkhd->bhqk", &[&[2, 3, 2, 4], &[2, 5, 2, 4]]),
    ("i,j,k->kji", "i,j,k->kji", &[&[2], &[3], &[2]]),
    ("bn,anm,bm->ba", "bn,anm,bm->ba", &[&[2, 3], &[4, 3, 2], &[2, 2]]),
    ("ij,jk->ik", "ij,jk->ik", &[&[2, 1], &[3, 4]]),
    (",ij", ",ij->ij", &[&[], &[2, 3]]),
    ("Ab,bC", "Ab,bC->AC", &[&[2, 3], &[3, 2]]),
];

fn operands(shapes: &[&[usize]]) -> Vec<(Vec<f64>, Vec<usize>)> {
    let data = |(i, s): (usize, &&[usize])| (numbers(s.iter().product(), (-1.0, 1.0), 3 + i as u64), s.to_vec());
    shapes.iter().enumerate().map(data).collect()
}

#[test]
fn values_of_every_form() {
    for (spec, plain, shapes) in CASES {
        let xs = operands(shapes);
        let tensors: Vec<Tensor> = xs.iter().map(|(d, s)| float64(d, s)).collect();
        close(spec, &values(&einsum(spec, &tensors).unwrap()), &naive(plain, &xs), 1e-13);
    }
}

#[test]
fn gradients_of_every_form() {
    for (spec, _, shapes) in CASES {
        let xs = operands(shapes);
        let inputs: Vec<(&[f64], &[usize])> = xs.iter().map(|(d, s)| (d.as_slice(), s.as_slice())).collect();
        check_gradients(spec, &inputs, &|x| einsum(spec, x).unwrap());
    }
}

#[test]
fn types_and_empty_axes() {
    let a = int64(&[1, 2, 3, 4], &[2, 2]);
    let product = einsum("ij,jk", &[a.clone(), a.cast(DType::I32)]).unwrap();
    assert_eq!((product.dtype(), values(&product)), (DType::I64, vec![7.0, 10.0, 15.0, 22.0]));
    assert_eq!(einsum("ij->j", &[a.cast(DType::I32)]).unwrap().dtype(), DType::I32);
    let none = einsum("ij,jk->ik", &[float64(&[], &[2, 0]), float64(&[], &[0, 3])]).unwrap();
    assert_eq!((none.shape(), values(&none)), ([2, 3].as_slice(), vec![0.0; 6]));
}

#[test]
fn errors_say_what_is_wrong() {
    let m = float64(&[1.0; 6], &[2, 3]);
    let error = |spec: &str, n: usize| einsum(spec, &vec![m.clone(); n]).unwrap_err().to_string();
    assert!(error("ij,jk", 1).contains("2 operands, but 1"));
    assert!(error("ijk", 1).contains("name 3 axes"));
    assert!(error("i", 1).contains("name 1 axes"));
    assert!(error("ij,jk", 2).contains("length 3 in one operand and 2"));
    assert!(error("ij->ii", 1).contains("twice"));
    assert!(error("ij->k", 1).contains("in no operand"));
    assert!(error("i1", 1).contains("no subscript"));
    assert!(error("...->", 1).contains("must hold the ..."));
    assert!(error("ii", 1).contains("both i"));
    assert!(error("ij->i->j", 1).contains("no subscript"));
    assert!(einsum("", &[]).is_err());
}
