//! A loop's program made ready to run: virtual registers become pieces of scratch memory, ops become function pointers.

use super::accumulate::{self, ProductLoop};
use super::fold::{self, Fold};
use super::jit::Machine;
use super::loops::TASK;
use super::pair;
use crate::cache::bytes_of;
use crate::dtype::DType;
use crate::ops::Elementwise;
use crate::ops::reduce::Reduction;
use crate::plan::{Code, Inst, Load, Loop, Mode, Plan, Rank, Reg, Source, Sparse, Storage, Store};
use crate::pool::grain;
use crate::shape::{self, Map, Shape, spilled};
use crate::simd::lanes::{self, LaneLoop, UnaryBody};
use crate::simd::math::Cast;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Elements of a register: a few of them fit the first-level cache.
pub const BLOCK: usize = grain(2048);

/// Rows from this length on are worth a block of their own.
pub(super) const LONG_ROW: usize = 256;

/// Where an operand's elements are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Location {
    /// A piece of scratch memory.
    Reg(u16),
    /// Load i, in memory or brought into a register.
    Load(u16),
    /// The memory of store i itself.
    Store(u16),
    /// Where the columns' sums of fold i are added up.
    Sum(u16),
}

pub enum Action {
    Apply(LaneLoop),
    Fold(Fold),
    /// A fold whose elements a run adds up.
    Joined(Fold),
    /// The product of the operands, added to what the result's memory holds.
    AddProduct(ProductLoop),
    /// Every element of a row register, once for each element of its row.
    Spread,
    /// The function at a place of the machine code, and its operands.
    Run(usize, Box<[Location]>),
}

pub struct Micro {
    pub action: Action,
    pub dst: Location,
    pub src: [Location; 3],
    pub arity: usize,
    pub rank: Rank,
    /// Bytes of an element of the result.
    pub size: usize,
}

pub struct LoadStep {
    pub source: Source,
    pub dtype: DType,
    pub rank: Rank,
    pub map: Map,
    pub how: Walk,
    /// The register it is brought into, where it is not read in place.
    pub reg: u16,
    /// True if all its readers take one element for a block of equal ones.
    pub single: bool,
}

/// The way in which a load or store moves through memory as the block's index grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// One element after the other.
    Straight,
    /// The same element always.
    Fixed,
    /// By strides.
    Strided,
}

pub struct StoreStep {
    pub buffer: u32,
    pub dtype: DType,
    pub rank: Rank,
    pub map: Map,
    pub how: Walk,
    pub from: Location,
}

impl StoreStep {
    /// True if its values are computed where they stay, though they are not all side by side: those of a row are. It is store `k`.
    pub fn is_in_rows(&self, k: usize) -> bool {
        self.how == Walk::Strided && self.from == Location::Store(k as u16)
    }
}

pub struct Lowered {
    pub mode: Mode,
    pub dims: Shape,
    pub fence: usize,
    pub loads: Vec<LoadStep>,
    pub code: Vec<Micro>,
    pub stores: Vec<StoreStep>,
    pub registers: usize,
    /// Elements of a register.
    pub block: usize,
    /// True if a row's reductions are used within the row.
    pub spreads: bool,
    /// Elements that a task works on, in a loop without reductions.
    pub task: usize,
    /// Its operand that is zero but for some rows, with the number of its load.
    pub sparse: Option<Box<(Sparse, usize)>>,
    /// The length of the last axis, where blocks of a loop without reductions should end with it.
    pub row: Option<usize>,
    /// True if a block of a loop with reductions is of one row.
    pub by_row: bool,
    pub machine: Option<Arc<Machine>>,
}

impl Lowered {
    /// The loop's loads and stores, without code. Loads have registers of their own for the whole program: constants are filled once,
    /// before it runs.
    pub(super) fn of(body: &Loop) -> Lowered {
        let cols = shape::size(&body.dims[body.fence..]);
        let spreads = body.code.iter().any(|i| i.code == Code::Spread);
        let block = if spreads && body.mode == Mode::Rows { BLOCK.max(cols) } else { BLOCK };
        let mut out = Lowered {
            mode: body.mode,
            dims: body.dims.clone(),
            fence: body.fence,
            loads: vec![],
            code: vec![],
            stores: vec![],
            registers: 0,
            block,
            spreads,
            task: task_of(body),
            sparse: body
                .sparse
                .as_deref()
                .and_then(|&s| Some(Box::new((s, body.loads.iter().position(|load| load.reg == s.reg)?)))),
            row: None,
            by_row: false,
            machine: None,
        };
        for load in &body.loads {
            let map = own_map(body, load.rank, &load.map);
            let space = Shape::from(out.space(load.rank));
            let how = if matches!(load.source, Source::Buffer(_)) { walk(&map, &space) } else { Walk::Fixed };
            let reg = out.registers as u16;
            out.registers += (how != Walk::Straight) as usize;
            out.loads.push(LoadStep { source: load.source, dtype: load.dtype, rank: load.rank, map, how, reg, single: false });
        }
        for store in &body.stores {
            let map = own_map(body, store.rank, &store.map);
            let space = Shape::from(out.space(store.rank));
            let how = match walk(&map, &space) {
                Walk::Fixed if shape::size(&space) == 1 => Walk::Straight,
                other => other,
            };
            let (buffer, dtype, rank) = (store.buffer, store.dtype, store.rank);
            out.stores.push(StoreStep { buffer, dtype, rank, map, how, from: Location::Reg(0) });
        }
        out
    }

    /// What the code decides: where the stores find their values, and the length of blocks.
    pub(super) fn finish(&mut self, body: &Loop, place: &[Location]) {
        for (step, store) in self.stores.iter_mut().zip(&body.stores) {
            step.from = place[store.reg as usize];
        }
        if self.mode == Mode::Map {
            self.block = map_block(self);
        }
    }

    /// The axes of a rank's own index space.
    pub fn space(&self, rank: Rank) -> &[usize] {
        match (rank, self.mode) {
            (Rank::Full, _) => &self.dims,
            (Rank::Row, Mode::Columns) => &self.dims[self.fence..],
            (Rank::Row, _) => &self.dims[..self.fence],
        }
    }

    /// Memory that its lists take.
    pub fn bytes(&self) -> usize {
        let maps = self.loads.iter().map(|l| &l.map).chain(self.stores.iter().map(|s| &s.map));
        let operands = |m: &Micro| if let Action::Run(_, list) = &m.action { size_of_val(&**list) } else { 0 };
        let lists = bytes_of(&self.loads) + bytes_of(&self.code) + bytes_of(&self.stores);
        let lists = lists + self.code.iter().map(operands).sum::<usize>();
        lists + spilled(&self.dims) + maps.map(|map| spilled(&map.strides)).sum::<usize>()
    }

    pub fn rows(&self) -> usize {
        shape::size(&self.dims[..self.fence])
    }

    pub fn cols(&self) -> usize {
        shape::size(&self.dims[self.fence..])
    }
}

pub(crate) fn cast_loop(from: DType, to: DType) -> LaneLoop {
    struct Body;
    impl<X: Cast<U>, U> UnaryBody<X, U> for Body {
        #[inline(always)]
        fn call<I: crate::simd::isa::Isa>(x: X) -> U {
            x.cast()
        }
    }
    macro_rules! table {
        ($($F:ident $f:ty),*) => { match from { $(DType::$F => table!(@to $f)),* } };
        (@to $f:ty) => {
            match to {
                DType::Bool => lanes::unary::<Body, $f, bool>(),
                DType::I32 => lanes::unary::<Body, $f, i32>(),
                DType::I64 => lanes::unary::<Body, $f, i64>(),
                DType::F32 => lanes::unary::<Body, $f, f32>(),
                DType::F64 => lanes::unary::<Body, $f, f64>(),
            }
        };
    }
    table!(Bool bool, I32 i32, I64 i64, F32 f32, F64 f64)
}

/// The way in which `map` walks through `space`.
fn walk(map: &Map, space: &[usize]) -> Walk {
    let mut long = map.strides.iter().zip(space).filter(|&(_, &n)| n != 1);
    if long.clone().all(|(&s, _)| s == 0) {
        return Walk::Fixed;
    }
    if long.all(|_| true) && map.is_contiguous(space) { Walk::Straight } else { Walk::Strided }
}

/// The map over a rank's own axes.
fn own_map(body: &Loop, rank: Rank, map: &Map) -> Map {
    let strides = match (rank, body.mode) {
        (Rank::Full, _) => map.strides.clone(),
        (Rank::Row, Mode::Columns) => map.strides[body.fence..].into(),
        (Rank::Row, _) => map.strides[..body.fence].into(),
    };
    Map { offset: map.offset, strides }
}

pub fn lower(body: &Loop, plan: &Plan) -> Lowered {
    let mut out = Lowered::of(body);
    let count = registers(body);
    let mut last_use = vec![0usize; count];
    for (k, inst) in body.code.iter().enumerate() {
        inst.src.iter().for_each(|&r| last_use[r as usize] = k);
    }
    let stored = body.stores.iter().map(|s| s.reg);
    // Where reductions run in a pass of their own, what they reduce must outlive all instructions of the first pass.
    let folded = body.code.iter().filter(|i| matches!(i.code, Code::Fold(_))).map(|i| i.src[0]);
    stored.chain(folded).for_each(|r| last_use[r as usize] = usize::MAX);
    let pairs = pairs(body, &mut last_use);

    let mut place = load_places(body, count);
    // A result that is stored straight to memory of its own is computed there.
    let mut direct: Vec<Option<u16>> = vec![None; count];
    // The register that an instruction adds to the memory of the result, instead of adding two operands.
    let mut added: Vec<Option<Reg>> = vec![None; body.code.len()];
    // The slots that are written over, and the instructions that do it.
    let mut overwritten: Vec<(u32, usize)> = vec![];
    for (k, store) in body.stores.iter().enumerate() {
        let how = out.stores[k].how;
        let made = body.code.iter().position(|i| i.dst == store.reg && !matches!(i.code, Code::Fold(_)));
        if let (Walk::Straight, Some(at), None) = (how, made, direct[store.reg as usize]) {
            // In place, once the old value is read no more.
            let slot = donor(plan, store.buffer);
            let old = slot.into_iter().flat_map(|slot| loads_of(body, plan, slot));
            let last = old.map(|l| last_use[l.reg as usize]).max();
            if last.is_none_or(|last| last < at) {
                direct[store.reg as usize] = Some(k as u16);
            } else if let Some(other) = accumulates(body, plan, at, store, last) {
                direct[store.reg as usize] = Some(k as u16);
                added[at] = Some(other);
            }
            overwritten.extend(slot.filter(|_| direct[store.reg as usize].is_some()).map(|slot| (slot, at)));
        }
    }
    // A factor is read where the product is added: it must still be there.
    let gone = |r: Reg, at: usize| {
        let mut writes = overwritten.iter().filter(|w| w.1 < at);
        writes.any(|&(slot, _)| loads_of(body, plan, slot).any(|load| load.reg == r))
    };
    let factors: Vec<Option<Factors>> = (added.iter().enumerate())
        .map(|(at, other)| factors(body, at, (*other)?, &mut last_use).filter(|f| !f.regs.iter().any(|&r| gone(r, at))))
        .collect();
    for (i, load) in body.loads.iter().enumerate() {
        let reads = |inst: &Inst| inst.src.contains(&load.reg);
        let made_one = |k: usize| factors.iter().flatten().any(|f| f.insts.contains(&k));
        let stored = body.stores.iter().any(|s| s.reg == load.reg);
        out.loads[i].single = !stored && body.code.iter().enumerate().all(|(k, inst)| !reads(inst) || made_one(k));
    }
    // Instructions that another one takes over.
    let mut taken = vec![false; body.code.len()];
    factors.iter().flatten().flat_map(|f| &f.insts[1..]).for_each(|&k| taken[k] = true);
    let pairs: Vec<Option<Pair>> = std::iter::zip(pairs, &added)
        .enumerate()
        .map(|(k, (pair, added))| pair.filter(|p| added.is_none() && !taken[k] && !taken[p.inner]))
        .collect();
    pairs.iter().flatten().for_each(|p| taken[p.inner] = true);
    let mut free: Vec<u16> = Vec::new();
    // Computed registers of full rank: the ones that are used again.
    let mut full = vec![false; count];
    for (k, inst) in body.code.iter().enumerate() {
        if taken[k] {
            continue;
        }
        let mut src = [Location::Reg(0); 3];
        src.iter_mut().zip(&inst.src).for_each(|(s, &r)| *s = place[r as usize]);
        // The result's register is taken before the operands' are given back: a loop's result never aliases an operand.
        let dst = match direct[inst.dst as usize] {
            Some(store) => Location::Store(store),
            None => Location::Reg(free.pop().unwrap_or_else(|| {
                out.registers += 1;
                out.registers as u16 - 1
            })),
        };
        place[inst.dst as usize] = dst;
        // Row registers are kept: where the reductions run in a pass of their own, their results must outlive it.
        let reads: SmallVec<[Reg; 4]> = match (&pairs[k], &factors[k]) {
            (Some(pair), _) => SmallVec::from_slice(&pair.regs),
            (_, Some(product)) => inst.src.iter().chain(&product.regs).copied().collect(),
            _ => inst.src.iter().copied().collect(),
        };
        for (n, &r) in reads.iter().enumerate() {
            let first = !reads[..n].contains(&r);
            if let (true, true, true, Location::Reg(reg)) =
                (first, last_use[r as usize] == k, full[r as usize], place[r as usize])
            {
                free.push(reg);
            }
        }
        full[inst.dst as usize] = inst.rank == Rank::Full;
        if let (Some(product), Some(f)) = (&factors[k], accumulate::of_product(inst.dtype)) {
            src.iter_mut().zip(&product.regs).for_each(|(s, &r)| *s = place[r as usize]);
            let action = Action::AddProduct(f);
            out.code.push(Micro { action, dst, src, arity: product.regs.len(), rank: inst.rank, size: inst.dtype.bytes() });
            continue;
        }
        if let (Some(other), Some(f)) = (added[k], accumulate::of(inst.dtype)) {
            src[0] = place[other as usize];
            let action = Action::Apply(f);
            out.code.push(Micro { action, dst, src, arity: 1, rank: inst.rank, size: inst.dtype.bytes() });
            continue;
        }
        if let Some(pair) = &pairs[k] {
            src = pair.regs.map(|r| place[r as usize]);
            let action = Action::Apply(pair.kernel);
            out.code.push(Micro { action, dst, src, arity: 3, rank: inst.rank, size: inst.dtype.bytes() });
            continue;
        }
        out.code.push(instruction(inst, dst, src));
    }
    let along_rows = |l: &LoadStep| l.how == Walk::Strided && l.map.strides.last() == Some(&1);
    out.row = body.dims.last().copied().filter(|&n| n >= LONG_ROW && out.loads.iter().any(along_rows));
    out.finish(body, &place);
    out
}

/// The function of one instruction.
pub(super) fn instruction(inst: &Inst, dst: Location, src: [Location; 3]) -> Micro {
    let (action, size) = match inst.code {
        Code::Map(e) => {
            let kernel = e.kernel(inst.dtype).expect("the op was called with a type of its class");
            (Action::Apply(kernel), e.record().class.types(inst.dtype).1.bytes())
        }
        Code::Cast(to) => (Action::Apply(cast_loop(inst.dtype, to)), to.bytes()),
        Code::Fold(kind) => (Action::Fold(fold_of(kind, inst.dtype)), inst.dtype.bytes()),
        Code::Spread => (Action::Spread, inst.dtype.bytes()),
    };
    Micro { action, dst, src, arity: inst.src.len(), rank: inst.rank, size }
}

/// The place of each load in the list of registers' places.
pub(super) fn load_places(body: &Loop, count: usize) -> Vec<Location> {
    let mut place = vec![Location::Reg(0); count];
    body.loads.iter().enumerate().for_each(|(i, load)| place[load.reg as usize] = Location::Load(i as u16));
    place
}

/// As many elements as keep a thread busy for about as long, whatever is done with each.
fn task_of(body: &Loop) -> usize {
    const TURNS: usize = 8;
    let turns = body.loads.len() + 2 * body.code.len() + body.stores.len();
    (TASK * TURNS / turns.max(TURNS)).next_multiple_of(BLOCK)
}

/// Elements of a block of a loop without reductions: as many as keep what is read and written again within a block in the first cache.
fn map_block(l: &Lowered) -> usize {
    const CACHE: usize = 32 << 10;
    let streams = l.registers + l.loads.iter().filter(|l| l.how == Walk::Straight).count() + l.stores.len();
    let widest = l.code.iter().map(|m| m.size).max().unwrap_or(4);
    let most = CACHE / (widest * streams.max(1));
    grain((1 << most.max(1).ilog2()).clamp(256, 2048))
}

/// The slot whose memory this buffer takes over.
pub(super) fn donor(plan: &Plan, buffer: u32) -> Option<u32> {
    match plan.buffers[buffer as usize].storage {
        Storage::Output(output) => plan.outputs[output as usize].donor,
        _ => None,
    }
}

pub(super) fn loads_of<'a>(body: &'a Loop, plan: &'a Plan, slot: u32) -> impl Iterator<Item = &'a Load> {
    let is_slot = move |b: u32| plan.buffers[b as usize].storage == Storage::Slot(slot);
    body.loads.iter().filter(move |l| l.source.buffer().is_some_and(is_slot))
}

/// The other operand, if instruction `at` only adds something to the old value of the store, which is read for the last time.
fn accumulates(body: &Loop, plan: &Plan, at: usize, store: &Store, last: Option<usize>) -> Option<Reg> {
    let inst = &body.code[at];
    let mut old = loads_of(body, plan, donor(plan, store.buffer)?);
    let (load, None) = (old.next()?, old.next()) else { return None };
    let add = inst.code == Code::Map(Elementwise::add) && accumulate::of(inst.dtype).is_some();
    let other = match inst.src[..] {
        [x, y] if x == load.reg => y,
        [x, y] if y == load.reg => x,
        _ => return None,
    };
    (add && last == Some(at) && other != load.reg && load.map == store.map).then_some(other)
}

/// An instruction that is run together with the one whose result it alone reads.
struct Pair {
    inner: usize,
    /// The operands of the inner one, and the other operand of the outer one.
    regs: [Reg; 3],
    kernel: LaneLoop,
}

/// For each instruction its pair, if it has one; the inner one's operands live until the outer one has run.
fn pairs(body: &Loop, last_use: &mut [usize]) -> Vec<Option<Pair>> {
    let mut uses = vec![0; last_use.len()];
    let mut made = vec![None; last_use.len()];
    body.code.iter().flat_map(|i| &i.src).for_each(|&r| uses[r as usize] += 1);
    let mut pairs: Vec<Option<Pair>> = Vec::with_capacity(body.code.len());
    for (at, inst) in body.code.iter().enumerate() {
        let pair = |left: bool| {
            let (Code::Map(outer), &[x, y]) = (inst.code, &inst.src[..]) else { return None };
            let (from, other) = if left { (x, y) } else { (y, x) };
            let inner: usize = made[from as usize]?;
            let Inst { code: Code::Map(op), src, .. } = &body.code[inner] else { return None };
            let alike = (body.code[inner].rank, body.code[inner].dtype) == (inst.rank, inst.dtype);
            let alone = uses[from as usize] == 1 && last_use[from as usize] != usize::MAX;
            // A square is a product of a number with itself.
            let (op, second) = if *op == Elementwise::square { (Elementwise::multiply, src[0]) } else { (*op, *src.get(1)?) };
            let kernel = pair::of(outer, op, left, inst.dtype)?;
            (alike && alone && pairs[inner].is_none()).then_some(Pair { inner, regs: [src[0], second, other], kernel })
        };
        let found = pair(true).or_else(|| pair(false));
        if let Some(pair) = &found {
            pair.regs.iter().for_each(|&r| last_use[r as usize] = last_use[r as usize].max(at));
        }
        pairs.push(found);
        made[inst.dst as usize] = Some(at);
    }
    pairs
}

/// A product that is made and added in one instruction.
struct Factors {
    /// In the order in which they are multiplied.
    regs: SmallVec<[Reg; 3]>,
    /// The instruction that adds it, and those that would have made it.
    insts: SmallVec<[usize; 3]>,
}

/// The factors of what instruction `at` adds, if nothing else reads the products; they live until then.
fn factors(body: &Loop, at: usize, other: Reg, last_use: &mut [usize]) -> Option<Factors> {
    let made = |r: Reg, last_use: &[usize]| {
        let uses = body.code.iter().flat_map(|i| &i.src).filter(|&&s| s == r).count();
        let k = body.code.iter().position(|i| i.dst == r && i.code == Code::Map(Elementwise::multiply))?;
        let alike = body.code[k].dtype == body.code[at].dtype && body.code[k].rank == body.code[at].rank;
        (alike && uses == 1 && last_use[r as usize] != usize::MAX).then_some(k)
    };
    let k = made(other, last_use)?;
    let mut out = Factors { regs: SmallVec::from_slice(&body.code[k].src), insts: smallvec![at, k] };
    for (n, rest) in [(0, 1), (1, 0)] {
        if let Some(inner) = made(out.regs[n], last_use) {
            let [x, y] = body.code[inner].src[..] else { continue };
            out.regs = smallvec![x, y, out.regs[rest]];
            out.insts.push(inner);
            break;
        }
    }
    // The summand is no factor.
    if body.code[at].src.iter().any(|r| *r != other && out.regs.contains(r)) {
        return None;
    }
    out.regs.iter().for_each(|&r| last_use[r as usize] = last_use[r as usize].max(at));
    Some(out)
}

pub(super) fn fold_of_inst(inst: &Inst) -> Fold {
    let Code::Fold(kind) = inst.code else { unreachable!("only folds are joined") };
    fold_of(kind, inst.dtype)
}

fn fold_of(kind: Reduction, dtype: DType) -> Fold {
    fold::of(kind, dtype).expect("the reduction was called with a type it has")
}

pub(super) fn registers(body: &Loop) -> usize {
    let loads = body.loads.iter().map(|l| l.reg as usize + 1);
    let code = body.code.iter().map(|i| i.dst as Reg as usize + 1);
    loads.chain(code).max().unwrap_or(0)
}
