//! One kernel under construction: its arguments, its bindings, and how values are read and written.

use super::args::Args;
use crate::fault::{Fault, Result};
use crate::library;
use crate::pipeline::Access;
use crate::steps::{INDEX as FLAG, OPS};
use fluxrs::dtype::DType;
use fluxrs::plan::{Buf, Source};

/// What a binding stands for at each run.
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
#[derive(Debug)]
pub(crate) struct Launch {
    pub source: String,
    pub bindings: Vec<(Target, Access)>,
    pub args: Args,
    pub groups: [u32; 3],
    /// Roughly, in nanoseconds of one CPU core.
    pub cost: usize,
}

pub(crate) struct Builder<'a> {
    pub args: Args,
    targets: &'a [Target],
    bindings: Vec<(Target, Access)>,
    /// Whether stores happen only while no flag is raised.
    pub guarded: bool,
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

/// What the functions for int64 begin with.
const WIDE: &str = "fx_wide_";

/// Where a result of int64 may not fit, `main`, the last of the text, raises the flag at its end. Says whether it does.
pub(crate) fn flag_overflow(text: &mut String, status: &str) -> bool {
    let wide = text.contains(WIDE);
    if wide {
        text.truncate(text.trim_end().len() - 1);
        *text += &format!("if ({}) {{ {status}[{FLAG}] = {}u; }}\n}}\n", library::OVERFLOW, OPS.len() + 1);
    }
    wide
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
    pub fn new(targets: &'a [Target], guarded: bool) -> Builder<'a> {
        let mut builder = Builder { args: Args::default(), targets, bindings: Vec::new(), guarded };
        if guarded {
            builder.bind(Target::Status, Access::Read);
        }
        builder
    }

    /// The variable of a binding. What is read and written is bound once, for writing.
    pub fn bind(&mut self, target: Target, access: Access) -> String {
        let at = match self.bindings.iter().position(|(known, _)| *known == target) {
            Some(at) => at,
            None => {
                self.bindings.push((target, access));
                self.bindings.len() - 1
            }
        };
        if access == Access::Write {
            self.bindings[at].1 = Access::Write;
        }
        format!("b{at}")
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
    pub const LIVE: &'static str = "(b0[0] | b0[4]) == 0u";

    /// Puts declarations, library functions and text together.
    /// `main` comes last in the text; where a result of int64 may not fit, it raises the flag at its end.
    pub fn finish(mut self, text: &str, groups: [u32; 3], cost: usize) -> Launch {
        let mut text = text.to_owned();
        if text.contains(WIDE) {
            let status = self.bind(Target::Status, Access::Write);
            flag_overflow(&mut text, &status);
        }
        let mut source = self.args.declaration();
        for (i, (_, access)) in self.bindings.iter().enumerate() {
            let mode = if *access == Access::Read { "read" } else { "read_write" };
            source += &format!("@group(0) @binding({}) var<storage, {mode}> b{i}: array<u32>;\n", i + 1);
        }
        source += &library::used_by(&text);
        source += &text;
        Launch { source, bindings: self.bindings, args: self.args, groups, cost }
    }
}

/// Workgroups in a grid whose rows hold at most `limit` of them.
pub(crate) fn grid(groups: usize, limit: u32) -> [u32; 2] {
    let x = groups.clamp(1, limit as usize);
    [x as u32, groups.div_ceil(x).max(1) as u32]
}
