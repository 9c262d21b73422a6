//! A plan: what a computation runs, in order, without sizes of its own memory and without a device.

use crate::buffer::Buffer;
use crate::cache::bytes_of;
use crate::dtype::{DType, Number};
use crate::error::Error;
use crate::ops::reduce::Reduction;
use crate::ops::{Elementwise, Structured};
use crate::shape::{self, Bound, Map, Shape, spilled};
use crate::work;
use smallvec::SmallVec;
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// An index into [`Plan::buffers`].
pub type Buf = u32;
/// A value inside a fused program; each is written once.
pub type Reg = u32;

/// Where a buffer of a plan comes from at each run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storage {
    /// A value that was there before: `bindings.slots[i]`.
    Slot(u32),
    /// A result: `bindings.outputs[i]`. In the last segment it may be a slot's own memory.
    Output(u32),
    /// Memory between two kernels of a run; each device lays it out by [`Plan::lives`].
    Temporary,
}

#[derive(Clone, Debug)]
pub struct BufferInfo {
    pub storage: Storage,
    pub dtype: DType,
    pub len: usize,
}

#[derive(Clone, Debug)]
pub struct OutputInfo {
    pub buffer: Buf,
    /// The slot whose memory this result takes over, if it is overwritten in place.
    pub donor: Option<u32>,
}

pub struct Plan {
    /// The device it was made for.
    pub device: crate::device::Device,
    pub buffers: Vec<BufferInfo>,
    pub outputs: Vec<OutputInfo>,
    pub kernels: Vec<Kernel>,
    /// The first kernel of the last segment, which writes parameters and state: once begun, it is not interrupted.
    pub commit: usize,
    /// Outputs that must be finite before the last segment may run.
    pub guards: Vec<Buf>,
    /// The plan's cost in nanoseconds of one core, as estimated.
    pub cost: usize,
    /// Of a scan's step: what the device has made of it, for all plans that run it.
    pub lowered: OnceLock<Arc<dyn Any + Send + Sync>>,
}

pub struct Kernel {
    pub body: Body,
    /// The names of the ops in it, for people.
    pub label: String,
    pub cost: usize,
}

#[derive(Clone)]
pub enum Body {
    Loop(Loop),
    Matmul(Box<Matmul>),
    Structured(Call),
    Repeat(Repeat),
}

impl Body {
    pub fn as_loop(&self) -> Option<&Loop> {
        if let Body::Loop(l) = self { Some(l) } else { None }
    }

    /// Every buffer the kernel touches, some perhaps more than once.
    pub fn buffers(&self) -> Vec<Buf> {
        let mut out = Vec::new();
        match self {
            Body::Loop(l) => l.add_buffers(&mut out),
            Body::Matmul(m) => {
                out.extend([m.a, m.b, m.c]);
                m.epilogue.iter().for_each(|l| l.add_buffers(&mut out));
            }
            Body::Structured(call) => {
                out.extend(call.srcs.iter().filter_map(|s| s.source.buffer()));
                out.extend(call.out.into_iter().chain(call.elements).chain(call.keys));
            }
            Body::Repeat(r) => {
                out.extend(r.feeds.iter().filter_map(Feed::buffer).chain(r.steps.iter().copied()));
                for carry in &r.carries {
                    out.extend(carry.first.source.buffer().into_iter().chain(carry.all).chain(carry.last));
                }
            }
        }
        out
    }
}

/// The temporaries that a kernel is the first and the last to touch.
#[derive(Clone, Default)]
pub struct Life {
    pub begins: SmallVec<[Buf; 2]>,
    pub ends: SmallVec<[Buf; 2]>,
}

impl BufferInfo {
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }
}

impl Plan {
    /// For every kernel the temporaries whose lives begin and end with it.
    pub fn lives(&self) -> Vec<Life> {
        let mut lives = vec![Life::default(); self.kernels.len()];
        let mut last: Vec<Option<usize>> = vec![None; self.buffers.len()];
        let touched: Vec<Vec<Buf>> = self.kernels.iter().map(|k| k.body.buffers()).collect();
        work::count(touched.iter().map(Vec::len).sum());
        let is_temporary = |b: &&Buf| self.buffers[**b as usize].storage == Storage::Temporary;
        for (k, buffers) in touched.iter().enumerate() {
            for &b in buffers.iter().filter(is_temporary) {
                if last[b as usize].replace(k).is_none() {
                    lives[k].begins.push(b);
                }
            }
        }
        for (k, buffers) in touched.iter().enumerate() {
            for &b in buffers.iter().filter(is_temporary) {
                // Taken, so that a buffer touched twice ends once.
                if last[b as usize].take_if(|last| *last == k).is_some() {
                    lives[k].ends.push(b);
                }
            }
        }
        lives
    }

    /// The most bytes of temporaries that live at one time, with those of a scan's step.
    pub fn peak(&self) -> usize {
        let bytes = |list: &[Buf]| list.iter().map(|&b| self.buffers[b as usize].bytes() as u128).sum::<u128>();
        let (mut now, mut most) = (0, 0);
        for (life, kernel) in self.lives().iter().zip(&self.kernels) {
            now += bytes(&life.begins);
            let of_step = if let Body::Repeat(r) = &kernel.body { r.plan.peak() as u128 } else { 0 };
            most = most.max(now + of_step);
            now -= bytes(&life.ends);
        }
        most.try_into().unwrap_or(usize::MAX)
    }

    /// The memory that the plan itself takes.
    pub fn bytes(&self) -> usize {
        let kernels = self.kernels.iter().map(|k| k.label.capacity() + k.body.bytes()).sum::<usize>();
        size_of::<Plan>()
            + bytes_of(&self.buffers)
            + bytes_of(&self.outputs)
            + bytes_of(&self.kernels)
            + bytes_of(&self.guards)
            + kernels
    }
}

impl Body {
    fn bytes(&self) -> usize {
        match self {
            Body::Loop(l) => l.bytes(),
            Body::Matmul(m) => {
                let own = size_of::<Matmul>();
                let maps = [&m.a_map, &m.b_map].map(|map| spilled(&map.strides));
                let shapes = [&m.batch, &m.inner, &m.cols].map(spilled);
                own + maps.into_iter().chain(shapes).sum::<usize>() + m.epilogue.as_ref().map_or(0, Loop::bytes)
            }
            Body::Structured(c) => {
                bytes_of(&c.srcs) + spilled(&c.shape) + c.srcs.iter().map(|s| spilled(&s.shape)).sum::<usize>()
            }
            Body::Repeat(r) => {
                r.plan.bytes() + bytes_of(&r.feeds) + bytes_of(&r.numbers) + bytes_of(&r.carries) + bytes_of(&r.steps)
            }
        }
    }
}

impl Loop {
    fn bytes(&self) -> usize {
        let maps = self.loads.iter().map(|l| &l.map).chain(self.stores.iter().map(|s| &s.map));
        let lists = bytes_of(&self.loads) + bytes_of(&self.code) + bytes_of(&self.stores);
        let sparse = self.sparse.as_ref().map_or(0, |_| size_of::<Sparse>());
        lists + sparse + spilled(&self.dims) + maps.map(|map| spilled(&map.strides)).sum::<usize>()
    }

    fn add_buffers(&self, out: &mut Vec<Buf>) {
        out.extend(self.loads.iter().filter_map(|l| l.source.buffer()));
        out.extend(self.stores.iter().map(|s| s.buffer));
        out.extend(self.sparse.iter().map(|s| s.keys));
    }
}

impl Source {
    pub fn buffer(self) -> Option<Buf> {
        match self {
            Source::Buffer(b) => Some(b),
            _ => None,
        }
    }
}

/// The order in which the elements of a loop nest are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No reduction: every element by itself.
    Map,
    /// The last `dims.len() - fence` axes are reduced, row by row.
    Rows,
    /// The first `fence` axes are reduced: whole rows of the rest are folded into one.
    Columns,
}

/// A fused program over an iteration space.
///
/// `Map`: all registers are `Full`. `Rows`: `Full` registers have an element for every index, `Row` registers one for every index of
/// the axes before the fence. `Columns`: `Row` registers have one for every index of the axes behind the fence.
#[derive(Clone, Debug)]
pub struct Loop {
    pub mode: Mode,
    pub dims: Shape,
    pub fence: usize,
    pub loads: Vec<Load>,
    pub code: Vec<Inst>,
    pub stores: Vec<Store>,
    /// For an operand that is zero but for some rows.
    pub sparse: Option<Box<Sparse>>,
}

/// An operand of a loop that is zero but for some rows of the loop's first axis: its load's buffer has those alone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sparse {
    /// The load's.
    pub reg: Reg,
    /// The sorted keys row · n + place of n numbers of rows. The buffer's row i is that of key i, if that is the first one of its row.
    pub keys: Buf,
    pub n: usize,
    pub width: usize,
    /// If the loop changes nothing in rows where the operand is zero, once this number times 0 is the 0 of this sign.
    pub only: Option<(Source, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rank {
    Full,
    Row,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Source {
    Buffer(Buf),
    /// `bindings.numbers[i]`, converted to the load's dtype.
    Number(u32),
    /// A number that is part of the plan.
    Constant(Number),
}

#[derive(Clone, Debug)]
pub struct Load {
    pub reg: Reg,
    pub source: Source,
    pub dtype: DType,
    pub rank: Rank,
    /// Strides over all of `dims`; over the axes that a `Row` load does not have they are 0.
    pub map: Map,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Map(Elementwise),
    /// From the operand's dtype to this one.
    Cast(DType),
    /// A `Full` register to a `Row` register.
    Fold(Reduction),
    /// A `Row` register to a `Full` register.
    Spread,
}

#[derive(Clone, Debug)]
pub struct Inst {
    pub code: Code,
    /// The operands' dtype (of the values, for `where`).
    pub dtype: DType,
    pub dst: Reg,
    pub src: SmallVec<[Reg; 3]>,
    /// The rank of the result.
    pub rank: Rank,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub reg: Reg,
    pub buffer: Buf,
    pub dtype: DType,
    pub rank: Rank,
    pub map: Map,
}

/// C = A·B for every index of `batch`, then the epilogue over C's elements.
#[derive(Clone)]
pub struct Matmul {
    pub dtype: DType,
    pub batch: Shape,
    pub m: usize,
    /// The axes that are summed over, and those of C's columns: one of each, unless B is a window.
    pub inner: Shape,
    pub cols: Shape,
    pub a: Buf,
    /// Strides over (batch…, m, inner…).
    pub a_map: Map,
    pub b: Buf,
    /// Strides over (batch…, inner…, cols…). Of a window the offset and some positions may lie outside the buffer.
    pub b_map: Map,
    /// If B is a window: what bounds it. Elements beyond a bound are zero. All inner axes but the first may be bounded, and all columns'
    /// but the first; sums run over the inner axes in order.
    pub window: Option<SmallVec<[Bound; 3]>>,
    /// Contiguous (batch…, m, n).
    pub c: Buf,
    /// A `Map` loop over (batch…, m, n) that reads C at its own index; it may run on any finished rows.
    pub epilogue: Option<Loop>,
    /// True if anything but the epilogue reads C.
    pub keeps_c: bool,
}

impl Matmul {
    pub fn k(&self) -> usize {
        shape::size(&self.inner)
    }

    pub fn n(&self) -> usize {
        shape::size(&self.cols)
    }
}

/// A structured op.
#[derive(Clone)]
pub struct Call {
    pub op: Arc<dyn Structured>,
    /// The node among those that the plan was made for: at another run another one, called elsewhere.
    pub local: u32,
    pub srcs: Vec<Argument>,
    /// Its result; None if only the elements at the places that it finds are asked for.
    pub out: Option<Buf>,
    /// The elements of `srcs[0]` at the places that it finds, if they are asked for.
    pub elements: Option<Buf>,
    /// If its result has only the rows that are not zero: their keys.
    pub keys: Option<Buf>,
    pub shape: Shape,
    pub dtype: DType,
}

/// A plan that runs once for each row of sequences.
#[derive(Clone)]
pub struct Repeat {
    /// Of one step. Its results are the new states and then what the step gives.
    pub plan: Arc<Plan>,
    /// As of a [`Call`].
    pub local: u32,
    pub length: usize,
    /// From the last row to the first.
    pub reverse: bool,
    /// For each slot of the plan.
    pub feeds: Vec<Feed>,
    /// For each number of the plan, with what is added to it at the first step and then at each.
    pub numbers: Vec<(Source, i64, i64)>,
    pub carries: Vec<Carry>,
    /// Where the rows go that the steps give.
    pub steps: Vec<Buf>,
}

/// The binding of a slot of a step's plan.
#[derive(Clone)]
pub enum Feed {
    /// The whole buffer at every step.
    Whole(Buf),
    /// A contiguous row of a buffer: in elements, where row 0 begins and how far the next is.
    Row { buffer: Buf, offset: i64, stride: i64 },
    /// A state before the step.
    State(usize),
}

impl Feed {
    pub fn buffer(&self) -> Option<Buf> {
        match self {
            Feed::Whole(buffer) | Feed::Row { buffer, .. } => Some(*buffer),
            Feed::State(_) => None,
        }
    }
}

/// A state of a repeated plan.
#[derive(Clone)]
pub struct Carry {
    /// The value before the first step, contiguous.
    pub first: Argument,
    /// Where all its values go, in the order of the rows: the first value lies in row 0, or in the last if it runs in reverse.
    pub all: Option<Buf>,
    /// Where the last value goes.
    pub last: Option<Buf>,
}

#[derive(Clone)]
pub struct Argument {
    pub source: Source,
    /// Where in the buffer each element lies.
    pub map: Map,
    pub shape: Shape,
    pub dtype: DType,
}

/// Undoes a commit on the host.
pub trait Rollback: Send + Sync {
    /// The commit did not happen, because of these losses or of an earlier step. Of several commits the latest is rolled back first.
    fn roll_back(&self, bad: &dyn Fn(usize) -> bool);
    /// An error of a call of the plan, with the line that made the call.
    fn named(&self, local: u32, error: Error) -> Error;
}

/// The memory that one run of a plan works on, and its outcome.
pub struct Bindings<'a> {
    pub slots: &'a [Buffer],
    pub numbers: &'a [Number],
    /// One buffer an output; where the plan names a donor, the donor's own.
    pub outputs: &'a [Buffer],
    /// Set from outside to stop the run between kernels and tiles.
    pub stop: &'a std::sync::atomic::AtomicBool,
    /// Which losses were Inf or NaN, found before the last segment, which then did not run.
    pub bad_losses: Vec<usize>,
    /// The call that failed.
    pub failed: Option<u32>,
    /// Taken by a device that returns before it knows whether the last segment ran: it rolls the commit back if not, and drops it
    /// once the commit has happened.
    pub rollback: Option<Arc<dyn Rollback>>,
}

impl Bindings<'_> {
    pub fn stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}
