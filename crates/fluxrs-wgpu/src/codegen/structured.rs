//! Structured ops, by the name of their shader. Each template says what its argument words are.

use super::args::Args;
use super::builder::{Launch, Target, check_dtype, grid};
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

/// Rows longer than this are not sorted by counting.
const SORTED: usize = 1 << 14;

/// One call on its way to a kernel.
struct Op<'a, 'b> {
    call: &'a Call,
    targets: &'a mut Targets<'b>,
    limits: &'a Limits,
    cost: usize,
}

impl Op<'_, '_> {
    fn unsupported<T>(&self, what: &str) -> Result<T> {
        Err(Fault::Unsupported(format!("{}{what}", self.call.op.name())))
    }

    fn operand(&self, i: usize) -> Result<Target> {
        let argument: &Argument = &self.call.srcs[i];
        check_dtype(argument.dtype)?;
        match argument.source {
            Source::Buffer(buffer) => Ok(self.targets.all[buffer as usize]),
            _ => self.unsupported(" of a Python number"),
        }
    }

    fn offset(&self, i: usize) -> usize {
        self.call.srcs[i].offset
    }

    fn out(&self) -> (Target, Access) {
        (self.targets.all[self.call.out as usize], Access::Write)
    }

    fn grid(&self, items: usize, threads: usize) -> [u32; 3] {
        let [x, y] = grid(items.div_ceil(threads), self.limits.groups);
        [x, y, 1]
    }

    fn launch(&self, text: &str, bindings: Vec<(Target, Access)>, args: Args, groups: [u32; 3]) -> Launch {
        let source = library::used_by(text) + text;
        Launch { source, bindings, args, groups, cost: self.cost }
    }

    /// Data and row numbers to a result, with the flag for numbers out of range.
    fn indexed(&self, text: &str, sizes: [usize; 3], items: usize, threads: usize) -> Result<Launch> {
        let groups = self.grid(items, threads);
        let mut args = Args::default();
        let [a, b, c] = sizes;
        let number = 1 + OPS.iter().position(|&op| op == self.call.op.name()).unwrap_or(0);
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
        let (dtype, elements) = (self.call.srcs[0].dtype, size(&self.call.srcs[0].shape));
        let mut all = self.zeros(dtype)?;
        if elements > 0 {
            let add = "fn add(at: u32, word: u32) {\n    atomicAdd(&out[at], word);\n}\n";
            let parts: &[_] = if dtype == DType::F32 { &[] } else { &[("add", add)] };
            let text = fill(template::SCATTER_ADD, parts, false);
            let sizes = [elements, size(&self.call.shape[1..]), self.call.shape[0]];
            all.push(self.indexed(&text, sizes, elements, 256)?);
        }
        Ok(all)
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
        let (n, k) = (self.call.shape[self.call.shape.len() - 1], self.call.srcs[0].shape[self.call.shape.len() - 1]);
        let rows = size(&self.call.shape) / n.max(1);
        let alias = format!("alias Scalar = {};\n", super::builder::scalar(self.call.srcs[0].dtype));
        let text = fill(template::ADD_ALONG, &[("scalar", &alias)], false);
        Ok(vec![self.indexed(&text, [rows, n, k], rows, 64)?])
    }

    fn random(&self, dtype: DType) -> Result<Vec<Launch>> {
        let part = match self.call.op.name() {
            "rand" => "",
            "randn" => template::RANDOM_NORMAL,
            "randint" => template::RANDOM_INTEGER,
            _ => return self.unsupported(" (64-bit integers)"),
        };
        check_dtype(dtype)?;
        let elements = size(&self.call.shape);
        let groups = self.grid(elements.div_ceil(4), 64);
        let mut args = Args::default();
        args.size(elements);
        args.word(groups[0]);
        for argument in &self.call.srcs {
            let Source::Number(number) = argument.source else { return self.unsupported(" with a computed seed") };
            args.wide(number);
        }
        args.words.resize(12, 0);
        let parts: &[_] = if part.is_empty() { &[] } else { &[("make", part)] };
        Ok(vec![self.launch(&fill(template::RANDOM, parts, false), vec![self.out()], args, groups)])
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
            "cumsum" => "last + x",
            "cumprod" => "last * x",
            "recurrence" => "x * last + b",
            _ => return self.unsupported(""),
        };
        let scalar = super::builder::scalar(dtype);
        let step = format!(
            "alias Scalar = {scalar};\n\nfn step(last: Scalar, x: Scalar, b: Scalar) -> Scalar {{\n    return {rule};\n}}\n"
        );
        let bindings = vec![(self.operand(0)?, Access::Read), (self.operand(other)?, Access::Read), self.out()];
        Ok(vec![self.launch(&fill(template::SCAN, &[("step", &step)], false), bindings, args, groups)])
    }

    /// A kernel over rows of the one operand: their number, length and start.
    fn by_row(&self, text: &str, items: usize, threads: usize) -> Result<Vec<Launch>> {
        let length = self.call.srcs[0].shape.last().copied().unwrap_or(1);
        let groups = self.grid(items, threads);
        let mut args = Args::default();
        for word in [items, length, self.offset(0), groups[0] as usize] {
            args.size(word);
        }
        Ok(vec![self.launch(text, vec![(self.operand(0)?, Access::Read), self.out()], args, groups)])
    }

    fn argextreme(&self) -> Result<Vec<Launch>> {
        let sign = if self.call.op.name() == "argmax" { ">" } else { "<" };
        let dtype = self.call.srcs[0].dtype;
        let (scalar, nan) = match dtype {
            DType::F32 => ("f32", "fx_isnan(bitcast<f32>(word))"),
            DType::Bool => ("u32", "false"),
            _ => ("i32", "false"),
        };
        let better = format!(
            "alias Scalar = {scalar};\n\nfn better(x: Scalar, best: Scalar) -> bool {{\n    return x {sign} best;\n}}\n\n\
             fn is_nan(word: u32) -> bool {{\n    return {nan};\n}}\n"
        );
        self.by_row(&fill(template::ARGEXTREME, &[("better", &better)], false), size(&self.call.shape), 64)
    }

    fn argsort(&self) -> Result<Vec<Launch>> {
        let source = &self.call.srcs[0];
        if source.shape.last().is_some_and(|&n| n > SORTED) {
            return self.unsupported(&format!(" of rows longer than {SORTED}"));
        }
        let whole = match source.dtype {
            DType::F32 => "",
            DType::Bool => "fn key(word: u32) -> u32 {\n    return word;\n}\n",
            _ => "fn key(word: u32) -> u32 {\n    return word ^ 0x80000000u;\n}\n",
        };
        let parts: &[_] = if whole.is_empty() { &[] } else { &[("key", whole)] };
        self.by_row(&fill(template::ARGSORT, parts, false), size(&self.call.shape), 256)
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
        _ => op.unsupported(""),
    }
}

/// Whether a call may raise the flag for an index out of range.
pub(crate) fn raises(call: &Call) -> bool {
    OPS.contains(&call.op.name())
}

/// The kernel that looks at a loss before the commit.
pub(crate) fn guard(loss: Target, length: usize, number: usize) -> Launch {
    let mut args = Args::default();
    args.size(length);
    args.size(number);
    let bindings = vec![(loss, Access::Read), (Target::Status, Access::Write)];
    Launch { source: template::GUARD.to_owned(), bindings, args, groups: [1, 1, 1], cost: length }
}
