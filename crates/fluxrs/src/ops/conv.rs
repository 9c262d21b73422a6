//! Convolutions: products whose right operand is read through the map of its patches.
//!
//! One op, closed under differentiation. Its gradient by w is such a convolution of x by g with stride and dilation exchanged, its
//! gradient by x one of g by w, or, where the stride is not 1, one for each residue of a position by the stride.

use super::reduce::Reduction;
use super::view::Slice;
use super::{Op, Place};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Srcs, Tensor};
use crate::hash::Hasher;
use crate::shape::{self, Map, Shape, Strides, show};
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

/// out[n, ℓ…, k, o…] = Σ w[ℓ…, k, c, r…] · x[n, ℓ…, c, o·stride + r·dilation − before, …] over c and r…, x being 0 beyond its edges.
pub struct Conv {
    /// For each spatial axis.
    pub along: SmallVec<[Along; 3]>,
    /// The number of axes ℓ, along which nothing is added up: groups.
    pub lead: usize,
    /// True if the result has its axes in the order (ℓ…, k, n, o…).
    pub swapped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Along {
    pub stride: usize,
    pub dilation: usize,
    /// Margin before the first element; negative where elements are left out.
    pub before: i64,
}

/// How a caller's window moves along a spatial axis.
#[derive(Clone, Copy)]
pub struct Step {
    pub stride: usize,
    pub dilation: usize,
    /// Margins before and after.
    pub pad: (i64, i64),
}

impl Conv {
    pub(crate) fn hash(&self, h: &mut Hasher) {
        h.add((self.lead as u64) << 1 | self.swapped as u64);
        for a in &self.along {
            h.add(a.stride as u64);
            h.add(a.dilation as u64);
            h.add(a.before as u64);
        }
    }

    /// The node for `x` (n, ℓ…, c, s…) and `w` (ℓ…, k, c, r…), with this many places along each spatial axis.
    fn apply(self, x: &Tensor, w: &Tensor, places: &[usize]) -> Result<Tensor> {
        let lead = &w.shape()[..self.lead];
        let (n, k) = (x.shape()[0], w.shape()[self.lead]);
        let shape: Shape = match self.swapped {
            false => [&[n], lead, &[k], places].concat().into(),
            true => [lead, &[k, n], places].concat().into(),
        };
        Tensor::node(Op::Conv(Box::new(self)), smallvec![x.clone(), w.clone()], shape, x.dtype())
    }

    pub(crate) fn gradient(&self, i: usize, srcs: &[Tensor], g: &Tensor) -> Option<Tensor> {
        let (x, w) = (&srcs[0], &srcs[1]);
        let (lead, ndim) = (self.lead, g.ndim());
        // Back in the order (n, ℓ…, k, o…).
        let turned = self.swapped.then(|| g.permute(&[&[lead + 1], &axes(0..lead + 1)[..], &axes(lead + 2..ndim)].concat()));
        let g = turned.as_ref().unwrap_or(g);
        // The sizes are those of operands.
        match i {
            0 => by_input(&self.along, lead, x.shape(), w, g).expect("the shape of an operand"),
            _ => Some(self.by_kernel(x, w.shape(), g).expect("the shape of an operand")),
        }
    }

    /// Σ x[n, ℓ…, c, o·stride + r·dilation − before] · g[n, ℓ…, k, o] over n and o: a convolution of x by g whose channels are the
    /// samples. A long sum is cut into parts, as far as n goes, which are added up behind it.
    fn by_kernel(&self, x: &Tensor, w: &[usize], g: &Tensor) -> Result<Tensor> {
        let lead = self.lead;
        let parts = parts(x.shape()[0], &g.shape()[lead + 2..], w, lead);
        let cut = |t: &Tensor| t.reshape_to(&[&[parts, t.shape()[0] / parts], &t.shape()[1..]].concat());
        let (x, g) = (cut(x), cut(g));
        // (part, n, ℓ…, c, s…) to (c, part, ℓ…, n, s…), and (part, n, ℓ…, k, o…) to (part, ℓ…, k, n, o…).
        let (middle, spatial) = (axes(2..lead + 2), axes(lead + 3..x.ndim()));
        let x = x.permute(&[&[lead + 2, 0], &middle[..], &[1], &spatial].concat());
        let g = g.permute(&[&[0], &middle[..], &[lead + 2, 1], &spatial].concat());
        let along = self.along.iter().map(|a| Along { stride: a.dilation, dilation: a.stride, before: a.before }).collect();
        let out = Conv { along, lead: lead + 1, swapped: true }.apply(&x, &g, &w[lead + 2..])?;
        Ok(if parts == 1 { out.reshape_to(w) } else { out.reduce_axes(Reduction::Sum, 1) })
    }
}

/// Multiply-adds of one part of a long sum at least.
const PART: usize = 1 << 19;
/// Parts that are enough, even for machines with many cores, and the elements of all their results unless one has more.
const ENOUGH: usize = 32;
const RESULTS: usize = 1 << 21;

/// Into how many parts a gradient by the kernel `w` is cut: it depends on shapes alone, and divides `n`.
fn parts(n: usize, places: &[usize], w: &[usize], lead: usize) -> usize {
    let groups = w[..lead].iter().product::<usize>().max(1);
    let work = shape::size(w).saturating_mul(shape::size(places)).saturating_mul(n);
    let wanted = (ENOUGH / groups).min(RESULTS / shape::size(w).max(1)).min(work / PART).min(n);
    (1..=wanted).rev().find(|&p| n.is_multiple_of(p)).unwrap_or(1)
}

/// The places along an axis whose position, counted with its margin, has one residue by the stride.
struct Phase {
    /// The first of them, and how many there are.
    start: usize,
    count: usize,
    /// The elements of the kernel that reach them, from the last.
    taps: Slice,
    dilation: usize,
    before: i64,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The phases of `n` places that a kernel of `r` elements reaches: place + before = o·stride + tap·dilation.
fn phases(a: &Along, n: usize, r: usize) -> Vec<Phase> {
    let common = gcd(a.dilation, a.stride);
    let (step, dilation) = (a.stride / common, a.dilation / common);
    let phase = |start: usize| {
        let left = |tap: usize| start as i128 + a.before as i128 - tap as i128 * a.dilation as i128;
        let first = (0..step.min(r)).find(|&tap| left(tap) % a.stride as i128 == 0)?;
        let taps = (r - first).div_ceil(step);
        Some(Phase {
            start,
            count: (n - start).div_ceil(a.stride),
            taps: Slice { start: first + step * (taps - 1), step: -(step as isize), len: taps },
            dilation,
            before: (taps as i64 - 1) * dilation as i64 - (left(first) / a.stride as i128) as i64,
        })
    };
    (0..a.stride.min(n)).filter_map(phase).collect()
}

/// Σ w[ℓ…, k, c, r…] · g[n, ℓ…, k, o…] over k, o and r with o·stride + r·dilation − before = i, for each place i of the shape `to`
/// (n, ℓ…, c, i…); None if the kernel reaches none.
fn by_input(along: &[Along], lead: usize, to: &[usize], w: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
    let (kernel, places) = (&w.shape()[lead + 2..], &to[lead + 2..]);
    let apart = |(a, &r): (&Along, &usize)| (r - 1).saturating_mul(a.dilation) < a.stride;
    if along.iter().any(|a| a.stride > 1) && along.iter().zip(kernel).all(apart) {
        return side_by_side(along, lead, to, w, g).map(Some);
    }
    let w = w.permute(&[&axes(0..lead)[..], &[lead + 1, lead], &axes(lead + 2..w.ndim())].concat());
    let all: Vec<Vec<Phase>> = along.iter().zip(places).zip(kernel).map(|((a, &n), &r)| phases(a, n, r)).collect();
    let layout = shape::contiguous(to);
    let (mut sources, mut maps) = (Srcs::new(), SmallVec::new());
    for k in 0..all.iter().map(Vec::len).product() {
        let mut rest = k;
        let mut map = Map { offset: 0, strides: layout.clone() };
        let mut taps: Vec<Slice> = w.shape()[..lead + 2].iter().map(|&len| Slice { start: 0, step: 1, len }).collect();
        let (mut steps, mut counts) = (SmallVec::new(), Shape::new());
        for (d, list) in all.iter().enumerate() {
            let phase = &list[rest % list.len()];
            rest /= list.len();
            map.offset += phase.start as i64 * layout[lead + 2 + d];
            map.strides[lead + 2 + d] *= along[d].stride as i64;
            taps.push(phase.taps);
            steps.push(Along { stride: 1, dilation: phase.dilation, before: phase.before });
            counts.push(phase.count);
        }
        let w = w.slice(&taps);
        // Turned round it is contiguous in no direction, and it is read for each sample.
        let w = if to[0] > 1 { w.copied() } else { w };
        sources.push(Conv { along: steps, lead, swapped: false }.apply(g, &w, &counts)?);
        maps.push(map);
    }
    if let [only] = &sources[..]
        && only.shape() == to
    {
        return Ok(Some(only.clone()));
    }
    Ok((!sources.is_empty()).then(|| Place::several(sources, maps, to)))
}

/// The same where no place is reached twice: one product for all elements of the kernel, whose results are laid side by side.
fn side_by_side(along: &[Along], lead: usize, to: &[usize], w: &Tensor, g: &Tensor) -> Result<Tensor> {
    let (kernel, places) = (&w.shape()[lead + 2..], &g.shape()[lead + 2..]);
    let d = kernel.len();
    let w = w.permute(&[&axes(0..lead)[..], &[lead + 1], &axes(lead + 2..w.ndim()), &[lead]].concat());
    let rows = shape::size(&w.shape()[lead..=lead + d]);
    let ones = vec![1; d];
    let w = w.reshape_to(&[&w.shape()[..lead], &[rows, w.shape()[lead + 1 + d]], &ones].concat());
    let one = along.iter().map(|_| Along { stride: 1, dilation: 1, before: 0 }).collect();
    let product = Conv { along: one, lead, swapped: false }.apply(g, &w, places)?;
    // (n, ℓ…, c, r…, o…), laid into a place with room for all that the kernel reaches, of which the wanted one is a part.
    let parts = product.reshape_to(&[&to[..lead + 2], kernel, places].concat());
    let mut room = Shape::from(to);
    let mut part: Vec<Slice> = to.iter().map(|&len| Slice { start: 0, step: 1, len }).collect();
    let mut first: SmallVec<[usize; 3]> = SmallVec::new();
    for (i, a) in along.iter().enumerate() {
        let start = a.before.max(0) as usize;
        first.push((-a.before).max(0) as usize);
        let reach = first[i] + (places[i] - 1) * a.stride + (kernel[i] - 1) * a.dilation + 1;
        room[lead + 2 + i] = reach.max(start + to[lead + 2 + i]);
        part[lead + 2 + i].start = start;
    }
    shape::check("conv", &room)?;
    let layout = shape::contiguous(&room);
    let (front, behind) = layout.split_at(lead + 2);
    let mut map = Map { offset: 0, strides: Strides::from_slice(front) };
    map.strides.extend(behind.iter().zip(along).map(|(&s, a)| s * a.dilation as i64));
    map.strides.extend(behind.iter().zip(along).map(|(&s, a)| s * a.stride as i64));
    map.offset = behind.iter().zip(&first).map(|(&s, &f)| s * f as i64).sum();
    Ok(Place::one(&parts, map, &room).slice(&part))
}

fn axes(range: Range<usize>) -> Vec<usize> {
    range.collect()
}

/// The spatial axes of an input (n, c, s…) or (c, s…) and a kernel (k, c, r…), and the input with its first axis.
fn operands(op: &str, x: &Tensor, w: &Tensor, steps: &[Step]) -> Result<(Tensor, Tensor)> {
    let d = steps.len();
    if !(1..=3).contains(&d) {
        bail!(Shape, "{op}: a kernel has one to three spatial axes behind its two of channels, got shape {}", show(w.shape()));
    }
    if w.ndim() != d + 2 || x.ndim() != d + 2 && x.ndim() != d + 1 {
        bail!(
            Shape,
            "{op}: {d} spatial axes are wanted: a kernel of {} axes and an input of {} (a sample) or {} (a batch), got shapes {} and {}",
            d + 2,
            d + 1,
            d + 2,
            show(w.shape()),
            show(x.shape())
        );
    }
    super::apply::check_devices(op, &[x, w])?;
    let dtype = x.dtype().promote(w.dtype());
    let dtype = if dtype == DType::Bool { DType::I64 } else { dtype };
    let (x, w) = (x.cast(dtype), w.cast(dtype));
    let batch = if x.ndim() == d + 1 { x.reshape_to(&[&[1], x.shape()].concat()) } else { x };
    Ok((batch, w))
}

/// A length that margins, strides and dilations make, if it is at least 1 and possible.
fn possible(op: &str, n: i128, what: impl FnOnce() -> String) -> Result<usize> {
    if n < 1 {
        bail!(Shape, "{op}: {}", what());
    }
    match usize::try_from(n) {
        Ok(n) if n <= shape::MOST_ELEMENTS => Ok(n),
        _ => bail!(Value, "{op}: an axis would have the length {n}; at most 2^60 - 1 is possible"),
    }
}

fn check_groups(op: &str, groups: usize, n: usize, what: &str) -> Result<()> {
    if groups == 0 || !n.is_multiple_of(groups) {
        bail!(Shape, "{op}: {groups} groups do not divide {n} {what}");
    }
    Ok(())
}

fn along(steps: &[Step]) -> SmallVec<[Along; 3]> {
    steps.iter().map(|s| Along { stride: s.stride, dilation: s.dilation, before: s.pad.0 }).collect()
}

/// The lengths that a kernel spans.
fn spans(w: &[usize], steps: &[Step]) -> Vec<i128> {
    w[2..].iter().zip(steps).map(|(&r, s)| (r as i128 - 1) * s.dilation as i128 + 1).collect()
}

/// The correlation of x (n, c, s…), or of one sample (c, s…), with the kernel w (k, c / groups, r…).
pub fn conv(x: &Tensor, w: &Tensor, steps: &[Step], groups: usize) -> Result<Tensor> {
    let (batch, w) = operands("conv", x, w, steps)?;
    let (n, c, k) = (batch.shape()[0], batch.shape()[1], w.shape()[0]);
    check_groups("conv", groups, c, "channels of the input")?;
    check_groups("conv", groups, k, "channels of the result")?;
    if w.shape()[1] != c / groups {
        let of = if groups > 1 { format!(" in {groups} groups") } else { String::new() };
        let wanted = w.shape()[1] * groups;
        bail!(
            Shape,
            "conv: the input has {c} channels, the kernel takes {wanted}{of}: shapes {} and {}",
            show(x.shape()),
            show(w.shape())
        );
    }
    let mut places = Shape::new();
    for ((s, span), &size) in steps.iter().zip(spans(w.shape(), steps)).zip(&batch.shape()[2..]) {
        let wide = size as i128 + s.pad.0 as i128 + s.pad.1 as i128;
        let n = if span < 1 || wide < span { 0 } else { (wide - span) / s.stride as i128 + 1 };
        places.push(possible("conv", n, || {
            let dilated = if steps.iter().any(|s| s.dilation > 1) { ", dilated," } else { "" };
            let padded = if steps.iter().any(|s| s.pad != (0, 0)) { ", with its margins" } else { "" };
            format!(
                "the kernel {}{dilated} does not fit into the input {}{padded}",
                show(&w.shape()[2..]),
                show(&batch.shape()[2..])
            )
        })?);
    }
    let grouped = batch.reshape_to(&[&[n, groups, c / groups], &batch.shape()[2..]].concat());
    let kernels = w.reshape_to(&[&[groups, k / groups, c / groups], &w.shape()[2..]].concat());
    let out = Conv { along: along(steps), lead: 1, swapped: false }.apply(&grouped, &kernels, &places)?;
    let front: &[usize] = if x.ndim() < w.ndim() { &[k] } else { &[n, k] };
    Ok(out.reshape_to(&[front, &places].concat()))
}

/// The gradient of `conv` with the kernel w (c, k / groups, r…) by its input, at x (n, c, s…) or (c, s…): a convolution the other way
/// round, from places to those that they come from. A negative margin adds places that the kernel may not reach.
pub fn conv_transpose(x: &Tensor, w: &Tensor, steps: &[Step], groups: usize) -> Result<Tensor> {
    let op = "conv_transpose";
    let (batch, w) = operands(op, x, w, steps)?;
    let (n, c) = (batch.shape()[0], batch.shape()[1]);
    check_groups(op, groups, c, "channels of the input")?;
    if w.shape()[0] != c {
        bail!(
            Shape,
            "{op}: the input has {c} channels, the kernel takes {}: shapes {} and {}",
            w.shape()[0],
            show(x.shape()),
            show(w.shape())
        );
    }
    let mut places = Shape::new();
    for (d, (s, span)) in steps.iter().zip(spans(w.shape(), steps)).enumerate() {
        let size = batch.shape()[2 + d] as i128;
        let all = (size - 1) * s.stride as i128 + span - s.pad.0 as i128 - s.pad.1 as i128;
        places.push(possible(op, if size < 1 || span < 1 { 0 } else { all }, || {
            format!(
                "nothing is left of the input {} with the kernel {} and these margins",
                show(&batch.shape()[2..]),
                show(&w.shape()[2..])
            )
        })?);
    }
    let each = w.shape()[1];
    let grouped = batch.reshape_to(&[&[n, groups, c / groups], &batch.shape()[2..]].concat());
    let kernels = w.reshape_to(&[&[groups, c / groups, each], &w.shape()[2..]].concat());
    let to: Shape = [&[n, groups, each], &places[..]].concat().into();
    shape::check(op, &to)?;
    let out = match by_input(&along(steps), 1, &to, &kernels, &grouped)? {
        Some(out) => out,
        // No element of the kernel reaches a place: zeros.
        None => &grouped.sum(None, false)?.broadcast_to(&to)? * 0.0,
    };
    let front: &[usize] = if x.ndim() < w.ndim() { &[groups * each] } else { &[n, groups * each] };
    Ok(out.reshape_to(&[front, &places].concat()))
}
