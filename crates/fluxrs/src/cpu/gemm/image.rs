//! A copy of a part of an image, with zeros where a window reaches beyond its edges. Positions apart by a window's steps may be laid side by
//! side, so that what neighbouring places see is contiguous.
use super::lines::{MOST_SIDES, Side};
use super::simd::Simd;
use crate::shape::Bound;
use smallvec::SmallVec;
use std::ops::Range;

/// One axis of the copy.
pub(super) struct Axis {
    places: usize,
    /// Positions with one residue by it lie side by side.
    stride: usize,
    /// The image: its length, from one element to the next, and which position is the copy's first.
    len: usize,
    step: isize,
    first: i64,
    /// For each residue its number among those that the kernel reaches.
    slots: SmallVec<[Option<usize>; 4]>,
    used: usize,
    /// Positions of one residue.
    pub extent: usize,
    /// Residue and quotient of each of the kernel's elements.
    taps: SmallVec<[(usize, usize); 8]>,
}

impl Axis {
    /// Residues of the columns' steps lie side by side: for some places of the columns, and all the kernel's elements.
    pub fn apart(bound: &Bound, taps: usize, cols: &Side<'_>, places: &Range<usize>) -> Axis {
        let (dilation, stride) = (bound.steps.0 as usize, bound.steps.1 as usize);
        let taps: SmallVec<[(usize, usize); 8]> = (0..taps).map(|r| (r * dilation % stride, r * dilation / stride)).collect();
        let mut slots: SmallVec<[Option<usize>; 4]> = SmallVec::from_elem(None, stride);
        taps.iter().for_each(|t| slots[t.0] = Some(0));
        let mut used = 0;
        slots.iter_mut().flatten().for_each(|slot| {
            *slot = used;
            used += 1;
        });
        Axis {
            places: places.len(),
            stride,
            len: bound.len,
            step: cols.strides[bound.col] as isize / stride as isize,
            first: bound.at + places.start as i64 * stride as i64,
            slots,
            used,
            extent: places.len() + taps.iter().map(|t| t.1).max().unwrap_or(0),
            taps,
        }
    }

    /// All positions one after the other: for some places along the inner axis, and all along the columns'.
    pub fn whole(bound: &Bound, inner: &Range<usize>, cols: &Side<'_>) -> Axis {
        let reach = |n: usize, step: i64| n.saturating_sub(1) * step as usize;
        Axis {
            places: 1,
            stride: 1,
            len: bound.len,
            step: cols.strides[bound.col] as isize / bound.steps.1 as isize,
            first: bound.at + inner.start as i64 * bound.steps.0,
            slots: SmallVec::from_elem(Some(0), 1),
            used: 1,
            extent: reach(inner.len(), bound.steps.0) + reach(cols.lens[bound.col], bound.steps.1) + 1,
            taps: SmallVec::new(),
        }
    }

    /// The position in the image of one in the copy, if it is there.
    fn position(&self, residue: usize, at: usize) -> Option<isize> {
        let position = self.first + (residue + at * self.stride) as i64;
        (position >= 0 && position < self.len as i64).then_some(position as isize)
    }

    /// The positions of a residue that are in the image.
    fn inside(&self, residue: usize) -> Range<usize> {
        let from = self.first + residue as i64;
        let until = |end: i64| (end.max(0) as usize).div_ceil(self.stride).min(self.extent);
        let start = until(-from);
        start..until(self.len as i64 - from).max(start)
    }
}

pub(super) struct Image {
    pub axes: SmallVec<[Axis; 3]>,
    /// From one position to the next along each axis.
    pub pitches: SmallVec<[usize; 3]>,
    /// Positions of one residue along every axis, and of all.
    plane: usize,
    pub size: usize,
}

/// Bytes that are fetched ahead of a row: the next rows, or the next image.
const AHEAD: usize = 4096;

/// Elements behind a copy that are spoilt.
pub(super) const SPILL: usize = super::simd::MOST_LANES;

impl Image {
    pub fn new(axes: SmallVec<[Axis; 3]>) -> Image {
        let pitches = (0..axes.len()).map(|d| axes[d + 1..].iter().map(|a| a.extent).product()).collect();
        let plane = axes.iter().map(|a| a.extent).product();
        let size = axes.iter().map(|a| a.used).product::<usize>() * plane;
        Image { axes, pitches, plane, size }
    }

    /// Columns from the first place to the last, with those over the ends of rows.
    pub fn columns(&self) -> usize {
        self.axes.iter().zip(&self.pitches).map(|(a, p)| (a.places - 1) * p).sum::<usize>() + 1
    }

    /// Rows of positions, if none are laid apart.
    pub fn lines(&self) -> usize {
        self.size / self.axes[self.axes.len() - 1].extent
    }

    /// One of them: where it begins in memory, from position 0 on, and which of its positions are there; none of a row in a margin.
    pub fn line(&self, mut i: usize) -> (isize, Range<usize>) {
        let (last, outer) = self.axes.split_last().expect("an image has axes");
        let mut at = Some(last.first as isize * last.step);
        for axis in outer.iter().rev() {
            at = at.zip(axis.position(0, i % axis.extent)).map(|(at, p)| at + p * axis.step);
            i /= axis.extent;
        }
        at.map_or((0, 0..0), |at| (at, last.inside(0)))
    }

    /// From one position of a row to the next, in memory.
    pub fn step(&self) -> isize {
        self.axes[self.axes.len() - 1].step
    }

    /// Rows of places.
    pub fn rows(&self) -> usize {
        self.axes[..self.axes.len() - 1].iter().map(|a| a.places).product()
    }

    /// The column of a place, counted along every axis from the first copied.
    pub fn column(&self, index: &[usize; MOST_SIDES]) -> usize {
        index.iter().zip(&self.pitches).map(|(i, p)| i * p).sum::<usize>()
    }

    /// Where the row of patches of one of the kernel's elements begins.
    pub fn tap(&self, index: &[usize; MOST_SIDES]) -> isize {
        let (mut slot, mut at) = (0, 0);
        for ((a, &i), p) in self.axes.iter().zip(index).zip(&self.pitches) {
            let (residue, quotient) = a.taps[i];
            slot = slot * a.used + a.slots[residue].expect("the kernel reaches it");
            at += quotient * p;
        }
        (slot * self.plane + at) as isize
    }
}

/// An image to be copied.
pub(super) struct Copying<'a, T> {
    pub image: &'a Image,
    /// Position 0 along every axis.
    pub from: *const T,
    pub to: *mut T,
}

/// # Safety
/// The machine has the instruction set; the image is readable, and there is room for the copy and for what it spoils.
#[inline(always)]
pub(super) unsafe fn copy<S: Simd>(c: &Copying<'_, S::T>) {
    let axes = &c.image.axes;
    let (last, outer) = axes.split_last().expect("an image has axes");
    let mut to = c.to;
    // One residue of every axis after the other, in the order of memory: what a row spoils behind it is written later.
    for r in used(outer.first()) {
        for s in used(outer.get(1)) {
            for residue in used(Some(last)) {
                // SAFETY: the caller's promise.
                unsafe {
                    match outer {
                        [] => row::<S>(last, residue, Some(c.from), to),
                        [a] => plane::<S>((a, r), (last, residue), Some(c.from), to),
                        [a, b, ..] => {
                            for at in 0..a.extent {
                                let from = a.position(r, at).map(|p| c.from.wrapping_offset(p * a.step));
                                plane::<S>((b, s), (last, residue), from, to.add(at * c.image.pitches[0]));
                            }
                        }
                    }
                    to = to.add(c.image.plane);
                }
            }
        }
    }
}

/// The residues of an axis that are copied; 0 of one that is not there.
fn used(axis: Option<&Axis>) -> impl Iterator<Item = usize> {
    let none: &[Option<usize>] = &[Some(0)];
    let slots = axis.map_or(none, |axis| &axis.slots);
    slots.iter().enumerate().filter_map(|(residue, slot)| slot.map(|_| residue))
}

/// One residue of each of two axes.
///
/// # Safety
/// As for `copy`.
#[inline(always)]
unsafe fn plane<S: Simd>((a, r): (&Axis, usize), (b, s): (&Axis, usize), from: Option<*const S::T>, to: *mut S::T) {
    for at in 0..a.extent {
        let from = from.zip(a.position(r, at)).map(|(from, p)| from.wrapping_offset(p * a.step));
        // SAFETY: the caller's promise.
        unsafe { row::<S>(b, s, from, to.add(at * b.extent)) };
    }
}

/// One residue of an axis; zeros if there is nothing to be copied.
///
/// # Safety
/// As for `copy`.
#[inline(always)]
unsafe fn row<S: Simd>(axis: &Axis, residue: usize, from: Option<*const S::T>, to: *mut S::T) {
    let inside = if from.is_some() { axis.inside(residue) } else { 0..0 };
    // SAFETY: the caller's promise; positions inside are those of the image.
    unsafe {
        for v in (0..inside.start).step_by(S::LANES) {
            S::store(to.add(v), S::zero());
        }
        let (n, start) = (inside.len(), to.add(inside.start));
        if let (Some(from), true) = (from, n > 0) {
            let first = axis.first + (residue + inside.start * axis.stride) as i64;
            let from = from.wrapping_offset(first as isize * axis.step);
            let step = axis.step * axis.stride as isize;
            if step == 1 {
                let full = (n - 1) / S::LANES * S::LANES;
                let ahead = AHEAD / size_of::<S::T>();
                for v in (0..full).step_by(S::LANES) {
                    S::prefetch::<true>(from.wrapping_add(v + ahead));
                    S::store(start.add(v), S::load(from.add(v)));
                }
                S::prefetch::<true>(from.wrapping_add(full + ahead));
                S::store(start.add(full), S::load_part(from.add(full), S::mask(n - full)));
            } else {
                for i in 0..n {
                    *start.add(i) = *from.wrapping_offset(i as isize * step);
                }
            }
        }
        for v in (inside.end..axis.extent).step_by(S::LANES) {
            S::store(to.add(v), S::zero());
        }
    }
}
