//! One kernel under construction: its arguments, its bindings, and how values are read and written.

use super::args::Args;
use crate::fault::{Fault, Result};
use crate::library;
use crate::limits::Limits;
use crate::pipeline::Access;
use crate::steps::{BAD, FLAG, OVERFLOW};
use fluxrs::dtype::DType;
use fluxrs::plan::{Buf, Source};
use std::sync::Arc;

/// The buffer that a binding stands for at each run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Target {
    Slot(u32),
    Output(u32),
    /// A temporary of the plan.
    Temp(u32),
    /// The device's flags.
    Status,
}

/// A kernel ready to be compiled and run.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub source: Arc<str>,
    pub bindings: Vec<(Target, Access)>,
    pub args: Args,
    pub groups: [u32; 3],
    /// An estimate, in nanoseconds of one CPU core.
    pub cost: usize,
    /// The names of the ops in it, for people.
    pub label: Arc<str>,
}

/// A storage buffer of a kernel.
struct Slot {
    target: Target,
    access: Access,
    name: String,
    /// The type of its elements.
    element: &'static str,
}

pub(crate) struct Builder<'a> {
    pub args: Args,
    targets: &'a [Target],
    bindings: Vec<Slot>,
    /// True if stores happen only while no flag is raised.
    pub guarded: bool,
    /// The number that the kernel's flag is raised with.
    number: u32,
}

/// The type of a register.
pub(crate) fn scalar(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::I32 | DType::I64 => "i32",
        DType::F32 | DType::F64 => "f32",
    }
}

/// A word of memory as a register's value.
pub(crate) fn decode(dtype: DType, word: &str) -> String {
    match dtype {
        DType::Bool => format!("{word} != 0u"),
        _ => format!("bitcast<{}>({word})", scalar(dtype)),
    }
}

/// A register's value as a word of memory.
pub(crate) fn encode(dtype: DType, value: &str) -> String {
    match dtype {
        DType::Bool => format!("select(0u, 1u, {value})"),
        _ => format!("bitcast<u32>({value})"),
    }
}

/// Refuses what the device has no type for.
pub(crate) fn check_dtype(dtype: DType) -> Result<()> {
    match dtype {
        DType::F64 => Err(Fault::Unsupported("float64 (use astype(\"float32\"))".to_owned())),
        _ => Ok(()),
    }
}

impl<'a> Builder<'a> {
    /// `targets` says what each buffer of the plan is.
    pub fn new(targets: &'a [Target], guarded: bool, number: u32) -> Builder<'a> {
        let mut builder = Builder { args: Args::default(), targets, bindings: Vec::new(), guarded, number };
        if guarded {
            builder.bind(Target::Status, Access::Read);
        }
        builder
    }

    /// The variable of a binding. What is read and written is bound once, for writing.
    pub fn bind(&mut self, target: Target, access: Access) -> String {
        let at = match self.bindings.iter().position(|slot| slot.target == target) {
            Some(at) => at,
            None => {
                let name = format!("b{}", self.bindings.len());
                self.bindings.push(Slot { target, access, name, element: "u32" });
                self.bindings.len() - 1
            }
        };
        if access == Access::Write {
            self.bindings[at].access = Access::Write;
        }
        self.bindings[at].name.clone()
    }

    /// A binding to be read and written, under a name and with elements of this type.
    pub fn declare(&mut self, target: Target, name: &str, element: &'static str) {
        self.bindings.push(Slot { target, access: Access::Write, name: name.to_owned(), element });
    }

    pub fn target(&self, buffer: Buf) -> Target {
        self.targets[buffer as usize]
    }

    pub fn buffer(&mut self, buffer: Buf, access: Access) -> String {
        self.bind(self.targets[buffer as usize], access)
    }

    /// The value at a position of a source.
    pub fn read(&mut self, source: &Source, dtype: DType, position: &str) -> Result<String> {
        check_dtype(dtype)?;
        Ok(match source {
            Source::Buffer(buffer) => {
                let name = self.buffer(*buffer, Access::Read);
                decode(dtype, &format!("{name}[{position}]"))
            }
            Source::Number(number) => {
                let word = self.args.number(*number, dtype);
                decode(dtype, &word)
            }
            Source::Constant(number) => {
                let word = self.args.word(super::args::element(*number, dtype)?);
                decode(dtype, &word)
            }
        })
    }

    /// The statement that writes a value at a position of a buffer.
    pub fn write(&mut self, buffer: Buf, dtype: DType, position: &str, value: &str) -> Result<String> {
        check_dtype(dtype)?;
        let name = self.buffer(buffer, Access::Write);
        Ok(format!("{name}[{position}] = {};\n", encode(dtype, value)))
    }

    /// The condition under which a guarded kernel may store.
    pub const LIVE: &'static str = "fx_live()";

    /// The functions that look at the device's flags and raise them, as far as the kernel calls them.
    fn flags(&mut self, text: &str) -> String {
        let calls = |name| library::identifiers(text).any(|word| word == name);
        let (raises, overflows) = (calls("fx_raise"), calls("fx_overflow"));
        let mut flags = String::new();
        if raises || overflows {
            let status = self.bind(Target::Status, Access::Write);
            if let Some(slot) = self.bindings.iter_mut().find(|slot| slot.target == Target::Status) {
                slot.element = "atomic<u32>";
            }
            if raises {
                let number = self.args.word(self.number);
                flags += &format!(
                    "fn fx_raise(a: u32, b: u32) {{\n    \
                     if (atomicLoad(&{status}[{FLAG}]) == 0u && atomicExchange(&{status}[{FLAG}], {number}) == 0u) {{\n        \
                     atomicStore(&{status}[{}], a);\n        atomicStore(&{status}[{}], b);\n    }}\n}}\n",
                    FLAG + 1,
                    FLAG + 2
                );
            }
            if overflows {
                flags += &format!(
                    "fn fx_overflow() {{\n    if (atomicLoad(&{status}[{FLAG}]) == 0u) {{ atomicStore(&{status}[{FLAG}], {OVERFLOW}u); }}\n}}\n"
                );
            }
            if self.guarded {
                flags += &format!(
                    "fn fx_live() -> bool {{\n    return (atomicLoad(&{status}[{BAD}]) | atomicLoad(&{status}[{FLAG}])) == 0u;\n}}\n"
                );
            }
        } else if self.guarded {
            let status = self.bind(Target::Status, Access::Read);
            flags += &format!("fn fx_live() -> bool {{\n    return ({status}[{BAD}] | {status}[{FLAG}]) == 0u;\n}}\n");
        }
        flags
    }

    /// Puts declarations, library functions and text together.
    pub fn finish(mut self, text: &str, groups: [u32; 3], cost: usize) -> Launch {
        let text = library::used_by(text) + text;
        let flags = self.flags(&text);
        let mut source = self.args.declaration();
        for (i, Slot { access, name, element, .. }) in self.bindings.iter().enumerate() {
            let mode = if *access == Access::Read { "read" } else { "read_write" };
            source += &format!("@group(0) @binding({}) var<storage, {mode}> {name}: array<{element}>;\n", i + 1);
        }
        source += &flags;
        source += &text;
        let bindings = self.bindings.iter().map(|slot| (slot.target, slot.access)).collect();
        Launch { source: source.into(), bindings, args: self.args, groups, cost, label: "".into() }
    }
}

/// The items of a kernel, so many a workgroup. Those of one dispatch begin with workgroup `args.base` and end before item
/// `args.end`; `args.across` is the number of workgroups in a row of the grid.
pub(crate) struct Items {
    pub count: usize,
    pub each: usize,
}

impl Items {
    /// The number of a thread's workgroup.
    pub const GROUP: &'static str = "(args.base + group.y * args.across + group.x)";

    pub fn declare(&self, args: &mut Args) {
        ["base", "across", "end"].iter().for_each(|name| args.named(name, 0));
    }

    /// A kernel as dispatches of a bounded size, in rows that hold no more workgroups than a driver allows.
    pub fn dispatches(&self, launch: Launch, limits: &Limits) -> Vec<Launch> {
        let groups = self.count.div_ceil(self.each).max(1);
        let pieces = launch.cost.div_ceil(limits.dispatch).clamp(1, groups);
        let length = groups.div_ceil(pieces);
        let piece = |first: usize| {
            let count = length.min(groups - first);
            let mut part = launch.clone();
            let x = count.clamp(1, limits.groups as usize);
            part.groups = [x as u32, count.div_ceil(x) as u32, launch.groups[2]];
            part.cost = launch.cost / pieces;
            part.args.set("base", first as u32);
            part.args.set("across", x as u32);
            part.args.set("end", (self.each * (first + count)).min(self.count) as u32);
            part
        };
        (0..groups).step_by(length).map(piece).collect()
    }
}
