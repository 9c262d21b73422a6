//! Calls of ops with random operands that fit.

use crate::acts::{MOST, fresh};
use crate::random::Random;
use crate::world::{Origin, World, data, elements};
use fluxrs::ops::index::{take, take_at};
use fluxrs::ops::place::{concatenate, stack};
use fluxrs::ops::reduce::Reduction;
use fluxrs::ops::view::Slice;
use fluxrs::ops::{Class, matmul as product};
use fluxrs::{DType, Elementwise, Number, Result, Tensor, no_grad, shape as shapes};

/// An operand of a call: a variable or a number.
enum Operand {
    Var(usize),
    Number(Number),
}

pub fn number(r: &mut Random) -> Number {
    match r.below(3) {
        0 => Number::Int(r.range(-3, 4) as i64),
        1 => Number::Float(elements(r, 1, DType::F64, false)[0]),
        _ => Number::Float(r.unit()),
    }
}

/// Makes a call and remembers what it was made of. What an op refuses is no affair of evaluation.
pub fn call(w: &mut World, r: &mut Random, of: &[usize], f: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Option<usize> {
    let vars: Vec<_> = of.iter().map(|&i| &w.vars[i]).collect();
    let origin = Origin::of(&vars);
    let tensors: Vec<Tensor> = of.iter().map(|&i| w.vars[i].tensor().clone()).collect();
    let result = if r.once_in(20) { no_grad(|| f(&tensors)) } else { f(&tensors) };
    let t = result.ok().filter(|t| t.size() <= MOST && !t.is_number())?;
    Some(w.add(t, origin))
}

/// Something that broadcasts with `i`.
fn partner(w: &mut World, r: &mut Random, i: usize) -> Operand {
    let s = w.vars[i].tensor().shape().to_vec();
    let fits = |t: &Tensor| shapes::broadcast("", &s, t.shape()).is_ok_and(|s| shapes::size(&s) <= MOST);
    match r.below(8) {
        0 => Operand::Var(i),
        1 | 2 => Operand::Number(number(r)),
        3 => {
            let small: Vec<usize> = s.iter().map(|&n| if r.coin() { 1 } else { n }).collect();
            let skip = r.below(s.len() + 1);
            Operand::Var(fresh(w, r, &small[skip..], DType::F32))
        }
        _ => match w.find(r, |v| fits(v.tensor())) {
            Some(j) => Operand::Var(j),
            None => Operand::Number(number(r)),
        },
    }
}

fn apply(w: &mut World, r: &mut Random, e: Elementwise, operands: &[Operand]) -> Option<usize> {
    let of: Vec<usize> = operands
        .iter()
        .filter_map(|o| match o {
            Operand::Var(i) => Some(*i),
            Operand::Number(_) => None,
        })
        .collect();
    call(w, r, &of, |tensors| {
        let mut next = tensors.iter();
        let all: Vec<Tensor> = operands
            .iter()
            .map(|o| match o {
                Operand::Var(_) => next.next().expect("one a variable").clone(),
                Operand::Number(n) => Tensor::number(*n),
            })
            .collect();
        e.apply(&all.iter().collect::<Vec<_>>())
    })
}

pub fn elementwise(w: &mut World, r: &mut Random) {
    for _ in 0..r.below(3) + 1 {
        // The plain ones come up more often, so that values stay tame.
        let usual = [Elementwise::add, Elementwise::multiply, Elementwise::subtract, Elementwise::tanh, Elementwise::relu];
        let e = if r.coin() { *r.pick(&usual) } else { *r.pick(Elementwise::ALL) };
        let Some(i) = w.any(r) else { return };
        let mut operands = vec![Operand::Var(i)];
        while operands.len() < e.record().arity {
            let next = partner(w, r, i);
            operands.push(next);
        }
        if e.record().class == Class::Select {
            let c = w.find(r, |v| v.tensor().dtype() == DType::Bool);
            operands[0] = Operand::Var(c.unwrap_or(i));
        } else if r.coin() {
            operands.reverse();
        }
        w.say(format!("  {}", e.record().name));
        apply(w, r, e, &operands);
    }
}

pub fn cast(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let to = *r.pick(&DType::ALL);
    call(w, r, &[i], |x| Ok(x[0].cast(to)));
}

/// A shape of the same size.
fn another_shape(r: &mut Random, old: &[usize]) -> Vec<isize> {
    let mut new: Vec<isize> = old.iter().map(|&n| n as isize).collect();
    for _ in 0..r.below(3) + 1 {
        match r.below(4) {
            0 => new.insert(r.below(new.len() + 1), 1),
            1 if new.len() > 1 => {
                let i = r.below(new.len() - 1);
                let n = new.remove(i);
                new[i] *= n;
            }
            2 if !new.is_empty() => {
                let i = r.below(new.len());
                let d = *r.pick(&[2, 3, 5, 10]);
                if new[i] % d == 0 && new[i] > 0 {
                    new[i] /= d;
                    new.insert(i + r.below(2), d);
                }
            }
            _ if new.contains(&1) => {
                let i = new.iter().position(|&n| n == 1).expect("just seen");
                new.remove(i);
            }
            _ => {}
        }
    }
    new
}

pub fn slices(r: &mut Random, shape: &[usize]) -> Vec<Slice> {
    let one = |r: &mut Random, n: usize| {
        if n == 0 || r.coin() {
            return Slice { start: 0, step: 1, len: n };
        }
        let start = r.below(n);
        let step = *r.pick(&[-3, -2, -1, -1, 1, 1, 2, 3]);
        let room = if step > 0 { (n - 1 - start) / step as usize } else { start / (-step) as usize };
        Slice { start, step, len: r.below(room + 3).min(room + 1) }
    };
    shape.iter().map(|&n| one(r, n)).collect()
}

fn view_of(r: &mut Random, x: &Tensor) -> Result<Tensor> {
    let n = x.ndim();
    match r.below(9) {
        0 | 1 => x.reshape(&another_shape(r, x.shape())),
        2 | 3 => {
            let mut axes: Vec<isize> = (0..n as isize).collect();
            (1..n).for_each(|i| axes.swap(i, r.below(i + 1)));
            x.transpose(if r.coin() { None } else { Some(&axes) })
        }
        4 => {
            let mut to: Vec<usize> = x.shape().iter().map(|&n| if n == 1 { *r.pick(&[1, 2, 5, 0]) } else { n }).collect();
            (0..r.below(3)).for_each(|_| to.insert(0, r.below(4)));
            if shapes::size(&to) > MOST { Ok(x.clone()) } else { x.broadcast_to(&to) }
        }
        5 | 6 => Ok(x.slice(&slices(r, x.shape()))),
        7 => x.flip(if n == 0 || r.coin() { None } else { Some(&[0]) }),
        _ if n >= 2 => x.diagonal(r.range(-2, 3), 0, n as isize - 1),
        _ => x.expand_dims(&[0]),
    }
}

pub fn view(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let many = r.below(3) + 1;
    let mut inner = Random::new(r.word());
    call(w, r, &[i], |x| (0..many).try_fold(x[0].clone(), |x, _| view_of(&mut inner, &x)));
}

pub fn place(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let x = w.vars[i].tensor().clone();
    let n = x.ndim();
    match r.below(5) {
        0 | 1 if n > 0 => {
            let axis = r.below(n);
            let mut of = vec![i];
            for _ in 0..r.below(3) {
                let fits = |t: &Tensor| t.ndim() == n && (0..n).all(|a| a == axis || t.shape()[a] == x.shape()[a]);
                of.push(w.find(r, |v| fits(v.tensor())).unwrap_or(i));
            }
            call(w, r, &of, |x| concatenate(x, axis as isize));
        }
        2 => {
            let j = w.find(r, |v| v.tensor().shape() == x.shape()).unwrap_or(i);
            let axis = r.below(n + 1) as isize;
            call(w, r, &[i, j], |x| stack(x, axis));
        }
        3 => {
            let widths: Vec<(usize, usize)> = (0..n).map(|_| (r.below(3), r.below(3))).collect();
            // Beyond 2⁵³ not every integer is a float64.
            let value = if x.dtype() == DType::I64 { Number::Int((1 << 53) + r.below(2) as i64) } else { number(r) };
            call(w, r, &[i], |x| x[0].pad(&widths, value));
        }
        _ if n > 0 => {
            let (times, axis) = (r.below(4), r.below(n) as isize);
            call(w, r, &[i], |x| if times == 3 { x[0].tile(&[2, 1]) } else { x[0].repeat(times, axis) });
        }
        _ => {}
    }
}

pub fn axes(r: &mut Random, n: usize) -> Option<Vec<isize>> {
    if r.once_in(4) {
        return None;
    }
    let mut out: Vec<isize> = (0..n as isize).filter(|_| r.coin()).collect();
    if out.is_empty() && n > 0 && !r.once_in(8) {
        out.push(r.below(n) as isize);
    }
    Some(out)
}

pub fn reduce(w: &mut World, r: &mut Random) {
    let Some(i) = w.any(r) else { return };
    let n = w.vars[i].tensor().ndim();
    let list = axes(r, n);
    let list = list.as_deref();
    let keep = r.coin();
    let kind = *r.pick(&[
        Reduction::Sum,
        Reduction::Sum,
        Reduction::Sum,
        Reduction::Max,
        Reduction::Min,
        Reduction::Prod,
        Reduction::Any,
        Reduction::All,
    ]);
    let which = r.below(12);
    let last = r.range(-1, 1).max(-(n as isize));
    call(w, r, &[i], |x| match which {
        0 if n > 0 => x[0].softmax(last),
        1 if n > 0 => x[0].logsoftmax(last),
        2 => x[0].logsumexp(list, keep),
        3 => x[0].mean(list, keep),
        4 => x[0].var(list, 1.0, keep),
        5 if n > 0 => {
            // Layer norm: rows that are centred and scaled by what they hold.
            let centred = x[0].try_sub(&x[0].mean(list, true)?)?;
            let spread = Elementwise::square.apply(&[&centred])?.mean(list, true)?;
            let root = Elementwise::sqrt.apply(&[&Elementwise::add.apply(&[&spread, &Tensor::number(1e-3)])?])?;
            Elementwise::divide.apply(&[&centred, &root])
        }
        _ => x[0].reduce(kind, list, keep),
    });
}

pub fn matmul(w: &mut World, r: &mut Random) {
    let Some(a) = w.find(r, |v| v.tensor().ndim() > 0 && v.tensor().size() <= 20_000) else { return };
    let s = w.vars[a].tensor().shape().to_vec();
    let k = s[s.len() - 1];
    let n = *r.pick(&[0, 1, 2, 3, 7, 40]);
    let fits = |t: &Tensor| {
        let inner = if t.ndim() == 1 { t.shape()[0] } else { t.shape()[t.ndim().max(2) - 2] };
        inner == k && t.size() <= 20_000
    };
    let found = w.find(r, |v| v.tensor().ndim() > 0 && fits(v.tensor()));
    let b = match found {
        Some(b) => b,
        None if k * n > MOST => return,
        None => {
            let shape = match r.below(4) {
                0 => vec![k],
                1 if s.len() > 2 => [&s[..s.len() - 2], &[k, n]].concat(),
                _ => vec![k, n],
            };
            if r.coin() || shape.len() != 2 {
                fresh(w, r, &shape, DType::F32)
            } else {
                let b = fresh(w, r, &[n, k], DType::F32);
                call(w, r, &[b], |x| x[0].transpose(None)).unwrap_or(b)
            }
        }
    };
    let last = w.vars[b].tensor().shape().last().copied().unwrap_or(1);
    if w.vars[a].tensor().size() * last > 4_000_000 {
        return;
    }
    call(w, r, &[a, b], |x| product::matmul(&x[0], &x[1]));
}

pub fn index(w: &mut World, r: &mut Random) {
    let Some(i) = w.find(r, |v| v.tensor().ndim() > 0 && v.tensor().size() > 0) else { return };
    let s = w.vars[i].tensor().shape().to_vec();
    let axis = r.below(s.len());
    let wrong = r.once_in(12);
    let mut index = |n: usize, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let mut list: Vec<f64> = (0..count).map(|_| r.range(-(n as isize), n as isize) as f64).collect();
        if let (true, Some(x)) = (wrong, list.last_mut()) {
            *x = n as f64 + 3.0;
        }
        data(&list, shape, DType::I64)
    };
    let shapes: &[&[usize]] = &[&[], &[1], &[4], &[7], &[2, 3], &[0], &[40]];
    let pick = s.iter().sum::<usize>() + w.vars.len();
    let rows = shapes[pick % shapes.len()];
    let first = index(s[axis], rows);
    let lead: Vec<Tensor> = s.iter().take(1 + pick % 2).map(|&n| index(n, rows)).collect();
    let at = r.coin();
    let j = w.add(first, Origin::default());
    if at {
        let all: Vec<usize> = lead.into_iter().map(|t| w.add(t, Origin::default())).collect();
        let of: Vec<usize> = [&[i], &all[..]].concat();
        call(w, r, &of, |x| take_at(&x[0], &x[1..]));
    } else {
        call(w, r, &[i, j], |x| take(&x[0], &x[1], axis as isize));
    }
}

/// Something of this shape, dangerous to write over the parameter it is made of where it can be.
pub fn fitting(w: &mut World, r: &mut Random, now: &Tensor, want: &[usize], p: usize) -> Option<(Tensor, Origin)> {
    let plain = Origin::default();
    let n = want.len();
    Some(match r.below(9) {
        0 if n == 2 && want[0] == want[1] => (now.transpose(None).ok()?, plain),
        1 if n > 0 => (now.flip(Some(&[r.below(n) as isize])).ok()?, plain),
        2 if n > 0 && want[0] > 0 => {
            let list: Vec<f64> = (0..want[0]).map(|_| r.below(want[0]) as f64).collect();
            (take(now, &data(&list, &[want[0]], DType::I64), 0).ok()?, plain)
        }
        3 if n > 0 => {
            let total = now.sum(Some(&[r.below(n) as isize]), true).ok()?;
            (total.broadcast_to(want).ok()? * 0.25, plain)
        }
        4 => (now * 0.5 + 1.0, plain),
        5 if n == 2 && want[0] == want[1] => (product::matmul(now, now).ok()? * 0.125, plain),
        6 => {
            // Another parameter that may be updated in the same breath.
            let q = (0..w.params.len()).find(|&q| q != p && w.params[q].value.shape.as_slice() == want)?;
            let other = w.value_of(q)?;
            (other * 0.5, plain)
        }
        _ => match w.find(r, |v| v.tensor().shape() == want) {
            Some(i) => (w.vars[i].tensor().clone(), Origin::of(&[&w.vars[i]])),
            None => {
                let size = shapes::size(want);
                let values = elements(r, size, DType::F32, false);
                (data(&values, want, DType::F32), plain)
            }
        },
    })
}
