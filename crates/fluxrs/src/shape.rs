//! Shapes, broadcasting, and affine maps from an index to a position in a buffer.

use crate::bail;
use crate::error::{Error, Result};
use smallvec::SmallVec;

pub type Shape = SmallVec<[usize; 4]>;
pub type Strides = SmallVec<[i64; 4]>;

/// Elements that a tensor may have: of any type they take less than 2⁶³ bytes, so that sizes, strides and offsets never overflow.
pub const MOST_ELEMENTS: usize = (1 << 60) - 1;
/// Axes that a tensor may have, as NumPy's: sets of them are bits of a word.
pub const MOST_AXES: usize = 64;

/// True if a tensor can have this shape. A length of 0 counts as 1, so that any part of a possible shape is possible too.
pub fn is_possible(shape: &[usize]) -> bool {
    let within = |n: usize, &k: &usize| n.checked_mul(k.max(1)).filter(|&n| n <= MOST_ELEMENTS);
    shape.len() <= MOST_AXES && shape.iter().try_fold(1, within).is_some()
}

/// An error for a shape that no tensor can have, such as one whose lengths an op has added up or multiplied.
#[inline]
pub fn check(op: &str, shape: &[usize]) -> Result<()> {
    if is_possible(shape) { Ok(()) } else { Err(impossible(op, shape)) }
}

#[cold]
fn impossible(op: &str, shape: &[usize]) -> Error {
    if shape.len() > MOST_AXES {
        return Error::Value(format!("{op}: the result would have {} axes; at most {MOST_AXES} are possible", shape.len()));
    }
    Error::Value(format!("{op}: the result would have the shape {}; at most 2^60 - 1 elements are possible", show(shape)))
}

/// Memory that a list of sizes or strides takes beside itself.
pub(crate) fn spilled<A: smallvec::Array>(list: &SmallVec<A>) -> usize {
    if list.spilled() { list.capacity() * size_of::<A::Item>() } else { 0 }
}

/// The number of elements of a possible shape.
pub fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides of a contiguous array.
pub fn contiguous(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    let mut step = 1i64;
    for (s, &n) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step *= n.max(1) as i64;
    }
    strides
}

/// A shape as NumPy prints it: `()`, `(3,)`, `(2, 5)`.
pub fn show(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ")),
    }
}

/// NumPy's broadcast of two shapes.
pub fn broadcast(op: &str, a: &[usize], b: &[usize]) -> Result<Shape> {
    if a == b || b.is_empty() {
        return Ok(Shape::from_slice(a));
    }
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut out = Shape::from(long);
    let lead = long.len() - short.len();
    for (o, &n) in out[lead..].iter_mut().zip(short) {
        if *o == 1 {
            *o = n;
        } else if n != 1 && n != *o {
            bail!(
                Shape,
                "{op}: shapes {} and {} do not broadcast: every axis, counted from the last, must be equal or 1",
                show(a),
                show(b)
            );
        }
    }
    Ok(out)
}

/// An axis counted from either end, as a plain index.
pub fn axis(op: &str, axis: isize, ndim: usize) -> Result<usize> {
    let plain = if axis < 0 { axis + ndim as isize } else { axis };
    if plain < 0 || plain as usize >= ndim {
        bail!(Index, "{op}: axis {axis} is out of range for a tensor of {ndim} axes");
    }
    Ok(plain as usize)
}

/// Several axes as plain indices in increasing order; `None` means all of them.
pub fn axes(op: &str, axes: Option<&[isize]>, ndim: usize) -> Result<SmallVec<[usize; 4]>> {
    let Some(list) = axes else { return Ok((0..ndim).collect()) };
    let mut out = SmallVec::new();
    for &a in list {
        let plain = axis(op, a, ndim)?;
        if out.contains(&plain) {
            bail!(Value, "{op}: axis {a} is given twice");
        }
        out.push(plain);
    }
    out.sort_unstable();
    Ok(out)
}

/// An element of a window is zero unless `at` + Σ steps · (index along the inner axis, index along the columns' axis) is below `len`
/// and not negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    pub inner: usize,
    pub col: usize,
    pub at: i64,
    pub steps: (i64, i64),
    pub len: usize,
}

/// An affine map: index (i₀, i₁, …) ↦ offset + Σ strideₖ·iₖ, in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    pub offset: i64,
    pub strides: Strides,
}

impl Map {
    pub fn contiguous(shape: &[usize]) -> Map {
        Map { offset: 0, strides: contiguous(shape) }
    }

    /// Reads an array of shape `from` (laid out by `self`) as if it had the broadcast shape `to`.
    pub fn broadcast(&self, from: &[usize], to: &[usize]) -> Map {
        let mut strides: Strides = SmallVec::from_elem(0, to.len() - from.len());
        strides.extend(
            from.iter().zip(&self.strides).zip(&to[to.len() - from.len()..]).map(
                |((&f, &s), &t)| {
                    if f == 1 && t != 1 { 0 } else { s }
                },
            ),
        );
        Map { offset: self.offset, strides }
    }

    pub fn permute(&self, perm: &[usize]) -> Map {
        Map { offset: self.offset, strides: perm.iter().map(|&p| self.strides[p]).collect() }
    }

    /// True if an array of `shape` laid out so is contiguous from its offset on.
    pub fn is_contiguous(&self, shape: &[usize]) -> bool {
        is_contiguous(shape, &self.strides)
    }

    /// The same elements in the same order under another shape, if an affine map can say it.
    pub fn reshape(&self, from: &[usize], to: &[usize]) -> Option<Map> {
        let strides = reshape_strides(from, &self.strides, to)?;
        Some(Map { offset: self.offset, strides })
    }

    /// `self` reads positions of an array of `inner_shape` (contiguous); that array's element at
    /// multi-index j lies at `inner(j)`. The composition, if it is affine.
    pub fn then(&self, shape: &[usize], inner: &Map, inner_shape: &[usize]) -> Option<Map> {
        if size(shape) == 0 {
            return Some(Map { offset: 0, strides: SmallVec::from_elem(0, shape.len()) });
        }
        // A contiguous inner array only shifts positions, whatever the outer map does.
        if inner.is_contiguous(inner_shape) {
            return Some(Map { offset: self.offset + inner.offset, strides: self.strides.clone() });
        }
        let layout = contiguous(inner_shape);
        let split = |position: i64| -> Strides {
            let mut rest = position;
            inner_shape
                .iter()
                .zip(&layout)
                .map(|(&n, &l)| {
                    let digit = if n == 1 { 0 } else { rest.div_euclid(l) };
                    rest -= digit * l;
                    digit
                })
                .collect()
        };
        let start = split(self.offset);
        let mut low = start.clone();
        let mut high = start.clone();
        let mut offset = inner.offset;
        for (&digit, &s) in start.iter().zip(&inner.strides) {
            offset += digit * s;
        }
        let mut strides = Strides::new();
        for (&n, &stride) in shape.iter().zip(&self.strides) {
            if n == 1 || stride == 0 {
                strides.push(0);
                continue;
            }
            // A stride is a step along one inner axis (or several at once, for a diagonal).
            let digits: Strides = split(stride.abs()).iter().map(|d| d * stride.signum()).collect();
            let mut step = 0;
            for (k, &d) in digits.iter().enumerate() {
                step += d * inner.strides[k];
                let reach = d * (n as i64 - 1);
                if reach < 0 { low[k] += reach } else { high[k] += reach }
            }
            strides.push(step);
        }
        // No axis may carry over into its neighbour, else the map is not affine in the inner index.
        let fits = inner_shape.iter().enumerate().all(|(k, &n)| low[k] >= 0 && high[k] < n as i64);
        fits.then_some(Map { offset, strides })
    }
}

/// True if elements with these strides lie one after the other in row-major order.
pub fn is_contiguous(shape: &[usize], strides: &[i64]) -> bool {
    let mut step = 1i64;
    for (&s, &n) in strides.iter().zip(shape).rev() {
        if n == 0 {
            return true;
        }
        if n != 1 {
            if s != step {
                return false;
            }
            step *= n as i64;
        }
    }
    true
}

fn reshape_strides(from: &[usize], strides: &[i64], to: &[usize]) -> Option<Strides> {
    if size(from) == 0 {
        return Some(SmallVec::from_elem(0, to.len()));
    }
    // Axes of length 1 say nothing; runs of axes that are contiguous among themselves are one.
    let mut runs: SmallVec<[(usize, i64); 4]> = SmallVec::new();
    for (&n, &s) in from.iter().zip(strides).filter(|&(&n, _)| n != 1) {
        match runs.last_mut() {
            Some((len, step)) if *step == s * n as i64 => {
                *len *= n;
                *step = s;
            }
            _ => runs.push((n, s)),
        }
    }
    let mut out: Strides = SmallVec::from_elem(0, to.len());
    let mut run = runs.iter().rev();
    let (mut left, mut step) = (1usize, 0i64);
    for (k, &n) in to.iter().enumerate().rev().filter(|&(_, &n)| n != 1) {
        if left == 1 {
            (left, step) = *run.next()?;
        }
        if left % n != 0 {
            return None;
        }
        out[k] = step;
        left /= n;
        step *= n as i64;
    }
    Some(out)
}

/// Merges neighbouring axes that every map walks as one and drops axes of length 1. Axes before
/// `fence` are not merged with axes behind it. Returns the new lengths and the new fence.
pub fn collapse(dims: &[usize], fence: usize, maps: &mut [&mut Map]) -> (Shape, usize) {
    let mut out = Shape::new();
    let mut new_fence = 0;
    let mut kept: SmallVec<[Strides; 8]> = maps.iter().map(|_| Strides::new()).collect();
    for segment in [0..fence, fence..dims.len()] {
        let start = out.len();
        if segment.start == fence {
            new_fence = start;
        }
        for k in segment.filter(|&k| dims[k] != 1) {
            let n = dims[k];
            let joins = out.len() > start && maps.iter().zip(&kept).all(|(m, s)| *s.last().unwrap() == m.strides[k] * n as i64);
            if joins {
                *out.last_mut().unwrap() *= n;
            } else {
                out.push(n);
            }
            for (m, s) in maps.iter().zip(&mut kept) {
                if joins {
                    s.pop();
                }
                s.push(m.strides[k]);
            }
        }
    }
    for (m, s) in maps.iter_mut().zip(kept) {
        m.strides = s;
    }
    (out, new_fence)
}
