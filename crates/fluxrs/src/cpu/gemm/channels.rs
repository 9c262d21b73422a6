//! Products by windows whose columns are channels and a kernel's elements: gradients by a kernel. An image is copied once, with its margins and
//! its channels side by side: what a block of C needs of it is contiguous where it lies, whichever of the kernel's elements it is for.
use super::Tile;
use super::block;
use super::image::{Axis, Image};
use super::lines::{Side, split};
use super::pack::Columns;
use super::packed::{self, Packed};
use super::scratch;
use super::simd::{MOST_LANES, Simd};
use super::turned::Turn;
use super::window::Patches;
use crate::shape::{Bound, size};
use crate::stop::stopped;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Elements of images and of A that are copied at a time, unless one length of sums needs more: they share the second-level cache.
const STAGE: usize = 1 << 17;

/// Multiply-adds of elements that a product takes here; None if its window is not one over images with channels.
pub(super) fn cost(w: &Patches, lanes: usize) -> Option<usize> {
    let d = w.bounds.len();
    let of_images = d > 0 && w.inner.len() == d + 1 && w.cols.len() == d + 1 && w.bounds.iter().all(|b| b.inner > 0 && b.col > 0);
    // One vector beside a panel of A is more to read for each multiply-add than two.
    let (panels, rest) = (w.cols[0] / (2 * lanes), w.cols[0] % (2 * lanes));
    let width = 2 * panels * lanes + [0, 3 * lanes / 2, 2 * lanes][rest.div_ceil(lanes)];
    of_images.then(|| w.m * width * size(&w.cols[1..]))
}

/// Some lengths of the sums, and the images that they need: of one, or of two beside each other, no more than some places along the first axis.
struct Group {
    terms: Range<usize>,
    images: Range<usize>,
    /// The first image's first place, and how many there are of each.
    first: usize,
    places: usize,
    /// The first image's part.
    image: Image,
}

impl Group {
    fn of(w: &Patches, terms: Range<usize>) -> Group {
        let (all, row, side) = (size(&w.inner[1..]), size(&w.inner[2..]), w.inner[1]);
        let images = terms.start / all..(terms.end - 1) / all + 1;
        let (first, end) = (terms.start % all / row, (terms.end - 1) % all / row + 1);
        let (first, places) = match images.len() {
            1 => (first, end - first),
            2 => (side - (side - first).max(end), (side - first).max(end)),
            _ => (0, side),
        };
        Group { terms, images, first, places, image: part(w, first, places) }
    }

    /// The first place of an image that is copied.
    fn first(&self, image: usize) -> usize {
        if image == self.images.start { self.first } else { 0 }
    }

    /// As many lengths from a term on as are copied at a time, for so many rows of A and columns of the image.
    fn from(w: &Patches, start: usize, most: usize, rows: usize, columns: usize) -> Group {
        let k = size(&w.inner);
        let mut group = Group::of(w, start..(start + most).min(k));
        while group.terms.end < k {
            let next = Group::of(w, start..(group.terms.end + most).min(k));
            if next.positions() * columns + next.terms.len() * rows > STAGE {
                break;
            }
            group = next;
        }
        group
    }

    fn positions(&self) -> usize {
        self.images.len() * self.image.size
    }
}

/// Some places of an image along the first axis.
fn part(w: &Patches, first: usize, places: usize) -> Image {
    let side = Side { lens: &w.cols, strides: &w.b_cols };
    let along = |i: usize| if i == 0 { first..first + places } else { 0..w.inner[1 + i] };
    Image::new(w.bounds.iter().enumerate().map(|(i, b)| Axis::whole(b, &along(i), &side)).collect())
}

/// Computes a tile of C, unless it is stopped.
///
/// # Safety
/// As for `window::product`; the product suits, `a` and `c` point at the tile, and that has whole channels.
pub(super) unsafe fn product<S: Simd>(w: &Patches, a: *const S::T, b: *const S::T, c: *mut S::T, tile: &Tile, stop: &AtomicBool) {
    let (kernel, k, rows) = (&w.cols[1..], size(&w.inner), tile.rows.len());
    let taps = size(kernel);
    let channels = tile.cols.start / taps..tile.cols.end / taps;
    let most = block::depth::<S>(k).min(k);
    let wide = 2 * S::LANES;
    let ldc = channels.len().next_multiple_of(wide);
    let (height, a_stride) = packed::height::<S>(rows);
    let a_step = rows.div_ceil(height) * a_stride;
    let next = |start: usize| (start < k).then(|| Group::from(w, start, most, a_step, ldc));
    let groups = || std::iter::successors(next(0), |group| next(group.terms.end));
    let copied = groups().map(|g| g.positions() * ldc).max().unwrap_or(0);
    let terms = groups().map(|g| g.terms.len()).max().unwrap_or(0);
    // SAFETY: the caller's promise; the scratch memory has room for what is put there.
    unsafe {
        let room = copied + terms * a_step + taps * rows * ldc;
        let (stage, tables) = scratch::of::<S::T>(room, (terms + most) * size_of::<isize>() / size_of::<S::T>());
        let (packed_a, offsets) = (stage.add(copied), tables.cast::<isize>());
        let sums = packed_a.add(terms * a_step);
        for group in groups() {
            let Group { terms, images, image, .. } = &group;
            // Where an element of an image lies in the copy, by its index along the axes and the steps of these.
            let place = |index: &[usize], step: fn(&Bound) -> i64| -> usize {
                w.bounds.iter().zip(&image.pitches).zip(index).map(|((b, pitch), i)| i * step(b) as usize * pitch).sum()
            };
            for (n, i) in images.clone().enumerate() {
                if stopped(stop) {
                    return;
                }
                let from = b.wrapping_offset(w.origin() + w.front(i, channels.start));
                let to = stage.add(n * image.size * wide);
                let image = part(w, group.first(i), group.places);
                copy::<S>(&image, (from, w.b_cols[0] as isize), channels.len(), group.positions(), to);
            }
            for (p, offset) in (0..terms.len()).map(|p| (p, offsets.add(p))) {
                let mut index = split(terms.start + p, &w.inner);
                index[1] -= group.first(index[0]);
                *offset = (((index[0] - images.start) * image.size + place(&index[1..], |b| b.steps.0)) * wide) as isize;
            }
            for q in terms.clone().step_by(most) {
                let depth = most.min(terms.end - q);
                w.pack_a::<S>(q, depth, (rows, height), a, offsets.add(terms.len()), packed_a.add((q - terms.start) * a_step));
            }
            for (panel, j) in (0..channels.len()).step_by(wide).enumerate() {
                let vectors = wide.min(channels.len() - j).div_ceil(S::LANES);
                for q in terms.clone().step_by(most) {
                    if stopped(stop) {
                        return;
                    }
                    let depth = most.min(terms.end - q);
                    let table = offsets.add(q - terms.start).cast_const();
                    for (n, i) in (0..rows).step_by(height).enumerate() {
                        let a = packed_a.add((q - terms.start) * a_step + n * a_stride * depth).cast_const();
                        for tap in 0..taps {
                            let at = place(&split(tap, kernel), |b| b.steps.1);
                            let block = Packed {
                                depth,
                                a,
                                b: stage.add((panel * group.positions() + at) * wide),
                                offsets: Some(table),
                                c: sums.add((tap * rows + i) * ldc + j),
                                ldc,
                                lanes: S::LANES,
                                add: q > 0,
                                ahead: [(a, 0); 2],
                            };
                            S::PACKED[vectors - 1][height.min(rows - i) - 1](&block);
                        }
                    }
                }
            }
        }
        for i in 0..rows {
            let (from, to) = (sums.add(i * ldc), c.add(i * w.ldc));
            S::turn(&Turn { rows: taps, n: channels.len(), from, from_stride: rows * ldc, to, to_stride: taps });
        }
    }
}

/// Copies the channels of an image side by side, in panels of two vectors that are so many positions apart.
///
/// # Safety
/// The image is readable, and there is room for the copy.
unsafe fn copy<S: Simd>(image: &Image, (from, channel): (*const S::T, isize), channels: usize, positions: usize, to: *mut S::T) {
    let (wide, extent) = (2 * S::LANES, image.axes[image.axes.len() - 1].extent);
    for j in (0..channels).step_by(S::LANES) {
        let to = to.wrapping_add(j / wide * positions * wide + j % wide);
        let offsets: [isize; MOST_LANES] = std::array::from_fn(|i| (j + i).min(channels - 1) as isize * channel);
        for line in 0..image.lines() {
            let (at, inside) = image.line(line);
            let to = to.wrapping_add(line * extent * wide);
            // SAFETY: the caller's promise.
            unsafe {
                for p in (0..inside.start).chain(inside.end..extent) {
                    S::store(to.add(p * wide), S::zero());
                }
                let at = at + inside.start as isize * image.step();
                S::squares(&Columns {
                    depth: inside.len(),
                    from: from.wrapping_offset(at),
                    offsets,
                    step: image.step(),
                    to: to.add(inside.start * wide),
                    stride: wide,
                    room: S::LANES,
                });
            }
        }
    }
}
