//! Scans whose steps work on each row of a batch by itself. The rows are shared out once, and a thread runs all steps over its own: it
//! waits for no other between them, and finds its states in its cache.

use super::gemm;
use super::lower::BLOCK;
use crate::plan::{Body, Buf, Feed, Loop, Matmul, Mode, Plan, Repeat, Storage};
use crate::pool;
use crate::shape::{self, Map, Shape};
use std::ops::Range;

/// Nanoseconds of one core that a task's part of a step is to take at least.
const PART: usize = 3_000;
/// Bytes of matrices that stay in the second-level cache while other rows come by.
const CACHED: usize = 512 << 10;
/// Rows beside which reading a matrix from further away is little.
const MANY: usize = 32;

/// The rows of a scan's batch, and how many of them a task has.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub count: usize,
    each: usize,
}

impl Rows {
    /// The rows, if every step computes each row of all that it writes from the same row of what steps have written.
    pub fn of(r: &Repeat) -> Option<Rows> {
        let count = *r.carries.first()?.first.shape.first()?;
        let alike = r.carries.iter().all(|carry| carry.first.shape.first() == Some(&count));
        let plan = &*r.plan;
        let batch = Batch { count, plan, feeds: &r.feeds };
        if count < 2 || !alike || plan.buffers.iter().any(|b| b.len == 0) || !plan.kernels.iter().all(|k| batch.has(&k.body)) {
            return None;
        }
        let threads = pool::threads();
        let mut each = count.div_ceil(threads).max((PART * count).div_ceil(plan.cost.max(1)));
        match matrices(plan) {
            0..=CACHED => each = each.min(gemm::rows_unpacked()),
            // Each task reads the matrices for itself: worth it for many rows.
            _ if each < MANY => return None,
            _ => {}
        }
        let tasks = count.div_ceil(each);
        let tasks = if tasks > 1 { tasks.next_multiple_of(threads) } else { 1 };
        Some(Rows { count, each: count.div_ceil(tasks) })
    }

    pub fn tasks(&self) -> usize {
        self.count.div_ceil(self.each)
    }

    /// The rows of a task.
    pub fn range(&self, task: usize) -> Range<usize> {
        task * self.each..((task + 1) * self.each).min(self.count)
    }
}

/// Bytes of the matrices that a step multiplies by.
fn matrices(plan: &Plan) -> usize {
    let bytes = |m: &Matmul| (m.k() * m.n()).saturating_mul(m.dtype.bytes());
    let of = |body: &Body| if let Body::Matmul(m) = body { bytes(m) } else { 0 };
    plan.kernels.iter().map(|k| of(&k.body)).fold(0, usize::saturating_add)
}

/// A step's plan, seen as work on the rows of a batch.
struct Batch<'a> {
    count: usize,
    plan: &'a Plan,
    feeds: &'a [Feed],
}

impl Batch<'_> {
    /// True if the kernel can run over some of the rows.
    fn has(&self, body: &Body) -> bool {
        match body {
            Body::Loop(l) => self.has_loop(l),
            Body::Matmul(m) => {
                let dims: Shape = m.batch.iter().copied().chain([m.m]).chain(m.inner.iter().copied()).collect();
                shape::size(&m.batch) == 1
                    && m.window.is_none()
                    && m.m.is_multiple_of(self.count)
                    && m.k() > 0
                    && self.is_shared(m.b)
                    && self.keeps_rows(m.a, &m.a_map, &dims)
                    && m.epilogue.as_ref().is_none_or(|l| self.has_loop(l))
            }
            Body::Structured(_) | Body::Repeat(_) => false,
        }
    }

    fn has_loop(&self, l: &Loop) -> bool {
        let (lead, rest) = l.dims.split_at(if l.mode == Mode::Map { l.dims.len() } else { l.fence });
        let loads = l.loads.iter().filter_map(|load| Some((load.source.buffer()?, &load.map)));
        let mut all = loads.chain(l.stores.iter().map(|store| (store.buffer, &store.map)));
        let in_blocks = l.mode == Mode::Map || l.mode == Mode::Rows && shape::size(rest) <= BLOCK;
        in_blocks && shape::size(lead).is_multiple_of(self.count) && all.all(|(b, map)| self.keeps_rows(b, map, &l.dims))
    }

    /// True of a buffer that no step writes.
    fn is_shared(&self, buffer: Buf) -> bool {
        match self.plan.buffers[buffer as usize].storage {
            Storage::Slot(slot) => !matches!(self.feeds[slot as usize], Feed::State(_)),
            _ => false,
        }
    }

    /// True if for each of the rows that the index space consists of the elements lie within the same row of the buffer.
    fn keeps_rows(&self, buffer: Buf, map: &Map, space: &[usize]) -> bool {
        if self.is_shared(buffer) {
            return true;
        }
        let len = self.plan.buffers[buffer as usize].len;
        if !len.is_multiple_of(self.count) {
            return false;
        }
        let row = (len / self.count) as i64;
        // The axes that count rows, and how far an index along the others can be from the row's first element.
        let (mut left, mut lead, mut least, mut most) = (self.count, vec![], map.offset, map.offset);
        for (&n, &stride) in space.iter().zip(&map.strides) {
            let rows = if left % n == 0 { n } else { left };
            if n % rows != 0 {
                return false;
            }
            left /= rows;
            let within = n / rows;
            lead.push((rows, stride * within as i64));
            let far = (within as i64 - 1) * stride;
            (least, most) = (least + far.min(0), most + far.max(0));
        }
        let mut step = row;
        let in_order = lead.iter().rev().all(|&(rows, stride)| {
            let fits = rows == 1 || stride == step;
            step *= rows as i64;
            fits
        });
        left == 1 && in_order && 0 <= least && most < row
    }
}
