//! Products by windows that have few rows: packing the patches would be much of the work. The image alone is copied, with its margins;
//! the patches' rows are then contiguous where they lie. Columns run over the ends of the image's rows; what they give there is left out.
use super::Tile;
use super::block::{self, Block};
use super::image::{Axis, Copying, Image, SPILL};
use super::lines::{Side, split};
use super::scratch;
use super::simd::Simd;
use super::window::Patches;
use crate::shape::size;
use crate::stop::stopped;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Elements of images that are copied at a time, unless one row of results needs more: they share the second-level cache.
const STAGE: usize = 1 << 15;

/// True if a product, which is not empty, is better computed here than packed.
pub(super) fn suits(w: &Patches, lanes: usize) -> bool {
    let whole = !w.bounds.is_empty() && w.bounds.len() == w.cols.len() && w.bounds.len() + 1 == w.inner.len();
    let vectors = |n: usize| n.div_ceil(lanes);
    let packed = vectors(size(&w.cols));
    // A vector is packed in the time of three multiply-adds.
    whole && w.m * vectors(image(w, 0..w.cols[0]).columns()).saturating_sub(packed) < 3 * packed
}

/// The copy for some places along the first axis.
fn image(w: &Patches, places: Range<usize>) -> Image {
    let cols = Side { lens: &w.cols, strides: &w.b_cols };
    let along = |d: usize| if d == 0 { places.clone() } else { 0..w.cols[d] };
    let axis = |(d, b): (usize, &_)| Axis::apart(b, w.inner[1 + d], &cols, &along(d));
    Image::new(w.bounds.iter().enumerate().map(axis).collect())
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `window::product`; the product suits, and `a` and `c` point at the tile.
pub(super) unsafe fn product<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let row: usize = size(&w.cols[1..]);
    let (first, end) = (tile.cols.start / row, tile.cols.end.div_ceil(row));
    let images = block::depth::<S>(size(&w.inner)).div_ceil(size(&w.inner[1..])) + 1;
    let whole = image(w, first..end);
    let at_once = if images * whole.size <= STAGE {
        end - first
    } else {
        (STAGE / (images * whole.size / whole.axes[0].extent).max(1)).max(1)
    };
    for start in (first..end).step_by(at_once) {
        let places = start..(start + at_once).min(end);
        let cols = (places.start * row).max(tile.cols.start)..(places.end * row).min(tile.cols.end);
        let c = c.wrapping_add(cols.start - tile.cols.start);
        let part_image = if places.len() == end - first { &whole } else { &image(w, places) };
        // SAFETY: the caller's promise.
        if !unsafe { part::<S>(w, (start, part_image), a, b, c, &Tile { rows: tile.rows.clone(), cols }, stop) } {
            return;
        }
    }
}

/// A part of a tile, whose images, from a place of the first axis on, are copied at a time; false if it was stopped.
///
/// # Safety
/// As for `product`.
unsafe fn part<S: Simd>(
    w: &Patches,
    (first_place, image): (usize, &Image),
    a: *const S::T,
    b: *const S::T,
    c: *mut S::T,
    tile: &Tile,
    stop: &AtomicBool,
) -> bool {
    let (rows, n, k) = (tile.rows.len(), image.columns(), size(&w.inner));
    let kernel = &w.inner[1..];
    let taps = size(kernel);
    let most = block::depth::<S>(k).min(k);
    let width = if rows <= S::KERNELS[3].len() { 4 * S::LANES } else { 2 * S::LANES };
    // A whole panel may be read from the last position on.
    let stage_size = (most.div_ceil(taps) + 1) * image.size + 4 * S::LANES + SPILL;
    let ldc = n.next_multiple_of(S::LANES);
    let origin = w.origin();
    // SAFETY: the caller's promise; the scratch memory has room for what is put there.
    unsafe {
        let (memory, tables) = scratch::of::<S::T>(stage_size + rows * ldc, (2 * most + taps) * 8 / size_of::<S::T>());
        let (stage, sums) = (memory, memory.add(stage_size));
        let (a_offsets, b_offsets) = (tables.cast::<isize>(), tables.cast::<isize>().add(most));
        let of_taps = b_offsets.add(most);
        (0..taps).for_each(|t| *of_taps.add(t) = image.tap(&split(t, kernel)));
        for q in (0..k).step_by(most) {
            if stopped(stop) {
                return false;
            }
            let depth = most.min(k - q);
            let first = q / taps;
            for channel in first..=(q + depth - 1) / taps {
                let from = b.wrapping_offset(origin + channel as isize * w.b_inner[0] as isize);
                S::image(&Copying { image, from, to: stage.add((channel - first) * image.size) });
            }
            let end = stage.add(((q + depth - 1) / taps + 1 - first) * image.size);
            std::slice::from_raw_parts_mut(end.cast::<MaybeUninit<S::T>>(), 4 * S::LANES).fill(MaybeUninit::new(S::T::default()));
            let (mut channel, mut t) = (0, q % taps);
            for p in 0..depth {
                *b_offsets.add(p) = (channel * image.size) as isize + *of_taps.add(t);
                t += 1;
                if t == taps {
                    (channel, t) = (channel + 1, 0);
                }
            }
            w.a_offsets(q, depth, a_offsets);
            for j in (0..n).step_by(width) {
                let vectors = width.min(n - j).div_ceil(S::LANES);
                let block = Block {
                    depth,
                    a,
                    a_strides: (w.a_row, 0),
                    b: stage.add(j),
                    b_stride: 0,
                    offsets: Some((a_offsets, b_offsets)),
                    c: sums.add(j),
                    ldc,
                    lanes: S::LANES,
                    padded: true,
                    add: q > 0,
                };
                block::rows::<S>(rows, &block, vectors);
            }
        }
        let last = w.cols.len() - 1;
        let mut index = split(tile.cols.start, &w.cols);
        index[0] -= first_place;
        let (mut at, run) = (0, w.cols[last]);
        while at < tile.cols.len() {
            let count = if last == 0 { tile.cols.len() } else { (run - index[last]).min(tile.cols.len() - at) };
            let from = sums.add(image.column(&index));
            for i in 0..rows {
                std::ptr::copy_nonoverlapping(from.add(i * ldc), c.add(i * w.ldc + at), count);
            }
            at += count;
            index[last] = 0;
            for d in (0..last).rev() {
                index[d] += 1;
                if d == 0 || index[d] < w.cols[d] {
                    break;
                }
                index[d] = 0;
            }
        }
    }
    true
}
