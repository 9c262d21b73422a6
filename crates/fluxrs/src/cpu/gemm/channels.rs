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
use crate::shape::size;
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

/// Some lengths of the sums, and the images that they need, or a part of the only one.
struct Group {
    terms: Range<usize>,
    images: Range<usize>,
    /// The first place along the first axis.
    first: usize,
    image: Image,
}

impl Group {
    fn of(w: &Patches, terms: Range<usize>) -> Group {
        let places = size(&w.inner[1..]);
        let images = terms.start / places..(terms.end - 1) / places + 1;
        let row = size(&w.inner[2..]);
        let along = match images.len() {
            1 => terms.start % places / row..(terms.end - 1) % places / row + 1,
            _ => 0..w.inner[1],
        };
        let side = Side { lens: &w.cols, strides: &w.b_cols };
        let axis = |(i, b): (usize, &_)| Axis::whole(b, &if i == 0 { along.clone() } else { 0..w.inner[1 + i] }, &side);
        Group { terms, images, first: along.start, image: Image::new(w.bounds.iter().enumerate().map(axis).collect()) }
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
            let Group { terms, images, first, image } = &group;
            for (i, image_index) in images.clone().enumerate() {
                if stopped(stop) {
                    return;
                }
                let at = |channel| b.wrapping_offset(w.origin() + w.front(image_index, channel));
                copy::<S>(
                    image,
                    (at(channels.start), w.b_cols[0] as isize),
                    channels.len(),
                    group.positions(),
                    stage.add(i * image.size * wide),
                );
            }
            for (p, offset) in (0..terms.len()).map(|p| (p, offsets.add(p))) {
                let mut index = split(terms.start + p, &w.inner);
                index[0] -= images.start;
                index[1] -= first;
                let along = w.bounds.iter().zip(&image.pitches).map(|(b, pitch)| index[b.inner] * b.steps.0 as usize * pitch);
                *offset = ((index[0] * image.size + along.sum::<usize>()) * wide) as isize;
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
                            let index = split(tap, kernel);
                            let along = w
                                .bounds
                                .iter()
                                .zip(&image.pitches)
                                .map(|(b, pitch)| index[b.col - 1] * b.steps.1 as usize * pitch);
                            let block = Packed {
                                depth,
                                a,
                                b: stage.add((panel * group.positions() + along.sum::<usize>()) * wide),
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
        let (width, to) = (channels - j, to.wrapping_add(j / wide * positions * wide + j % wide));
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
                    width,
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
