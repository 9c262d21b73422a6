//! Products by windows that have few rows: packing the patches would be much of the work. The image alone is copied, with its margins;
//! the patches' rows are then contiguous where they lie. Columns run over the ends of the image's rows; what they give there is left out.
use super::Tile;
use super::block::{self, Block};
use super::image::{Axis, Copying, Image, SPILL};
use super::lines::{Side, split};
use super::packed::{self, Packed};
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

/// A vector is packed in the time of so many multiply-adds.
const PACKING: usize = 10;

/// Multiply-adds of elements that a product, which is not empty, takes here; None if its patches are not those of one image.
pub(super) fn cost(w: &Patches, lanes: usize) -> Option<usize> {
    let whole = !w.bounds.is_empty() && w.bounds.len() == w.cols.len() && w.bounds.len() + 1 == w.inner.len();
    whole.then(|| (w.m + PACKING) * vectors(w, &image(w, 0..w.cols[0]), lanes).0 * lanes)
}

/// Vectors beside a row of A, and whether these are of the image's rows one by one, rather than of all that lies from first to last.
fn vectors(w: &Patches, image: &Image, lanes: usize) -> (usize, bool) {
    let row = w.cols[w.cols.len() - 1];
    let (one_by_one, together) = (image.rows() * row.div_ceil(lanes), image.columns().div_ceil(lanes));
    if row >= 2 * lanes && one_by_one <= together { (one_by_one, true) } else { (together, false) }
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
    let one_by_one = vectors(w, image, S::LANES).1;
    let kernel = &w.inner[1..];
    let taps = size(kernel);
    let most = block::depth::<S>(k).min(k);
    // Few rows leave registers for more columns, and are read where they lie.
    let few = rows <= S::KERNELS[3].len();
    let width = if few { 4 * S::LANES } else { 2 * S::LANES };
    let (height, a_stride) = packed::height::<S>(rows);
    let packed_size = if few { 0 } else { most * rows.div_ceil(height) * a_stride };
    // A whole panel may be read from the last position on.
    let stage_size = (most.div_ceil(taps) + 1) * image.size + 4 * S::LANES + SPILL;
    let ldc = n.next_multiple_of(S::LANES);
    let sums_size = if one_by_one { 0 } else { rows * ldc };
    let origin = w.origin();
    // SAFETY: the caller's promise; the scratch memory has room for what is put there.
    unsafe {
        let room = packed_size + stage_size + sums_size;
        let (packed_a, tables) = scratch::of::<S::T>(room, (2 * most + taps) * 8 / size_of::<S::T>());
        let stage = packed_a.add(packed_size);
        let sums = stage.add(stage_size);
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
            if few {
                w.a_offsets(q, depth, a_offsets);
            } else {
                w.pack_a::<S>(q, depth, (rows, height), a, a_offsets, packed_a);
            }
            // A stretch of columns side by side.
            let stretch = |b: *const S::T, c: *mut S::T, ldc: usize, count: usize| {
                for j in (0..count).step_by(width) {
                    let vectors = width.min(count - j).div_ceil(S::LANES);
                    let lanes = width.min(count - j) - (vectors - 1) * S::LANES;
                    let (b, c, add) = (b.add(j), c.add(j), q > 0);
                    if few {
                        let offsets = Some((a_offsets.cast_const(), b_offsets.cast_const()));
                        let a_strides = (w.a_row, 0);
                        let block = Block { depth, a, a_strides, b, b_stride: 0, offsets, c, ldc, lanes, padded: true, add };
                        block::rows::<S>(rows, &block, vectors);
                        continue;
                    }
                    for (n, i) in (0..rows).step_by(height).enumerate() {
                        let (a, c) = (packed_a.add(n * a_stride * depth).cast_const(), c.add(i * ldc));
                        let offsets = Some(b_offsets.cast_const());
                        let block = Packed { depth, a, b, offsets, c, ldc, lanes, add, ahead: [(a, 0); 2] };
                        S::PACKED[vectors - 1][height.min(rows - i) - 1](&block);
                    }
                }
            };
            if one_by_one {
                runs(w, image, first_place, &tile.cols, |at, from, count| stretch(stage.add(from), c.add(at), w.ldc, count));
            } else {
                stretch(stage, sums, ldc, ldc);
            }
        }
        if !one_by_one {
            runs(w, image, first_place, &tile.cols, |at, from, count| {
                for i in 0..rows {
                    std::ptr::copy_nonoverlapping(sums.add(i * ldc + from), c.add(i * w.ldc + at), count);
                }
            });
        }
    }
    true
}

/// The runs of a tile's columns that lie side by side in the copy of an image, from a place of the first axis on: where each begins in the
/// tile and in the copy, and its length.
fn runs(w: &Patches, image: &Image, first_place: usize, cols: &Range<usize>, mut each: impl FnMut(usize, usize, usize)) {
    let last = w.cols.len() - 1;
    let mut index = split(cols.start, &w.cols);
    index[0] -= first_place;
    let (mut at, run) = (0, w.cols[last]);
    while at < cols.len() {
        let count = if last == 0 { cols.len() } else { (run - index[last]).min(cols.len() - at) };
        each(at, image.column(&index), count);
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
