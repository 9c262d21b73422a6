//! Structured ops, by the name of their shader. Each template says what its argument words are.

use super::args::Args;
use super::builder::{self, Launch, Target, check_dtype, grid};
use super::map;
use super::spill::Targets;
use crate::device::Limits;
use crate::fault::{Fault, Result};
use crate::library;
use crate::pipeline::Access;
use crate::steps::OPS;
use crate::template::{self, fill};
use fluxrs::dtype::{DType, Number};
use fluxrs::plan::{Argument, Call, Load, Loop, Mode, Rank, Source, Store};
use fluxrs::shape::{Map, size};

/// One call on its way to a kernel.
pub(super) struct Op<'a, 'b> {
    pub call: &'a Call,
    pub targets: &'a mut Targets<'b>,
    pub limits: &'a Limits,
    pub cost: usize,
}

impl Op<'_, '_> {
    pub(super) fn unsupported<T>(&self, what: &str) -> Result<T> {
        Err(Fault::Unsupported(format!("{}{what}", self.call.op.name())))
    }

    pub(super) fn operand(&self, i: usize) -> Result<Target> {
        let argument: &Argument = &self.call.srcs[i];
        check_dtype(argument.dtype)?;
        match argument.source {
            Source::Buffer(buffer) => Ok(self.targets.all[buffer as usize]),
            _ => self.unsupported(" of a Python number"),
        }
    }

    pub(super) fn offset(&self, i: usize) -> usize {
        self.call.srcs[i].offset
    }

    pub(super) fn out(&self) -> (Target, Access) {
        (self.targets.all[self.call.out as usize], Access::Write)
    }

    pub(super) fn grid(&self, items: usize, threads: usize) -> [u32; 3] {
        let [x, y] = grid(items.div_ceil(threads), self.limits.groups);
        [x, y, 1]
    }

    pub(super) fn launch(&self, text: &str, mut bindings: Vec<(Target, Access)>, args: Args, groups: [u32; 3]) -> Launch {
        let mut text = text.to_owned();
        if builder::flag_overflow(&mut text, "status") {
            bindings.push((Target::Status, Access::Write));
            let at = bindings.len();
            text = format!("@group(0) @binding({at}) var<storage, read_write> status: array<u32>;\n{text}");
        }
        Launch { source: library::used_by(&text) + &text, bindings, args, groups, cost: self.cost }
    }

    /// The number of the op with the flag that it raises.
    pub(super) fn number(&self) -> usize {
        1 + OPS.iter().position(|&op| op == self.call.op.name()).unwrap_or(OPS.len())
    }

    /// Data and row numbers to a result, with the flag for numbers out of range.
    fn indexed(&self, text: &str, sizes: [usize; 3], items: usize, threads: usize) -> Result<Launch> {
        let groups = self.grid(items, threads);
        let mut args = Args::default();
        let [a, b, c] = sizes;
        let number = self.number();
        for word in [a, b, c, groups[0] as usize, self.offset(0), self.offset(1), number] {
            args.size(word);
        }
        let (data, index) = (self.operand(0)?, self.operand(1)?);
        let bindings = vec![(data, Access::Read), (index, Access::Read), self.out(), (Target::Status, Access::Write)];
        Ok(self.launch(&(template::INDEXED.to_owned() + text), bindings, args, groups))
    }

    fn gather(&self) -> Result<Vec<Launch>> {
        let (table, elements) = (&self.call.srcs[0].shape, size(&self.call.shape));
        let sizes = [elements, size(&table[1..]), table[0]];
        Ok(vec![self.indexed(template::GATHER, sizes, elements, 256)?])
    }

    /// Zeros first, then the sums.
    fn scatter_add(&mut self) -> Result<Vec<Launch>> {
        self.check_float()?;
        let elements = size(&self.call.srcs[0].shape);
        let mut all = self.zeros(DType::F32)?;
        if elements > 0 {
            let sizes = [elements, size(&self.call.shape[1..]), self.call.shape[0]];
            all.push(self.indexed(template::SCATTER_ADD, sizes, elements, 256)?);
        }
        Ok(all)
    }

    /// The adjoints of what takes elements by number are gradients, which are floats.
    fn check_float(&self) -> Result<()> {
        match self.call.srcs[0].dtype {
            DType::F32 => Ok(()),
            other => self.unsupported(&format!(" of {other}")),
        }
    }

    fn zeros(&mut self, dtype: DType) -> Result<Vec<Launch>> {
        let n = size(&self.call.shape);
        let everywhere = Map { offset: 0, strides: [0].as_slice().into() };
        let source = Source::Constant(Number::Int(0));
        let store = Store { reg: 0, buffer: self.call.out, dtype, rank: Rank::Full, map: Map::contiguous(&[n]) };
        let body = Loop {
            mode: Mode::Map,
            dims: [n].as_slice().into(),
            fence: 0,
            loads: vec![Load { reg: 0, source, dtype, rank: Rank::Full, map: everywhere }],
            code: Vec::new(),
            stores: vec![store],
        };
        map::launches(&body, self.targets, false, n, self.limits)
    }

    fn take_along(&self) -> Result<Vec<Launch>> {
        let length = |i: usize| self.call.srcs[i].shape.last().copied().unwrap_or(1);
        let elements = size(&self.call.shape);
        Ok(vec![self.indexed(template::TAKE_ALONG, [elements, length(0), length(1)], elements, 256)?])
    }

    fn add_along(&self) -> Result<Vec<Launch>> {
        self.check_float()?;
        let (n, k) = (self.call.shape[self.call.shape.len() - 1], self.call.srcs[0].shape[self.call.shape.len() - 1]);
        let rows = size(&self.call.shape) / n.max(1);
        Ok(vec![self.indexed(template::ADD_ALONG, [rows, n, k], rows, 64)?])
    }

    fn scan(&self) -> Result<Vec<Launch>> {
        let dtype = self.call.srcs[0].dtype;
        let key = self.call.op.key();
        let (axis, reverse) = ((key >> 1) as usize, key & 1);
        let shape = &self.call.shape;
        let inner = size(&shape[axis + 1..]);
        let lines = size(shape) / shape[axis];
        let other = self.call.srcs.len() - 1;
        let groups = self.grid(lines, 64);
        let mut args = Args::default();
        for word in [lines, shape[axis], inner, groups[0] as usize, self.offset(0), self.offset(other), reverse as usize] {
            args.size(word);
        }
        let rule = match self.call.op.name() {
            "cumsum" if dtype == DType::I64 => "fx_wide_add(last, x)",
            "cumprod" if dtype == DType::I64 => "fx_wide_mul(last, x)",
            "cumsum" => "last + x",
            "cumprod" => "last * x",
            "recurrence" => "x * last + b",
            _ => return self.unsupported(""),
        };
        let scalar = builder::scalar(dtype);
        let step = format!(
            "alias Scalar = {scalar};\n\nfn step(last: Scalar, x: Scalar, b: Scalar) -> Scalar {{\n    return {rule};\n}}\n"
        );
        let bindings = vec![(self.operand(0)?, Access::Read), (self.operand(other)?, Access::Read), self.out()];
        Ok(vec![self.launch(&fill(template::SCAN, &[("step", &step)], false), bindings, args, groups)])
    }
}

pub(crate) fn launches(call: &Call, targets: &mut Targets, dtype: DType, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    let mut op = Op { call, targets, limits, cost };
    if size(&call.shape) == 0 {
        return Ok(Vec::new());
    }
    match call.op.shader() {
        Some("gather") => op.gather(),
        Some("scatter_add") => op.scatter_add(),
        Some("take_along") => op.take_along(),
        Some("add_along") => op.add_along(),
        Some("random") => op.random(dtype),
        Some("scan") => op.scan(),
        Some("argextreme") => op.argextreme(),
        Some("argsort") => op.argsort(),
        Some("iota") => op.iota(dtype),
        Some("lu") => op.lu(),
        _ => op.unsupported(""),
    }
}

/// Whether a call may raise a flag: for an index out of range, a singular matrix, an int64 that does not fit.
pub(crate) fn raises(call: &Call) -> bool {
    OPS.contains(&call.op.name()) || call.dtype == DType::I64 && matches!(call.op.shader(), Some("scan" | "iota"))
}

/// The kernel that looks at a loss before the commit.
pub(crate) fn guard(loss: Target, length: usize, number: usize) -> Launch {
    let mut args = Args::default();
    args.size(length);
    args.size(number);
    let bindings = vec![(loss, Access::Read), (Target::Status, Access::Write)];
    Launch { source: template::GUARD.to_owned(), bindings, args, groups: [1, 1, 1], cost: length }
}
