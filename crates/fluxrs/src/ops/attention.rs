//! Attention: the means of values, weighted by the softmax of what queries and keys have in common. Scores are there for a block
//! of rows at a time, in the gradient too.

use super::matmul::matmul;
use super::place::{Place, concatenate};
use super::reduce::Reduction;
use super::rules::choose;
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::structured::{offset, room};
use super::{Op, Operand, OperandMut, Structured, apply, create};
use crate::bail;
use crate::cpu::gemm::{self, Product, Tile};
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::{Srcs, Tensor};
use crate::per_isa;
use crate::pool;
use crate::shape::{self, Map, Shape, show};
use crate::simd::isa::{Isa, level};
use crate::simd::math::Real;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// `srcs`: queries (…, t, d), keys (…, s, d), values (…, s, e) and, with a mask, that: (…, t, s), of truth values, or to be added to
/// the scores. ↦ (…, t, e + 1): softmax(scale · q kᵀ + mask) v, and beside it the logarithm of the sum that each row was divided by,
/// +∞ where no key is seen.
#[derive(Clone, Copy)]
struct Attention {
    scale: f64,
    /// The last query sees every key, the one before it one key less, and so on.
    causal: bool,
}

/// Scores that a task of the kernel has at a time.
const SCORES: usize = pool::grain(1 << 16);
/// Rows of them.
const ROWS: std::ops::Range<usize> = 4..65;
/// Scores that a block of the gradient has at a time.
const BLOCK: usize = 1 << 22;

/// Elements that are added up side by side.
const LANES: usize = 16;

/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn weigh_body<T: Real, I: Isa>(row: &mut [T], stats: &mut [T; 2]) {
    let (none, zero) = (T::of(f64::NEG_INFINITY), T::of(0.0));
    let mut most = [none; LANES];
    for part in row.chunks(LANES) {
        most.iter_mut().zip(part).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
    }
    let most = most.into_iter().fold(none, |a, b| if b > a { b } else { a });
    // A row of −∞ alone has no weights.
    let shift = if most == none { zero } else { most };
    let mut sums = [zero; LANES];
    for part in row.chunks_mut(LANES) {
        sums.iter_mut().zip(part).for_each(|(sum, x)| {
            *x = (*x - shift).exp::<I>();
            *sum = *sum + *x;
        });
    }
    let sum = sums.into_iter().fold(zero, |a, b| a + b);
    *stats = if sum == zero { [T::of(f64::INFINITY), zero] } else { [shift + sum.log::<I>(), T::of(1.0) / sum] };
}
per_isa! {
    /// Takes a row of scores to exp(x − max); gives the logarithm of the sum of their exponentials, and one over the sum of the row.
    fn weigh[T: Real](row: &mut [T], stats: &mut [T; 2]) = weigh_body
}

/// The keys that query number `row` sees, of `s` for `t` queries.
fn seen(causal: bool, row: usize, t: usize, s: usize) -> usize {
    if causal { (row + 1 + s).saturating_sub(t) } else { s }
}

/// The operands and the result of a call, for any thread.
struct Shared<'a, T>(&'a [Operand<'a>], *mut T);

// SAFETY: operands are memory that nothing writes while the kernel runs, and each task writes rows of its own.
unsafe impl<T> Sync for Shared<'_, T> {}

impl<T> Shared<'_, T> {
    /// An operand's matrix for an index of the leading axes, and its strides.
    fn matrix<U>(&self, operand: usize, batch: usize) -> (*const U, (isize, isize)) {
        let x = self.0[operand];
        let lead = x.shape.len() - 2;
        let at = offset(batch, &x.shape[..lead], &x.strides[..lead]);
        (x.ptr.cast::<U>().wrapping_offset(at), (x.strides[lead] as isize, x.strides[lead + 1] as isize))
    }

    fn out(&self, at: usize) -> *mut T {
        self.1.wrapping_add(at)
    }
}

impl Attention {
    fn run<T: Real + Element + gemm::Element>(self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        let n = out.shape.len();
        let (t, e) = (out.shape[n - 2], out.shape[n - 1] - 1);
        let (s, d) = (srcs[1].shape[n - 2], srcs[1].shape[n - 1]);
        let batches = shape::size(&out.shape[..n - 2]);
        let (poll, kernel, scale) = (out.poll, weigh::<T>(level()), T::of(self.scale));
        let shared = Shared(srcs, out.ptr.cast::<T>());
        let rows = (SCORES / s.max(1)).clamp(ROWS.start, ROWS.end - 1);
        let blocks = t.div_ceil(rows);
        let mask = srcs.get(3).map(|mask| mask.dtype);
        pool::each(batches * blocks, |task| {
            let (batch, first) = (task / blocks, task % blocks * rows);
            let rows = rows.min(t - first);
            let columns = seen(self.causal, first + rows - 1, t, s);
            poll.before((rows * columns.max(1)).min(SCORES))?;
            let mut scores: Vec<T> = room(rows * columns)?;
            let (q, q_strides) = shared.matrix::<T>(0, batch);
            let (k, k_strides) = shared.matrix::<T>(1, batch);
            let (v, v_strides) = shared.matrix::<T>(2, batch);
            let going = AtomicBool::new(false);
            // SAFETY: the operands have the shapes that the node was made with; every score is written.
            unsafe {
                let b_strides = (k_strides.1, k_strides.0);
                let product = Product { m: rows, k: d, n: columns, a_strides: q_strides, b_strides, ldc: columns };
                let q = q.wrapping_offset(first as isize * q_strides.0);
                gemm::run(&product, q, k, scores.as_mut_ptr(), &Tile { rows: 0..rows, cols: 0..columns }, &going);
                scores.set_len(rows * columns);
            }
            scores.iter_mut().for_each(|x| *x = *x * scale);
            let mut sums = [[T::of(0.0); 2]; ROWS.end];
            for (r, stats) in sums[..rows].iter_mut().enumerate() {
                let (row, hidden) =
                    scores[r * columns..][..columns].split_at_mut(seen(self.causal, first + r, t, s).min(columns));
                if let Some(mask) = mask {
                    mask_row(&shared, mask, batch, first + r, row);
                }
                hidden.fill(T::of(0.0));
                // SAFETY: the level is the machine's.
                unsafe { kernel(row, stats) };
            }
            let to = shared.out((batch * t + first) * (e + 1));
            // SAFETY: as above; the rows of the result are this task's.
            unsafe {
                let product =
                    Product { m: rows, k: columns, n: e, a_strides: (columns as isize, 1), b_strides: v_strides, ldc: e + 1 };
                gemm::run(&product, scores.as_ptr(), v, to, &Tile { rows: 0..rows, cols: 0..e }, &going);
                for (r, [log, share]) in sums[..rows].iter().enumerate() {
                    let row = std::slice::from_raw_parts_mut(to.add(r * (e + 1)), e + 1);
                    row[..e].iter_mut().for_each(|x| *x = *x * *share);
                    row[e] = *log;
                }
            }
            Ok(())
        })
    }

    /// The scores of some queries and keys, with what they do not see at −∞; `first` and `queries` are their place among all.
    fn scores(&self, q: &Tensor, k: &Tensor, mask: Option<&Tensor>, first: usize, (t, s): (usize, usize)) -> Tensor {
        let mut scores = product(q, &k.swap_last()) * self.scale;
        let [.., rows, columns] = *scores.shape() else { unreachable!("matrices") };
        scores = match mask {
            Some(mask) if mask.dtype() == DType::Bool => choose(mask, &scores, f64::NEG_INFINITY),
            Some(mask) => scores + mask,
            None => scores,
        };
        if !self.causal || seen(true, first, t, s) >= columns {
            return scores;
        }
        let count = |from: usize, n: usize, shape: &[usize]| {
            let (from, to) = (from as i64, (from + n) as i64);
            let list = create::arange(from.into(), to.into(), 1i64.into(), DType::I32).expect("a step of one");
            create::made_on(&list, q.device()).unwrap_or(list).reshape_to(shape)
        };
        // Key j is seen by query i if j + t ≤ i + s.
        let seen = count(t, columns, &[1, columns]).less_equal(&count(first + s, rows, &[rows, 1]));
        choose(&seen, &scores, f64::NEG_INFINITY)
    }

    /// The gradients that the rows from `first` on give towards the operands that are wanted: of keys and values the first ones,
    /// those that one of the rows sees.
    fn block(
        &self,
        wanted: &[bool],
        srcs: &[Tensor],
        out: &Tensor,
        g: &Tensor,
        first: usize,
        rows: usize,
    ) -> [Option<Tensor>; 4] {
        let n = out.ndim();
        let (t, e, s) = (out.shape()[n - 2], out.shape()[n - 1] - 1, srcs[1].shape()[n - 2]);
        let columns = seen(self.causal, first + rows - 1, t, s);
        let block = |x: &Tensor| x.narrow(n - 2, first, rows);
        let keys = |x: &Tensor| x.narrow(n - 2, 0, columns);
        let (q, o, g) = (block(&srcs[0]), block(out), block(g));
        let (k, v) = (keys(&srcs[1]), keys(&srcs[2]));
        let mask = srcs.get(3).map(|mask| block(mask).narrow(n - 1, 0, columns));
        let (o, log) = (o.narrow(n - 1, 0, e), o.narrow(n - 1, e, 1));
        let (g, g_log) = (g.narrow(n - 1, 0, e), g.narrow(n - 1, e, 1));
        let wants = |i: usize| wanted.get(i).is_some_and(|&wanted| wanted);
        // What a product's epilogue takes stands before the product, and so is there when it runs.
        let weights = (-(log - self.scores(&q, &k, mask.as_ref(), first, (t, s)))).exp();
        let value = wants(2).then(|| product(&weights.swap_last(), &g));
        if !wants(0) && !wants(1) && !wants(3) {
            return [None, None, value, None];
        }
        let rest = &g_log - (&g * &o).reduce_axes(Reduction::Sum, 1 << (n - 1)).reshape_to(g_log.shape());
        let slopes = weights * (rest + product(&g, &v.swap_last()));
        let query = wants(0).then(|| product(&slopes, &k) * self.scale);
        let key = wants(1).then(|| product(&slopes.swap_last(), &q) * self.scale);
        [query, key, value, wants(3).then_some(slopes)]
    }

    /// The gradients towards the operands that are wanted. What a block of rows gives is added, in one tensor, to what those before
    /// it gave, so that each is done with its scores before the next begins.
    fn pull(&self, wanted: &[bool], srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
        let n = out.ndim();
        let (t, s, lead) = (out.shape()[n - 2], srcs[1].shape()[n - 2], &out.shape()[..n - 2]);
        let size = shape::size(lead);
        if t == 0 || s == 0 || size == 0 {
            return srcs.iter().zip(wanted).map(|(x, &wanted)| wanted.then(|| x.zeros_like())).collect();
        }
        let rows = (BLOCK / size.saturating_mul(s)).clamp(1, t);
        if rows == t {
            return self.block(wanted, srcs, out, g, 0, t).into_iter().take(srcs.len()).collect();
        }
        let mut length = 0;
        let places: [usize; 3] = std::array::from_fn(|i| {
            length += if wanted[i] { srcs[i].size() / size } else { 0 };
            length
        });
        let flat: Shape = lead.iter().copied().chain([length]).collect();
        let (mut total, mut masks): (Option<Tensor>, Vec<Tensor>) = (None, Vec::new());
        for first in (0..t).step_by(rows) {
            let [query, key, value, mask] = self.block(wanted, srcs, out, g, first, rows.min(t - first));
            let (mut maps, mut parts) = (SmallVec::new(), Srcs::new());
            for (i, part) in [query, key, value].into_iter().enumerate() {
                let Some(part) = part.filter(|part| part.size() > 0) else { continue };
                let width = part.shape()[n - 1];
                let mut strides = shape::contiguous(&flat);
                strides.pop();
                strides.extend([width as i64, 1]);
                let begin = places[i] - srcs[i].size() / size + if i == 0 { first * width } else { 0 };
                maps.push(Map { offset: begin as i64, strides });
                parts.push(part);
            }
            if !parts.is_empty() {
                let op = Op::Place(Box::new(Place { maps, fill: Some(0i64.into()) }));
                let laid = Tensor::within(op, parts, flat.clone(), out.dtype());
                total = Some(match total {
                    None => laid,
                    Some(sum) => sum + laid,
                });
            }
            masks.extend(mask.map(|mask| {
                let mut to = Shape::from(mask.shape());
                to[n - 1] = s;
                let strides = shape::contiguous(&to);
                if mask.shape()[n - 1] == s { mask } else { Place::one(&mask, Map { offset: 0, strides }, &to) }
            }));
        }
        let part = |i: usize| {
            let length = srcs[i].size() / size;
            let of = |total: &Tensor| total.narrow(n - 2, places[i] - length, length).reshape_to(srcs[i].shape());
            wanted[i].then(|| total.as_ref().map_or_else(|| srcs[i].zeros_like(), of))
        };
        let mask = (!masks.is_empty()).then(|| concatenate(&masks, -2).expect("blocks of one tensor"));
        [part(0), part(1), part(2), mask].into_iter().take(srcs.len()).collect()
    }
}

/// Adds a row of the mask to scores, or hides those that it says are not seen.
fn mask_row<T: Real + Element>(shared: &Shared<'_, T>, dtype: DType, batch: usize, row: usize, scores: &mut [T]) {
    fn each<T: Copy, U: Copy>(shared: &Shared<'_, T>, batch: usize, row: usize, scores: &mut [T], f: impl Fn(T, U) -> T) {
        let (mask, strides) = shared.matrix::<U>(3, batch);
        let mask = mask.wrapping_offset(row as isize * strides.0);
        for (j, x) in scores.iter_mut().enumerate() {
            // SAFETY: the mask has an element for each score; one of numbers has their type.
            *x = f(*x, unsafe { *mask.wrapping_offset(j as isize * strides.1) });
        }
    }
    match dtype {
        DType::Bool => {
            each(shared, batch, row, scores, |x, seen: u8| if seen != 0 { x } else { T::of(f64::NEG_INFINITY) });
        }
        _ => each(shared, batch, row, scores, |x, mask: T| x + mask),
    }
}

/// The product of matrices whose shapes fit.
fn product(a: &Tensor, b: &Tensor) -> Tensor {
    matmul(a, b).expect("shapes fit by construction")
}

impl Structured for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn key(&self) -> u64 {
        self.scale.to_bits() << 1 ^ self.scale.to_bits() >> 63 << 7 ^ self.causal as u64
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Option<Tensor> {
        let wanted: Vec<bool> = (0..srcs.len()).map(|k| k == i).collect();
        self.pull(&wanted, srcs, out, g).swap_remove(i)
    }

    fn gradients(&self, wanted: &[bool], srcs: &[Tensor], out: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
        self.pull(wanted, srcs, out, g)
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        match out.dtype {
            DType::F32 => self.run::<f32>(srcs, out),
            _ => self.run::<f64>(srcs, out),
        }
    }

    fn cost(&self, srcs: &[&[usize]], out: &[usize]) -> usize {
        let [.., s, d] = *srcs[1] else { return 0 };
        let depth = (d + srcs[2][srcs[2].len() - 1]) / 16 + 1;
        (shape::size(&out[..out.len() - 1])).saturating_mul(s + 1).saturating_mul(depth)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let n = out.shape.len();
        let mask = match srcs.get(3) {
            Some(mask) if mask.dtype == DType::Bool => "select(fx_none(), score, mask(i) != 0u)",
            Some(_) => "score + bitcast<f32>(mask(i))",
            None => "score",
        };
        let code = format!(
            "fn masked(score: f32, i: u32) -> f32 {{\n    return {mask};\n}}\n\nfn scale() -> f32 {{\n    return {:?};\n}}\n",
            self.scale as f32
        );
        let pass = Pass::groups(template!("attention"), out.size() / out.last()).code(code);
        let pass =
            pass.sizes([("t", out.shape[n - 2]), ("e", out.last() - 1), ("s", srcs[1].shape[n - 2]), ("d", srcs[1].last())]);
        let pass = pass.sizes([("causal", self.causal as usize)]).operand("q", 0).operand("k", 1).operand("v", 2);
        let pass = if srcs.len() > 3 { pass.operand("mask", 3) } else { pass };
        Ok(pass.bind("out", Binding::Memory(0, "f32")).into())
    }
}

/// softmax(scale · q kᵀ + mask) v over the last two axes, for queries (…, t, d), keys (…, s, d) and values (…, s, e); the leading
/// axes broadcast. `scale` is 1/√d unless given. A mask broadcasts to (…, t, s): truth values say which keys a query sees, numbers
/// are added. With `causal` the last query sees every key, the one before it one less, and so on. What sees nothing gives zeros.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool, scale: Option<f64>) -> Result<Tensor> {
    const OP: &str = "attention";
    apply::check_devices(OP, &[q, k, v])?;
    let (&[ref q_lead @ .., t, d], &[ref k_lead @ .., s, dk], &[ref v_lead @ .., sv, e]) = (q.shape(), k.shape(), v.shape())
    else {
        let shapes = [q, k, v].map(|x| show(x.shape())).join(", ");
        bail!(Shape, "{OP}: q is (…, t, d), k is (…, s, d) and v is (…, s, e), got shapes {shapes}");
    };
    if d != dk || s != sv {
        let shapes = [q, k, v].map(|x| show(x.shape())).join(", ");
        bail!(Shape, "{OP}: q is (…, t, d), k is (…, s, d) and v is (…, s, e), got shapes {shapes}");
    }
    let mut lead = shape::broadcast(OP, &shape::broadcast(OP, q_lead, k_lead)?, v_lead)?;
    if let Some(mask) = mask {
        apply::check_devices(OP, &[q, mask])?;
        let whole: Shape = lead.iter().copied().chain([t, s]).collect();
        let all = shape::broadcast(OP, mask.shape(), &whole)?;
        if all[all.len() - 2..] != [t, s] {
            bail!(Shape, "{OP}: a mask of shape {} does not broadcast to (…, {t}, {s})", show(mask.shape()));
        }
        lead = Shape::from(&all[..all.len() - 2]);
    }
    let dtype = q.dtype().promote(k.dtype()).promote(v.dtype()).to_float();
    let wide = |x: &Tensor, rows: usize, columns: usize| -> Result<Tensor> {
        let to: Shape = lead.iter().copied().chain([rows, columns]).collect();
        x.broadcast_to(&to).map_err(|e| e.renamed("broadcast_to", OP))
    };
    let mut srcs: Srcs = smallvec![wide(&q.cast(dtype), t, d)?, wide(&k.cast(dtype), s, d)?, wide(&v.cast(dtype), s, e)?];
    if let Some(mask) = mask {
        let mask = if mask.dtype() == DType::Bool { mask.clone() } else { mask.cast(dtype) };
        srcs.push(wide(&mask, t, s)?);
    }
    if scale.is_some_and(|scale| !scale.is_finite()) {
        bail!(Value, "{OP}: the scale must be a finite number, got {}", scale.unwrap_or_default());
    }
    let op = Attention { scale: scale.unwrap_or(1.0 / (d.max(1) as f64).sqrt()), causal };
    let shape: Shape = lead.iter().copied().chain([t, e + 1]).collect();
    let n = shape.len();
    Ok(Tensor::node(Op::Structured(Arc::new(op)), srcs, shape, dtype)?.narrow(n - 1, 0, e))
}
