//! Structured ops: what their records say of a shader, made into kernels.

use super::args::Args;
use super::builder::{Builder, Items, Launch, Target, check_dtype};
use super::index::Segment;
use super::program::place;
use super::spill::Targets;
use crate::fault::{Fault, Result};
use crate::limits::Limits;
use crate::pipeline::Access;
use crate::template;
use fluxrs::dtype::DType;
use fluxrs::ops::shader::{Arg, Binding, Grid, Pass, Shader, Spec};
use fluxrs::plan::{Argument, Buf, Call, Source};
use fluxrs::shape::size;

fn unsupported<T>(call: &Call, what: &str) -> Result<T> {
    Err(Fault::Unsupported(format!("{}{what}", call.op.name())))
}

/// The record's description of this call.
fn shader(call: &Call) -> Result<Shader> {
    let specs: Vec<Spec> = call.srcs.iter().map(|src| Spec { shape: &src.shape, dtype: src.dtype }).collect();
    let shader = call.op.shader(&specs, Spec { shape: &call.shape, dtype: call.dtype });
    shader.or_else(|what| unsupported(call, &what))
}

/// True if there is anything to do.
fn runs(call: &Call) -> bool {
    size(&call.shape) > 0 || call.op.looks_at_operands()
}

/// True if a call may raise a flag: for an index out of range, a singular matrix, an int64 that does not fit.
pub(crate) fn raises(call: &Call) -> bool {
    runs(call) && shader(call).is_ok_and(|shader| shader.raises)
}

/// The kernels of one call; `number` is what its flag is raised with.
pub(crate) fn launches(call: &Call, number: u32, targets: &mut Targets, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
    if !runs(call) {
        return Ok(Vec::new());
    }
    check_dtype(call.dtype)?;
    let shader = shader(call)?;
    let rooms: Vec<Target> = shader.rooms.iter().map(|&words| Target::Temp((targets.temporary)(words))).collect();
    let cost = cost / shader.passes.len();
    let kernel = |pass: &Pass| {
        Kernel { call, rooms: &rooms, builder: Builder::new(&targets.all, false, number) }.launch(pass, cost, limits)
    };
    let made: Result<Vec<_>> = shader.passes.iter().filter(|pass| items(pass) > 0).map(kernel).collect();
    Ok(made?.concat())
}

fn items(pass: &Pass) -> usize {
    match pass.grid {
        Grid::Threads { items, .. } | Grid::Groups { items } => items,
    }
}

/// The type that the words of elements are read as.
fn word_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "u32",
        DType::I32 | DType::I64 => "i32",
        DType::F32 | DType::F64 => "f32",
    }
}

/// One pass on its way to a kernel.
struct Kernel<'a> {
    call: &'a Call,
    rooms: &'a [Target],
    builder: Builder<'a>,
}

impl Kernel<'_> {
    fn launch(mut self, pass: &Pass, cost: usize, limits: &Limits) -> Result<Vec<Launch>> {
        let threads = match pass.grid {
            Grid::Threads { group, .. } => group,
            Grid::Groups { .. } => 0,
        };
        let items = Items { count: items(pass), each: threads.max(1) };
        items.declare(&mut self.builder.args);
        self.builder.args.named("items", items.count as u32);
        for (name, arg) in &pass.args {
            self.argument(name, *arg)?;
        }
        let mut text = String::new();
        for (name, binding) in &pass.bindings {
            text += &self.binding(name, *binding)?;
        }
        text += &pass.code;
        text += pass.template;
        if threads > 0 {
            text += &format!(
                "@compute @workgroup_size({threads})\n\
                 fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
                 let i = {} * {threads}u + local;\n\
                 if (i < args.end) {{ item(i); }}\n}}\n",
                Items::GROUP
            );
        }
        Ok(items.dispatches(self.builder.finish(&text, [1, 1, 1], cost), limits))
    }

    /// The number of the run that an operand is.
    fn number(&self, operand: usize) -> Result<u32> {
        match self.call.srcs[operand].source {
            Source::Number(number) => Ok(number),
            _ => unsupported(self.call, " of computed numbers"),
        }
    }

    /// The memory of a result, if it is asked for, and its type.
    fn result(&self, k: usize) -> (Option<Buf>, DType) {
        match k {
            0 => (self.call.out, self.call.dtype),
            _ => (self.call.elements, self.call.srcs[0].dtype),
        }
    }

    fn argument(&mut self, name: &str, arg: Arg) -> Result<()> {
        match arg {
            Arg::Size(size) => self.builder.args.named(name, u32::try_from(size).unwrap_or(u32::MAX)),
            Arg::Number(operand, dtype) => {
                let number = self.number(operand)?;
                self.builder.args.named_number(name, number, dtype);
            }
            Arg::Wide(operand) => {
                let number = self.number(operand)?;
                self.builder.args.named_wide(name, number);
            }
        }
        Ok(())
    }

    /// The name of a buffer in the template.
    fn binding(&mut self, name: &str, binding: Binding) -> Result<String> {
        match binding {
            Binding::Operand(i) => {
                let argument: &Argument = &self.call.srcs[i];
                check_dtype(argument.dtype)?;
                let Source::Buffer(buffer) = argument.source else { return unsupported(self.call, " of a Python number") };
                let mut axes = Segment::new("i", &argument.shape);
                let position = place(&argument.map, &mut [&mut axes], &mut self.builder);
                let coordinates = axes.coordinates(&mut self.builder.args);
                let variable = self.builder.buffer(buffer, Access::Read);
                Ok(format!(
                    "alias {name}_type = {};\nfn {name}(i: u32) -> u32 {{\n{coordinates}return {variable}[{position}];\n}}\n",
                    word_type(argument.dtype)
                ))
            }
            Binding::Result(k) => {
                let (buffer, dtype) = self.result(k);
                let write = match buffer {
                    Some(buffer) => format!("{}[i] = word;\n", self.builder.buffer(buffer, Access::Write)),
                    None => String::new(),
                };
                Ok(format!("alias {name}_type = {};\nfn {name}(i: u32, word: u32) {{\n{write}}}\n", word_type(dtype)))
            }
            Binding::Memory(k, element) => {
                let (Some(buffer), _) = self.result(k) else { return unsupported(self.call, " without its result") };
                self.builder.declare(self.builder.target(buffer), name, element);
                Ok(String::new())
            }
            Binding::Room(room, element) => {
                self.builder.declare(self.rooms[room], name, element);
                Ok(String::new())
            }
        }
    }
}

/// The kernel that looks at a loss before the commit.
pub(crate) fn guard(loss: Target, length: usize, number: usize) -> Launch {
    let mut args = Args::default();
    args.size(length);
    args.size(number);
    let bindings = vec![(loss, Access::Read), (Target::Status, Access::Write)];
    Launch { source: template::GUARD.into(), bindings, args, groups: [1, 1, 1], cost: length, label: "guard".into() }
}
