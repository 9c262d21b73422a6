//! Lines of a window, copied one behind another: indices along some axes make a line, indices across it are lines. Elements beyond an
//! edge are zero.
use super::simd::Simd;

/// Axes with strides.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub lens: &'a [usize],
    pub strides: &'a [i64],
}

/// `at` + Σ steps · (index along the axis across, index along the axis along) is below `len` and not negative, or the element is zero.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub across: usize,
    pub along: usize,
    pub at: i64,
    pub steps: (i64, i64),
    pub len: i64,
}

const MOST_EDGES: usize = 3;
pub(super) const MOST_SIDES: usize = 4;

/// Some lines: where each begins and, for those that differ in it, where it stands to the edges.
#[derive(Clone, Copy)]
pub(super) struct Across {
    count: usize,
    offsets: *mut i64,
    /// Lines apart by this many stand alike to the edges.
    period: usize,
    at: *mut [i64; MOST_EDGES],
    spans: *mut Span,
}

/// The part of a piece of a line that is within the edges.
#[derive(Clone, Copy)]
struct Span {
    first: u32,
    count: u32,
}

/// The index along every axis of the `i`-th place.
pub(super) fn split(mut i: usize, lens: &[usize]) -> [usize; MOST_SIDES] {
    let mut out = [0; MOST_SIDES];
    for (k, &n) in lens.iter().enumerate().rev() {
        out[k] = i % n;
        i /= n;
    }
    out
}

/// Where `count` elements from the `first` on lie.
///
/// # Safety
/// There is room for so many.
pub(super) unsafe fn offsets(side: &Side<'_>, first: usize, count: usize, to: *mut isize) {
    let mut index = split(first, side.lens);
    let mut at = index.iter().zip(side.strides).map(|(&i, &s)| i as i64 * s).sum::<i64>();
    for p in 0..count {
        // SAFETY: the caller's promise.
        unsafe { *to.add(p) = at as isize };
        for k in (0..side.lens.len()).rev() {
            index[k] += 1;
            at += side.strides[k];
            if index[k] < side.lens[k] {
                break;
            }
            at -= side.lens[k] as i64 * side.strides[k];
            index[k] = 0;
        }
    }
}

impl Across {
    /// Words of eight bytes that the tables of so many lines take.
    pub fn words(count: usize) -> usize {
        count * (2 + MOST_EDGES)
    }

    /// Lines `first..first + count`.
    ///
    /// # Safety
    /// There is room for the tables, and until they are read nothing else is put there.
    pub unsafe fn new(side: &Side<'_>, first: usize, count: usize, edges: &[Edge], tables: *mut i64) -> Across {
        let bounded = edges.iter().map(|e| e.across).min().unwrap_or(side.lens.len());
        let period = side.lens[bounded..].iter().product::<usize>().min(count);
        // SAFETY: the caller's promise.
        let across = unsafe {
            let at = tables.add(count);
            Across { count, offsets: tables, period, at: at.cast(), spans: at.add(MOST_EDGES * count).cast() }
        };
        let last = side.lens.len() - 1;
        let mut index = split(first, side.lens);
        for i in 0..count {
            // SAFETY: likewise.
            unsafe {
                *across.offsets.add(i) = index.iter().zip(side.strides).map(|(&i, &s)| i as i64 * s).sum();
                if i < period {
                    for (d, e) in edges.iter().enumerate() {
                        (*across.at.add(i))[d] = e.at + index[e.across] as i64 * e.steps.0;
                    }
                }
            }
            for k in (0..=last).rev() {
                index[k] += 1;
                if index[k] < side.lens[k] {
                    break;
                }
                index[k] = 0;
            }
        }
        across
    }
}

/// Lines to be copied, of elements `start..start + len` along them.
pub(super) struct Lines<'a, T> {
    pub across: Across,
    pub along: Side<'a>,
    pub start: usize,
    pub len: usize,
    pub edges: &'a [Edge],
    /// The element 0 of all axes, which need not exist.
    pub from: *const T,
    pub to: *mut T,
    /// From one line to the next, whole vectors.
    pub stride: usize,
}

/// # Safety
/// The machine has the instruction set; elements within the edges are readable, and there is room for whole vectors of every line.
#[inline(always)]
pub(super) unsafe fn lines<S: Simd>(l: &Lines<'_, S::T>) {
    let last = l.along.lens.len() - 1;
    let step = l.along.strides[last] as isize;
    if !l.len.is_multiple_of(S::LANES) {
        for i in 0..l.across.count {
            // SAFETY: there is room for the last vector of every line, which is read whole.
            unsafe { S::store(l.to.add(i * l.stride + l.len / S::LANES * S::LANES), S::zero()) };
        }
    }
    let mut done = 0;
    while done < l.len {
        let index = split(l.start + done, l.along.lens);
        let n = (l.along.lens[last] - index[last]).min(l.len - done);
        let offset: i64 = index.iter().zip(l.along.strides).map(|(&i, &s)| i as i64 * s).sum();
        let from = l.from.wrapping_offset(offset as isize);
        // SAFETY: the caller's promise.
        unsafe {
            let whole = spans(l, &index, n);
            let to = l.to.add(done);
            // A vector may be written whole where what it spoils is written later.
            let spills = done + n.next_multiple_of(S::LANES) <= l.stride;
            if step == 1 {
                copy::<S>(l, from, to, n, whole, spills);
            } else {
                gather::<S>(l, from, to, n, step);
            }
        }
        done += n;
    }
}

/// Finds what of `n` elements from an index on is within the edges; true if that is all of every line.
///
/// # Safety
/// As for `lines`.
#[inline(always)]
unsafe fn spans<T>(l: &Lines<'_, T>, index: &[usize; MOST_SIDES], n: usize) -> bool {
    let last = l.along.lens.len() - 1;
    let mut whole = true;
    for i in 0..l.across.period {
        // SAFETY: the caller's promise.
        let at = unsafe { &*l.across.at.add(i) };
        let (mut first, mut end) = (0, n as i64);
        for (e, &at) in l.edges.iter().zip(at) {
            let (at, step) = (at + index[e.along] as i64 * e.steps.1, e.steps.1);
            if e.along != last {
                if at < 0 || at >= e.len {
                    end = 0;
                }
            } else if step == 1 {
                (first, end) = (first.max(-at), end.min(e.len - at));
            } else {
                (first, end) = (first.max(-at.div_euclid(step)), end.min(-(at - e.len).div_euclid(step)));
            }
        }
        let count = (end - first).max(0);
        whole &= count == n as i64;
        // SAFETY: likewise.
        unsafe { *l.across.spans.add(i) = Span { first: if count > 0 { first as u32 } else { 0 }, count: count as u32 } };
    }
    whole
}

/// # Safety
/// As for `lines`.
#[inline(always)]
unsafe fn copy<S: Simd>(l: &Lines<'_, S::T>, from: *const S::T, to: *mut S::T, n: usize, whole: bool, spills: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let rest = |n: usize| n.saturating_sub(1) / S::LANES * S::LANES;
        let (full, mask) = (rest(n), S::mask(n - rest(n)));
        let put = |to: *mut S::T, from: Option<*const S::T>| {
            for v in (0..full).step_by(S::LANES) {
                S::store(to.add(v), from.map_or(S::zero(), |from| S::load(from.add(v))));
            }
            let end = from.map_or(S::zero(), |from| S::load_part(from.add(full), mask));
            if spills { S::store(to.add(full), end) } else { S::store_part(to.add(full), end, mask) }
        };
        let mut slot = 0;
        for i in 0..l.across.count {
            let from = from.wrapping_offset(*l.across.offsets.add(i) as isize);
            let to = to.add(i * l.stride);
            let span = if whole { Span { first: 0, count: n as u32 } } else { *l.across.spans.add(slot) };
            if span.count as usize == n {
                put(to, Some(from));
            } else {
                put(to, None);
                let (first, count) = (span.first as usize, span.count as usize);
                if count > 0 {
                    let (to, from, full) = (to.add(first), from.wrapping_add(first), rest(count));
                    for v in (0..full).step_by(S::LANES) {
                        S::store(to.add(v), S::load(from.add(v)));
                    }
                    let mask = S::mask(count - full);
                    S::store_part(to.add(full), S::load_part(from.add(full), mask), mask);
                }
            }
            slot += 1;
            if slot == l.across.period {
                slot = 0;
            }
        }
    }
}

/// # Safety
/// As for `lines`.
#[inline(always)]
unsafe fn gather<S: Simd>(l: &Lines<'_, S::T>, from: *const S::T, to: *mut S::T, n: usize, step: isize) {
    let mut slot = 0;
    for i in 0..l.across.count {
        // SAFETY: the caller's promise.
        unsafe {
            let from = from.wrapping_offset(*l.across.offsets.add(i) as isize);
            let to = to.add(i * l.stride);
            let span = *l.across.spans.add(slot);
            let (first, end) = (span.first as usize, (span.first + span.count) as usize);
            for t in 0..first {
                *to.add(t) = S::T::default();
            }
            for t in first..end {
                *to.add(t) = *from.wrapping_offset(t as isize * step);
            }
            for t in end..n {
                *to.add(t) = S::T::default();
            }
        }
        slot += 1;
        if slot == l.across.period {
            slot = 0;
        }
    }
}
