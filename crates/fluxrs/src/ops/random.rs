//! Random numbers: Philox4x32-10, counter-based. A node carries its seed and the number of its first block as data, so that the
//! plan that draws it replays with fresh numbers, any thread can make any part of it, and a GPU makes the same bits.
//!
//! Block c of the stream with seed s is `philox(c, s)`: four words of 32 bits. An element takes one word, or two where it has 64 bits;
//! elements take the words in order, and a node begins with a block of its own.

use super::poll::{PIECE, Poll};
use super::shader::{Arg, Pass, Shader, Spec, template};
use super::stream::reserve;
use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::device::Device;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::per_isa;
use crate::shape::{self, Shape};
use crate::simd::isa::{Isa, Plain, level};
use crate::simd::math::Real;
use smallvec::smallvec;
use std::sync::Arc;

pub(crate) use super::stream::{Locked, lock};
pub use super::stream::{Replay, Stream, drawn, philox, seed, set_state, state};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// [0, 1): the upper 24 bits of a word, or the upper 53 of two.
    Uniform,
    /// Box–Muller: a pair of uniforms makes a pair of normals.
    Normal,
    /// `srcs[2]` + ⌊word · `srcs[3]` / 2³²⌋.
    Integers,
    /// The same with words of 64 bits, for more than 2³² values.
    WideIntegers,
    /// 64 random bits.
    Bits,
}

/// `srcs[0]` the seed, `srcs[1]` the first block, both as data.
struct Random {
    kind: Kind,
}

/// Elements that a task makes: whole blocks.
const TASK: usize = crate::pool::grain(1 << 12);

/// Normals from pairs of uniforms; u is in (0, 1], v in [0, 1). In arithmetic without FMA, which is the same on every machine.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set, in one arithmetic")]
unsafe fn box_muller_body<T: Real, I: Isa>(u: &mut [T], v: &mut [T]) {
    for (u, v) in u.iter_mut().zip(v) {
        let radius = (T::of(-2.0) * u.log::<Plain>()).sqrt::<Plain>();
        let angle = T::of(std::f64::consts::TAU) * *v;
        (*u, *v) = (radius * angle.cos::<Plain>(), radius * angle.sin::<Plain>());
    }
}
per_isa! {
    fn box_muller[T: Real](u: &mut [T], v: &mut [T]) = box_muller_body
}

/// A word as a float32 in [0, 1).
fn unit32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// Two words as a float64 in [0, 1).
fn unit64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn pair(block: [u32; 4]) -> [u64; 2] {
    [block[0] as u64 | (block[1] as u64) << 32, block[2] as u64 | (block[3] as u64) << 32]
}

/// Blocks made side by side, one a lane.
const LANES: usize = 16;

/// The words of the blocks from `first` on; all of `words` is whole groups of lanes.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "compiled for every instruction set")]
unsafe fn words_body<I: Isa>(words: &mut [u32], first: u64, seed: u64) {
    for (group, words) in words.chunks_exact_mut(4 * LANES).enumerate() {
        let start = first.wrapping_add((group * LANES) as u64);
        let counter: [u64; LANES] = std::array::from_fn(|i| start.wrapping_add(i as u64));
        let mut c = [counter.map(|c| c as u32), counter.map(|c| (c >> 32) as u32), [0; LANES], [0; LANES]];
        let mut key = [seed as u32, (seed >> 32) as u32];
        for _ in 0..10 {
            let mut next = [[0; LANES]; 4];
            for i in 0..LANES {
                let (a, b) = (0xd2511f53 * c[0][i] as u64, 0xcd9e8d57 * c[2][i] as u64);
                next[0][i] = (b >> 32) as u32 ^ c[1][i] ^ key[0];
                next[1][i] = b as u32;
                next[2][i] = (a >> 32) as u32 ^ c[3][i] ^ key[1];
                next[3][i] = a as u32;
            }
            c = next;
            key = [key[0].wrapping_add(0x9e3779b9), key[1].wrapping_add(0xbb67ae85)];
        }
        for (i, block) in words.chunks_exact_mut(4).enumerate() {
            block.copy_from_slice(&[c[0][i], c[1][i], c[2][i], c[3][i]]);
        }
    }
}
per_isa! {
    fn words_of[](words: &mut [u32], first: u64, seed: u64) = words_body
}

/// Blocks made at a time: whole groups of lanes.
const AT_ONCE: usize = 16 * LANES;

/// Calls `take` with the words of the blocks that `n` elements take, `N` elements a block, a few at a time: the first element's number
/// and the blocks.
fn blocks<const N: usize>(n: usize, from: Stream, mut take: impl FnMut(usize, &[[u32; 4]])) {
    let mut words = [0u32; 4 * AT_ONCE];
    let kernel = words_of(level());
    let at_once = words.len() / 4 * N;
    for first in (0..n).step_by(at_once) {
        let wanted = (n - first).min(at_once).div_ceil(N);
        let made = &mut words[..wanted.next_multiple_of(LANES) * 4];
        // SAFETY: the level is the machine's.
        unsafe { kernel(made, from.counter.wrapping_add((first / N) as u64), from.seed) };
        take(first, &made.as_chunks().0[..wanted]);
    }
}

/// Runs `task` on pieces of `out`, each with its own part of the stream, `N` elements a block.
fn in_pieces<T: Send, const N: usize>(
    poll: Poll<'_>,
    out: &mut [T],
    from: Stream,
    task: impl Fn(&mut [T], Stream) + Sync,
) -> Result<()> {
    const { assert!(PIECE.is_multiple_of(TASK)) };
    poll.fill(out, 1, |start, piece| {
        for (t, out) in piece.chunks_mut(TASK).enumerate() {
            task(out, Stream { counter: from.counter.wrapping_add(((start + t * TASK) / N) as u64), ..from });
        }
        Ok(())
    })
}

/// Fills `out` from the stream at `from`, N elements a block.
fn draw<T: Element, const N: usize>(
    mut out: OperandMut<'_>,
    from: Stream,
    make: impl Fn([u32; 4]) -> [T; N] + Sync,
) -> Result<()> {
    in_pieces::<T, N>(out.poll, out.as_mut_slice(), from, |out, from| {
        let n = out.len();
        blocks::<N>(n, from, |first, words| {
            for (out, &block) in out[first..].chunks_mut(N).zip(words) {
                let made = make(block);
                match <&mut [T; N]>::try_from(&mut *out) {
                    Ok(whole) => *whole = made,
                    Err(_) => out.copy_from_slice(&made[..out.len()]),
                }
            }
        });
    })
}

/// Fills `out` with normals, two for each pair of uniforms: `make` gives the M pairs of a block, u's first.
fn draw_normal<T: Real + Element, const N: usize, const M: usize>(
    mut out: OperandMut<'_>,
    from: Stream,
    make: impl Fn([u32; 4]) -> [[T; M]; 2] + Sync,
) -> Result<()> {
    in_pieces::<T, N>(out.poll, out.as_mut_slice(), from, |out, from| {
        let n = out.len();
        blocks::<N>(n, from, |first, words| {
            // A few kilobytes: the stack of a thread may be small.
            let (mut u, mut v) = ([[T::default(); M]; AT_ONCE], [[T::default(); M]; AT_ONCE]);
            for (k, &block) in words.iter().enumerate() {
                [u[k], v[k]] = make(block);
            }
            let some = (n - first).min(words.len() * N);
            let (u, v) = (&mut u.as_flattened_mut()[..some.div_ceil(2)], &mut v.as_flattened_mut()[..some.div_ceil(2)]);
            // SAFETY: the level is the machine's.
            unsafe { box_muller::<T>(level())(u, v) };
            for (pair, (&mut u, &mut v)) in out[first..first + some].chunks_mut(2).zip(u.iter_mut().zip(v)) {
                pair[0] = u;
                if let Some(second) = pair.get_mut(1) {
                    *second = v;
                }
            }
        });
    })
}

fn scale(word: u64, count: u64, bits: u32) -> i64 {
    ((word as u128 * count as u128) >> bits) as i64
}

impl Structured for Random {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Uniform => "rand",
            Kind::Normal => "randn",
            Kind::Integers => "randint",
            Kind::WideIntegers => "randint",
            Kind::Bits => "random_bits",
        }
    }

    fn key(&self) -> u64 {
        self.kind as u64
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        let from = Stream { seed: srcs[0].as_int() as u64, counter: srcs[1].as_int() as u64 };
        let (low, count) = match srcs {
            [_, _, low, count] => (low.as_int(), count.as_int() as u64),
            _ => (0, 0),
        };
        let narrow = |w: u32| low.wrapping_add(scale(w as u64, count, 32));
        let wide = |w: u64| low.wrapping_add(scale(w, count, 64));
        match (self.kind, out.dtype) {
            (Kind::Uniform, DType::F32) => draw(out, from, |b| b.map(unit32)),
            (Kind::Uniform, _) => draw(out, from, |b| pair(b).map(unit64)),
            (Kind::Normal, DType::F32) => {
                const STEP: f32 = 1.0 / (1 << 24) as f32;
                draw_normal::<_, 4, 2>(out, from, |[a, b, c, d]| [[unit32(a) + STEP, unit32(c) + STEP], [unit32(b), unit32(d)]])
            }
            (Kind::Normal, _) => {
                const STEP: f64 = 1.0 / (1u64 << 53) as f64;
                draw_normal::<_, 2, 1>(out, from, |b| {
                    let [a, b] = pair(b).map(unit64);
                    [[a + STEP], [b]]
                })
            }
            (Kind::Integers, DType::I32) => draw(out, from, |b| b.map(|w| narrow(w) as i32)),
            (Kind::Integers, _) => draw(out, from, |b| b.map(narrow)),
            (Kind::WideIntegers, _) => draw(out, from, |b| pair(b).map(wide)),
            (Kind::Bits, _) => draw(out, from, |b| pair(b).map(|w| w as i64)),
        }
    }

    fn counter(&self) -> Option<usize> {
        Some(1)
    }

    fn cost(&self, _: &[&[usize]], out: &[usize]) -> usize {
        shape::size(out).saturating_mul(if self.kind == Kind::Normal { 8 } else { 3 })
    }

    fn shader(&self, _: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let pass = Pass::threads(template!("random"), out.size().div_ceil(4), 64).sizes([("elements", out.size())]);
        let pass = pass.number("seed", Arg::Wide(0)).number("first", Arg::Wide(1)).result("out");
        let integers = |pass: Pass| pass.number("least", Arg::Wide(2)).number("count", Arg::Wide(3));
        Ok(Shader::from(match self.kind {
            Kind::Uniform => pass.code(template!("random_uniform")),
            Kind::Normal => pass.code(template!("random_normal")),
            Kind::Integers => integers(pass.code(template!("random_integer"))),
            Kind::WideIntegers | Kind::Bits => return Err(" over more than 32 bits".into()),
        }))
    }
}

fn random(kind: Kind, shape: &[usize], dtype: DType, device: Device, extra: &[i64]) -> Result<Tensor> {
    let op = Random { kind };
    shape::check(op.name(), shape)?;
    let words = if dtype.bytes() == 8 && kind != Kind::Integers { 2 } else { 1 };
    let at = reserve((shape::size(shape) as u64).div_ceil(4 / words));
    let mut srcs = smallvec![Tensor::number(at.seed as i64), Tensor::number(at.counter as i64)];
    srcs.extend(extra.iter().map(|&n| Tensor::number(n)));
    Ok(Tensor::on(device, Op::Structured(Arc::new(op)), srcs, Shape::from(shape), dtype))
}

/// Uniform over [0, 1), in float32 or float64.
pub fn rand(shape: &[usize], dtype: DType) -> Result<Tensor> {
    rand_on(Device::CPU, shape, dtype)
}

/// Normal with mean 0 and deviation 1, in float32 or float64.
pub fn randn(shape: &[usize], dtype: DType) -> Result<Tensor> {
    randn_on(Device::CPU, shape, dtype)
}

/// As `rand`, drawn on a device.
pub fn rand_on(device: Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
    float("rand", dtype)?;
    random(Kind::Uniform, shape, dtype, device, &[])
}

/// As `randn`, drawn on a device.
pub fn randn_on(device: Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
    float("randn", dtype)?;
    random(Kind::Normal, shape, dtype, device, &[])
}

/// Uniform over [0, 1) in the shape, float type and place of `x`.
pub fn rand_like(x: &Tensor) -> Result<Tensor> {
    rand_on(x.device(), x.shape(), x.dtype().to_float())
}

/// Normal with mean 0 and deviation 1 in the shape, float type and place of `x`.
pub fn randn_like(x: &Tensor) -> Result<Tensor> {
    randn_on(x.device(), x.shape(), x.dtype().to_float())
}

fn float(op: &str, dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        bail!(Type, "{op}: dtype must be float32 or float64, got {dtype}; use randint for integers");
    }
    Ok(())
}

/// Integers `low ≤ n < high`, in int32 or int64. Scaled from 32 random bits, from 64 for more than 2³² values: a value is more
/// likely than another by at most (high − low)/2³², or /2⁶⁴.
pub fn randint(low: i64, high: i64, shape: &[usize], dtype: DType) -> Result<Tensor> {
    randint_on(Device::CPU, low, high, shape, dtype)
}

/// As `randint`, drawn on a device.
pub fn randint_on(device: Device, low: i64, high: i64, shape: &[usize], dtype: DType) -> Result<Tensor> {
    if !dtype.is_int() {
        bail!(Type, "randint: dtype must be int32 or int64, got {dtype}");
    }
    if low >= high {
        bail!(Value, "randint: no integer n has {low} <= n < {high}");
    }
    if dtype == DType::I32 && (low < i32::MIN as i64 || high > i32::MAX as i64 + 1) {
        bail!(Value, "randint: {low} to {high} does not fit in int32; use dtype='int64'");
    }
    let count = high.wrapping_sub(low);
    let kind = if (count as u64) >> 32 == 0 || dtype == DType::I32 { Kind::Integers } else { Kind::WideIntegers };
    random(kind, shape, dtype, device, &[low, count]).map_err(|e| e.renamed("wide_randint", "randint"))
}

/// True with probability `p`, which broadcasts to the shape.
pub fn bernoulli(p: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if !p.is_number() && shape::broadcast("bernoulli", p.shape(), shape)?.as_slice() != shape {
        bail!(Shape, "bernoulli: p of shape {} does not broadcast to {}", shape::show(p.shape()), shape::show(shape));
    }
    let dtype = if p.is_number() { DType::F32 } else { p.dtype().to_float() };
    super::Elementwise::less.apply(&[&rand_on(p.device(), shape, dtype)?, p])
}

/// The numbers 0..n in random order, as int64.
pub fn permutation(n: usize) -> Result<Tensor> {
    let bits = random(Kind::Bits, &[n], DType::I64, Device::CPU, &[]);
    bits.map_err(|e| e.renamed("random_bits", "permutation"))?.argsort(Some(0))
}
