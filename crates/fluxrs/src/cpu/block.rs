//! Runs a lowered program on one block of its index space.

use super::accumulate::THREE;
use super::jit::OPERANDS;
use super::lower::{Action, LoadStep, Location, Lowered, StoreStep, Walk};
use crate::per_isa;
use crate::plan::{Rank, Source};
use crate::shape::Map;
use crate::simd::isa::{Isa, level};
use crate::simd::lanes::Lane;
use smallvec::SmallVec;
use std::cell::Cell;

/// The address of a buffer. Tasks share it and use it at disjoint places.
#[derive(Clone, Copy)]
pub struct Address(pub *mut u8);

// SAFETY: the code that follows the address answers for what it touches; see `Worker::run`.
unsafe impl Sync for Address {}
// SAFETY: likewise.
unsafe impl Send for Address {}

impl Address {
    pub fn at(self, bytes: usize) -> *mut u8 {
        self.0.wrapping_add(bytes)
    }
}

/// A piece of the index space, in positions of the loop's full space and of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub start: usize,
    pub len: usize,
    /// First row and number of rows, where row registers exist.
    pub row: usize,
    pub rows: usize,
}

impl Block {
    fn range(&self, rank: Rank) -> (usize, usize) {
        match rank {
            Rank::Full => (self.start, self.len),
            Rank::Row => (self.row, self.rows),
        }
    }
}

/// Which part of a program to run: reductions of long rows are finished after all of the first part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    All,
    /// Full registers only.
    Full,
    /// Row registers only; the reductions' results are there already.
    Row,
}

impl Part {
    pub fn has(self, rank: Rank) -> bool {
        self == Part::All || (self == Part::Full) == (rank == Rank::Full)
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<[u64; 8]>> = const { Cell::new(Vec::new()) };
}

/// The scratch memory of one thread while it works on a loop.
pub struct Worker<'a> {
    pub body: &'a Lowered,
    /// The base address of every buffer of the plan.
    pub buffers: &'a [Address],
    pub numbers: &'a [crate::dtype::Number],
    scratch: *mut u8,
    stride: usize,
    /// Where each load's elements of the present block are.
    loaded: SmallVec<[*mut u8; 12]>,
    /// The loads that are one element in the present block.
    singles: SmallVec<[bool; 12]>,
    /// Where each fold of columns adds up those of the present block.
    pub sums: SmallVec<[*mut u8; 4]>,
    /// Where the present block is of the stores that are computed in place by rows.
    stored: SmallVec<[*mut u8; 6]>,
    /// A load whose elements of the present block are elsewhere.
    pub given: Option<(usize, *mut u8)>,
}

impl Worker<'_> {
    /// Runs `f` with a worker whose constants are in place.
    pub fn with<R>(
        body: &Lowered,
        buffers: &[Address],
        numbers: &[crate::dtype::Number],
        longest: usize,
        f: impl FnOnce(&mut Worker<'_>) -> R,
    ) -> R {
        let elements = body.block.min(longest.max(1)).next_multiple_of(8);
        let words = elements.div_ceil(8);
        // Taken out, so that a loop run inside another's callback gets scratch of its own.
        let mut scratch = SCRATCH.take();
        if scratch.len() < words * body.registers {
            scratch.resize(words * body.registers, [0; 8]);
        }
        let (loaded, singles) = (SmallVec::new(), SmallVec::new());
        let mut worker = Worker {
            body,
            buffers,
            numbers,
            scratch: scratch.as_mut_ptr().cast(),
            stride: words * 64,
            loaded,
            singles,
            sums: SmallVec::new(),
            stored: SmallVec::from_elem(std::ptr::null_mut(), if body.row.is_some() { body.stores.len() } else { 0 }),
            given: None,
        };
        for load in &body.loads {
            if load.how == Walk::Fixed {
                worker.splat(load, if load.single { 1 } else { elements });
            }
            worker.loaded.push(worker.register(load.reg));
            worker.singles.push(load.single && load.how == Walk::Fixed);
        }
        let result = f(&mut worker);
        SCRATCH.set(scratch);
        result
    }

    pub fn register(&self, reg: u16) -> *mut u8 {
        // SAFETY: lowering counted the registers, and `with` made room for all of them.
        unsafe { self.scratch.add(reg as usize * self.stride) }
    }

    fn buffer(&self, source: Source) -> *mut u8 {
        match source {
            Source::Buffer(b) => self.buffers[b as usize].0,
            _ => unreachable!("numbers are splat"),
        }
    }

    fn splat(&self, load: &LoadStep, n: usize) {
        let size = load.dtype.bytes();
        let mut word = [0u8; 8];
        match load.source {
            Source::Number(i) => word = self.numbers[i as usize].to_bytes(load.dtype),
            Source::Constant(c) => word = c.to_bytes(load.dtype),
            // A loop without elements may have nothing there.
            Source::Buffer(_) if self.body.space(load.rank).contains(&0) => (),
            Source::Buffer(b) => {
                // SAFETY: the map's offset lies within the buffer, which has an element there since the loop has any.
                unsafe {
                    let from = self.buffers[b as usize].0.offset(load.map.offset as isize * size as isize);
                    std::ptr::copy_nonoverlapping(from, word.as_mut_ptr(), size);
                }
            }
        }
        // SAFETY: a register has room for `n` elements of any type.
        unsafe { splat(self.register(load.reg), word.as_ptr(), size, n) }
    }

    #[inline(always)]
    pub fn operand(&self, o: Location, block: &Block) -> *mut u8 {
        match o {
            Location::Reg(r) => self.register(r),
            Location::Load(i) => self.loaded[i as usize],
            Location::Sum(i) => self.sums[i as usize],
            Location::Store(i) => {
                let s = &self.body.stores[i as usize];
                if s.how == Walk::Strided {
                    return self.stored[i as usize];
                }
                let at = s.map.offset as usize + block.range(s.rank).0;
                // SAFETY: as above.
                unsafe { self.buffers[s.buffer as usize].0.add(at * s.dtype.bytes()) }
            }
        }
    }

    /// Loads, computes and stores one block.
    ///
    /// # Safety
    /// The buffers hold what the plan says, and nothing else writes what this block writes.
    pub unsafe fn run(&mut self, block: &Block, part: Part) {
        for (i, load) in self.body.loads.iter().enumerate() {
            if let Some((_, at)) = self.given.filter(|given| given.0 == i) {
                self.loaded[i] = at;
            } else if load.how != Walk::Fixed && part.has(load.rank) {
                // SAFETY: the block lies within the loop's space, and the map within the buffer.
                (self.loaded[i], self.singles[i]) = unsafe { self.bring(load, block) };
            }
        }
        for (k, at) in self.stored.iter_mut().enumerate() {
            let store = &self.body.stores[k];
            if store.is_in_rows(k) {
                let (from, _) = position(&store.map, &self.body.dims, block.start);
                *at = self.buffers[store.buffer as usize].0.wrapping_offset(from as isize * store.dtype.bytes() as isize);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.compute(block, part) };
    }

    /// As `run`, for the row behind the one that ran before, in a space of two axes: what was read in place is one row further on.
    ///
    /// # Safety
    /// As for `run`; the last block was the whole row before this one.
    pub unsafe fn run_next_row(&mut self, block: &Block) {
        for (i, load) in self.body.loads.iter().enumerate() {
            if load.how == Walk::Fixed {
                continue;
            }
            if self.loaded[i] == self.register(load.reg) && load.how == Walk::Strided {
                // SAFETY: as in `run`.
                (self.loaded[i], self.singles[i]) = unsafe { self.bring(load, block) };
            } else {
                self.loaded[i] = self.loaded[i].wrapping_offset(load.map.strides[0] as isize * load.dtype.bytes() as isize);
            }
        }
        for (store, at) in self.body.stores.iter().zip(&mut self.stored) {
            *at = at.wrapping_offset(store.map.strides[0] as isize * store.dtype.bytes() as isize);
        }
        // SAFETY: the caller's promise.
        unsafe { self.compute(block, Part::All) };
    }

    /// Computes and stores one block, whose operands are where `loaded` says.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn compute(&mut self, block: &Block, part: Part) {
        let body = self.body;
        for micro in &body.code {
            if !part.has(micro.rank) {
                continue;
            }
            let dst = self.operand(micro.dst, block);
            let n = block.range(micro.rank).1;
            // SAFETY: lowering keeps results apart from operands; every operand holds its block.
            unsafe {
                match &micro.action {
                    Action::Apply(f) => {
                        let mut src = [std::ptr::null(); 3];
                        for (s, o) in src.iter_mut().zip(&micro.src[..micro.arity]) {
                            *s = self.operand(*o, block).cast_const();
                        }
                        f(dst, src, n);
                    }
                    Action::AddProduct(f) => {
                        let mut src = [std::ptr::null(); 3];
                        let mut mask = if micro.arity == 3 { THREE } else { 0 };
                        for (k, o) in micro.src[..micro.arity].iter().enumerate() {
                            src[k] = self.operand(*o, block).cast_const();
                            mask |= (self.is_single(*o) as u8) << k;
                        }
                        f(dst, src, n, mask);
                    }
                    Action::Fold(fold) if part == Part::All => {
                        let src = self.operand(micro.src[0], block);
                        (fold.rows)(src, block.rows, block.len / block.rows.max(1), dst);
                    }
                    Action::Fold(_) | Action::Joined(_) => {}
                    Action::Run(at, operands) => self.run_code(*at, operands, block, n),
                    Action::Spread => {
                        let src = self.operand(micro.src[0], block);
                        let width = block.len / block.rows.max(1);
                        for r in 0..block.rows {
                            splat(dst.add(r * width * micro.size), src.add(r * micro.size), micro.size, width);
                        }
                    }
                }
            }
        }
        for (k, store) in body.stores.iter().enumerate() {
            if part.has(store.rank) && store.from != Location::Store(k as u16) {
                // SAFETY: as above; in place, all operands of this block have been read by now.
                unsafe { self.store(store, block) };
            }
        }
    }

    /// Runs a function of the machine code.
    ///
    /// # Safety
    /// As for `run`; the function has these operands.
    unsafe fn run_code(&self, at: usize, operands: &[Location], block: &Block, n: usize) {
        let Some(machine) = self.body.machine.as_ref().filter(|_| n > 0) else { return };
        let mut list = [std::ptr::null_mut(); OPERANDS];
        for (address, &o) in list.iter_mut().zip(operands) {
            *address = self.operand(o, block);
        }
        // SAFETY: lowering made the function for these operands, each of which holds its block, or one element where it asks for one.
        unsafe { machine.run(at, &list[..operands.len()], n) }
    }

    fn is_single(&self, o: Location) -> bool {
        matches!(o, Location::Load(i) if self.singles[i as usize])
    }

    /// The address of a load's elements for this block: in memory if they lie side by side, else in its register. And whether it is
    /// one element that stands for all.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn bring(&self, load: &LoadStep, block: &Block) -> (*mut u8, bool) {
        let (start, n) = block.range(load.rank);
        let size = load.dtype.bytes();
        let base = self.buffer(load.source);
        if load.how == Walk::Straight {
            return (base.wrapping_offset((load.map.offset + start as i64) as isize * size as isize), false);
        }
        let register = self.register(load.reg);
        if n == 0 {
            return (register, false);
        }
        let space = self.body.space(load.rank);
        if let (Some(&inner), Some(&step)) = (space.last(), load.map.strides.last())
            && (step == 0 || step == 1)
            && n <= inner
        {
            // Within one row the elements lie side by side, or are one element.
            let (at, left) = position(&load.map, space, start);
            let from = base.wrapping_offset(at as isize * size as isize);
            if n <= left && (step == 1 || load.single) {
                return (from, step == 0);
            } else if n <= left {
                // SAFETY: the register has room for the block, and the map lies within the buffer.
                unsafe { splat(register, from, size, n) };
                return (register, false);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { gather(register, base, &load.map, space, start, n, size) };
        (register, false)
    }

    /// # Safety
    /// As for `run`.
    unsafe fn store(&self, store: &StoreStep, block: &Block) {
        let (start, n) = block.range(store.rank);
        let size = store.dtype.bytes();
        let from = self.operand(store.from, block);
        let to = self.buffers[store.buffer as usize].0;
        // SAFETY: the caller's promise.
        unsafe {
            if store.how == Walk::Straight {
                std::ptr::copy(from, to.add((store.map.offset as usize + start) * size), n * size);
            } else {
                scatter(to, from, &store.map, self.body.space(store.rank), start, n, size);
            }
        }
    }
}

/// # Safety
/// The machine has the instruction set.
#[expect(clippy::extra_unused_type_parameters, reason = "the set is that of the function it becomes a part of")]
#[inline(always)]
unsafe fn fill_body<T: Lane, I: Isa>(dst: &mut [T], value: T) {
    dst.fill(value);
}

per_isa! { fn fill[T: Lane](dst: &mut [T], value: T) = fill_body }

/// One element many times.
///
/// # Safety
/// `dst` has room for `n` elements of `size` bytes and is aligned to them; `value` has one.
unsafe fn splat(dst: *mut u8, value: *const u8, size: usize, n: usize) {
    // SAFETY: room for n elements at dst, one at value; the instruction set was found on this machine.
    unsafe {
        match size {
            1 => fill::<u8>(level())(std::slice::from_raw_parts_mut(dst, n), *value),
            4 => fill::<u32>(level())(std::slice::from_raw_parts_mut(dst.cast(), n), value.cast::<u32>().read_unaligned()),
            _ => fill::<u64>(level())(std::slice::from_raw_parts_mut(dst.cast(), n), value.cast::<u64>().read_unaligned()),
        }
    }
}

/// The position of index `start`, counted in row-major order, and how many elements its row has from there on.
fn position(map: &Map, space: &[usize], start: usize) -> (i64, usize) {
    let (mut rest, mut at, mut left) = (start, map.offset, None);
    for (&n, &s) in space.iter().zip(&map.strides).rev() {
        let (above, i) = divided(rest, n);
        at += i as i64 * s;
        left.get_or_insert(n - i);
        rest = above;
        if rest == 0 {
            break;
        }
    }
    (at, left.unwrap_or(1))
}

/// Quotient and remainder: the division of short numbers is several times as quick.
#[inline]
fn divided(x: usize, n: usize) -> (usize, usize) {
    match (u32::try_from(x), u32::try_from(n)) {
        (Ok(x), Ok(n)) => ((x / n) as usize, (x % n) as usize),
        _ => (x / n, x % n),
    }
}

/// Calls `f(position of the run in the block, position in memory, length)` for each run along the last axis.
fn runs(map: &Map, space: &[usize], start: usize, n: usize, mut f: impl FnMut(usize, i64, usize)) {
    if n == 0 {
        return;
    }
    let Some((&inner, outer)) = space.split_last() else {
        return f(0, map.offset, n);
    };
    let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, space.len());
    let mut rest = start;
    for (i, &d) in index.iter_mut().zip(space).rev() {
        *i = rest % d;
        rest /= d;
    }
    let last = outer.len();
    let mut at = map.offset + index.iter().zip(&map.strides).map(|(&i, &s)| i as i64 * s).sum::<i64>();
    let mut done = 0;
    while done < n {
        let len = (inner - index[last]).min(n - done);
        f(done, at, len);
        done += len;
        if done == n {
            break;
        }
        at -= index[last] as i64 * map.strides[last];
        index[last] = 0;
        for a in (0..last).rev() {
            index[a] += 1;
            at += map.strides[a];
            if index[a] < space[a] {
                break;
            }
            at -= index[a] as i64 * map.strides[a];
            index[a] = 0;
        }
    }
}

/// Brings a block of a strided source together.
///
/// # Safety
/// `dst` has room for `n` elements; the map lies within the source for the `n` indices from `start` on.
unsafe fn gather(dst: *mut u8, src: *const u8, map: &Map, space: &[usize], start: usize, n: usize, size: usize) {
    // Along leading axes that the source does not have everything comes again.
    let repeated = space.iter().zip(&map.strides).take_while(|(_, s)| **s == 0).count();
    let period: usize = space[repeated..].iter().product();
    let own = if repeated > 0 { n.min(period) } else { n };
    // SAFETY: the caller's promise.
    unsafe { gather_once(dst, src, map, space, start, own, size) };
    let mut done = own;
    while done < n {
        let len = done.min(n - done);
        // SAFETY: both parts lie within the `n` elements, one behind the other.
        unsafe { std::ptr::copy_nonoverlapping(dst, dst.add(done * size), len * size) };
        done += len;
    }
}

/// # Safety
/// As for `gather`.
unsafe fn gather_once(dst: *mut u8, src: *const u8, map: &Map, space: &[usize], start: usize, n: usize, size: usize) {
    let stride = map.strides.last().copied().unwrap_or(0);
    runs(map, space, start, n, |done, at, len| {
        // SAFETY: the map lies within the source for every index of the space.
        unsafe {
            let (to, from) = (dst.add(done * size), src.offset(at as isize * size as isize));
            match (stride, size) {
                (1, _) => std::ptr::copy_nonoverlapping(from, to, len * size),
                (0, _) => splat(to, from, size, len),
                (_, 1) => strided::<u8>(to.cast(), 1, from.cast(), stride as isize, len),
                (_, 4) => strided::<u32>(to.cast(), 1, from.cast(), stride as isize, len),
                _ => strided::<u64>(to.cast(), 1, from.cast(), stride as isize, len),
            }
        }
    });
}

/// The reverse of `gather`.
///
/// # Safety
/// `src` has `n` elements; the map lies within the destination for the `n` indices from `start` on.
unsafe fn scatter(dst: *mut u8, src: *const u8, map: &Map, space: &[usize], start: usize, n: usize, size: usize) {
    let stride = map.strides.last().copied().unwrap_or(0);
    runs(map, space, start, n, |done, at, len| {
        // SAFETY: the map lies within the destination for every index of the space.
        unsafe {
            let (to, from) = (dst.offset(at as isize * size as isize), src.add(done * size));
            match (stride, size) {
                (1, _) => std::ptr::copy_nonoverlapping(from, to, len * size),
                (_, 1) => strided::<u8>(to.cast(), stride as isize, from.cast(), 1, len),
                (_, 4) => strided::<u32>(to.cast(), stride as isize, from.cast(), 1, len),
                _ => strided::<u64>(to.cast(), stride as isize, from.cast(), 1, len),
            }
        }
    });
}

/// # Safety
/// Both have `n` elements, so many steps apart.
unsafe fn strided<T: Copy>(mut to: *mut T, to_step: isize, mut from: *const T, from_step: isize, n: usize) {
    for _ in 0..n {
        // SAFETY: the caller counts only elements that exist; the pointers are not followed past them.
        unsafe { *to = *from };
        to = to.wrapping_offset(to_step);
        from = from.wrapping_offset(from_step);
    }
}
