//! Calls of ops that are made of others: powers, activations, joins, subscripts, a layer's product and a loss.

use crate::acts::{MOST, fresh};
use crate::calls::{call, number};
use crate::random::Random;
use crate::world::{Origin, World, data};
use fluxrs::ops::activations::{gelu, gelu_erf, glu, logsigmoid, selu};
use fluxrs::ops::compose::{affine, clip, squared_error};
use fluxrs::ops::index::nonzero;
use fluxrs::ops::place::{hstack, vstack};
use fluxrs::ops::power::power;
use fluxrs::ops::subscript::{Index, subscript};
use fluxrs::{DType, Error, Number, Result, Tensor};

pub fn powers(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let small = r.range(-17, 18);
    let exponent = match r.below(4) {
        0 => number(r),
        1 => Number::Float(*r.pick(&[0.5, 2.0, -1.0, 16.0, 3.5])),
        2 => Number::Float(small as f64),
        _ => Number::Int(small as i64),
    };
    if exponent.as_f64() == 0.0 {
        // Ones, whatever the variable is: they are not made of it.
        return;
    }
    let reversed = r.once_in(5);
    call(w, r, &[i], |x| {
        let n = Tensor::number(exponent);
        if reversed { power(&n, &x[0]) } else { power(&x[0], &n) }
    });
}

pub fn activation(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let which = r.below(6);
    let (low, high) = (number(r), number(r));
    call(w, r, &[i], |x| match which {
        0 => gelu(&x[0]),
        1 => selu(&x[0]),
        2 => logsigmoid(&x[0]),
        3 => gelu_erf(&x[0]),
        4 => glu(&x[0], 0),
        _ => clip(&x[0], Some(&Tensor::number(low)), Some(&Tensor::number(high))),
    });
}

pub fn join(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let mut of = vec![i];
    for _ in 0..r.below(3) {
        of.push(w.find(r, |v| v.tensor().shape() == s).unwrap_or(i));
    }
    let below = r.coin();
    call(w, r, &of, |x| if below { vstack(x) } else { hstack(x) });
}

/// Σ (x Wᵀ + b − y)² / n, and its parts.
pub fn layer(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().ndim() > 0 && v.tensor().dtype() == DType::F32) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let (columns, rows) = (s[s.len() - 1], r.below(6) + 1);
    if w.vars[i].tensor().size() * rows > MOST || columns * rows > MOST {
        return;
    }
    let weights = fresh(w, r, &[rows, columns], DType::F32);
    let bias = fresh(w, r, &[rows], DType::F32);
    let fits = |x: Option<Tensor>| x.ok_or(Error::Shape("not of one type".into()));
    let Some(y) = call(w, r, &[i, weights, bias], |x| fits(affine(&x[0], &x[1], &x[2])?)) else { return };
    let target = w.vars[y].tensor().shape().to_vec();
    let other = w.find(r, |v| v.tensor().shape() == target).unwrap_or(y);
    call(w, r, &[y, other], |x| fits(squared_error(&x[0], &x[1])?));
}

/// The way in which an entry is made of the tensors of the call.
type Make = Box<dyn Fn(&[Tensor]) -> Result<Index>>;

/// Subscripts of any entries that fit.
pub fn subscripts(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().size() > 0 && v.tensor().size() < 3000) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let shapes: [&[usize]; 4] = [&[], &[1], &[3], &[2, 3]];
    let rows = *r.pick(&shapes);
    let mut of = vec![i];
    let mut entries: Vec<Make> = Vec::new();
    let mut axis = 0;
    let mut ellipsis = false;
    while axis < s.len() {
        let n = s[axis];
        match r.below(10) {
            0 | 1 => {
                let at = r.range(-(n as isize), n as isize);
                entries.push(Box::new(move |_| Ok(Index::At(at))));
            }
            2 | 3 => {
                let far = n as isize + 2;
                let (start, stop, step) = (r.range(-far, far), r.range(-far, far), *r.pick(&[-3, -1, 1, 1, 2, 100]));
                entries.push(Box::new(move |_| Ok(Index::Range { start, stop, step })));
            }
            4 => {
                entries.push(Box::new(|_| Ok(Index::NewAxis)));
                continue;
            }
            5 if !ellipsis => {
                ellipsis = true;
                entries.push(Box::new(|_| Ok(Index::Ellipsis)));
                axis += r.below(s.len() - axis + 1);
                continue;
            }
            6 | 7 => {
                let count = rows.iter().product();
                let list: Vec<f64> = (0..count).map(|_| r.range(-(n as isize), n as isize) as f64).collect();
                let k = of.len();
                of.push(w.add(data(&list, rows, DType::I64), Origin::default()));
                entries.push(Box::new(move |x| Ok(Index::Array(x[k].clone(), None))));
            }
            8 if rows.len() <= 1 => {
                // As many as the arrays beside it select.
                let count = rows.first().copied().unwrap_or(1).min(n);
                let truth: Vec<f64> = (0..n).map(|k| (k < count) as u8 as f64).collect();
                let mask = data(&truth, &[n], DType::Bool);
                entries.push(Box::new(move |_| Ok(Index::Mask(nonzero(&mask)?, mask.shape().into()))));
            }
            _ if r.coin() => break,
            _ => entries.push(Box::new(|_| Ok(Index::Range { start: 0, stop: isize::MAX, step: 1 }))),
        }
        axis += 1;
    }
    w.say(format!("  {} entries of {s:?}", entries.len()));
    call(w, r, &of, |x| subscript(&x[0], entries.iter().map(|e| e(x)).collect::<Result<_>>()?));
}
