//! The shader of a structured op, as plain data: a template of `shaders/` for each pass, and what it is given.
//!
//! A template defines `fn item(i: u32)`, the work of one thread. What it is given has the names that stand here: `args.width` is
//! an argument, `x(i)` the word of element i of an operand in row-major order, wherever it lies, `out(i, word)` writes a result.
//! `x_type` is the type that the words of `x` are read as: f32, i32, or u32 for truth values. A device's integers have 32 bits:
//! `fx_wide_*` computes with int64 there and raises a flag where a result does not fit; `fx_raise(a, b)` raises the op's own.

use crate::dtype::DType;

/// The template `shaders/NAME.wgsl`.
macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/", $name, ".wgsl"))
    };
}
pub(crate) use template;

/// The shape and type of an operand or a result.
#[derive(Clone, Copy)]
pub struct Spec<'a> {
    pub shape: &'a [usize],
    pub dtype: DType,
}

impl Spec<'_> {
    pub fn size(&self) -> usize {
        crate::shape::size(self.shape)
    }

    /// The length of the last axis.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// The passes of one call and their memory.
#[derive(Default)]
pub struct Shader {
    /// One after the other; each sees what those before it wrote.
    pub passes: Vec<Pass>,
    /// Memory of the kernel's own, in words.
    pub rooms: Vec<usize>,
    /// True if a pass may raise a flag, by `fx_raise` or because an int64 does not fit.
    pub raises: bool,
}

pub struct Pass {
    pub template: &'static str,
    /// WGSL that the template calls and the op gives: what depends on a type, or on which of several ops it is.
    pub code: String,
    pub args: Vec<(&'static str, Arg)>,
    pub bindings: Vec<(&'static str, Binding)>,
    pub grid: Grid,
}

#[derive(Clone, Copy)]
pub enum Grid {
    /// One thread an item, so many to a workgroup. `args.items` says how many items there are.
    Threads { items: usize, group: usize },
    /// One workgroup an item. The template has a `main` of its own; its item is `args.base + group.y * args.across + group.x`, if
    /// that is below `args.end`: a call may be several dispatches.
    Groups { items: usize },
}

#[derive(Clone, Copy)]
pub enum Arg {
    Size(usize),
    /// The number that this operand is, as an element of this type: one word.
    Number(usize, DType),
    /// The 64 bits of the integer that this operand is: `name_low` and `name_high`.
    Wide(usize),
}

#[derive(Clone, Copy)]
pub enum Binding {
    Operand(usize),
    /// If this result is not asked for, writing to it does nothing.
    Result(usize),
    /// A result as an array of this type, to be read and written.
    Memory(usize, &'static str),
    /// A room as an array of this type.
    Room(usize, &'static str),
}

impl Pass {
    /// A pass of one thread an item.
    pub fn threads(template: &'static str, items: usize, group: usize) -> Pass {
        Pass { template, code: String::new(), args: vec![], bindings: vec![], grid: Grid::Threads { items, group } }
    }

    /// A pass of one workgroup an item.
    pub fn groups(template: &'static str, items: usize) -> Pass {
        Pass { template, code: String::new(), args: vec![], bindings: vec![], grid: Grid::Groups { items } }
    }

    pub fn sizes<const N: usize>(mut self, sizes: [(&'static str, usize); N]) -> Pass {
        self.args.extend(sizes.map(|(name, size)| (name, Arg::Size(size))));
        self
    }

    pub fn number(mut self, name: &'static str, arg: Arg) -> Pass {
        self.args.push((name, arg));
        self
    }

    pub fn code(mut self, code: impl Into<String>) -> Pass {
        self.code += &code.into();
        self
    }

    pub fn bind(mut self, name: &'static str, binding: Binding) -> Pass {
        self.bindings.push((name, binding));
        self
    }

    pub fn operand(self, name: &'static str, operand: usize) -> Pass {
        self.bind(name, Binding::Operand(operand))
    }

    pub fn result(self, name: &'static str) -> Pass {
        self.bind(name, Binding::Result(0))
    }

    /// The places in the last axis of the first operand as `out`, and the elements there as `elements`.
    pub fn places(self) -> Pass {
        self.bind("out", Binding::Result(0)).bind("elements", Binding::Result(1))
    }
}

impl From<Pass> for Shader {
    fn from(pass: Pass) -> Shader {
        Shader { passes: vec![pass], ..Shader::default() }
    }
}

impl Shader {
    pub fn raising(self) -> Shader {
        Shader { raises: true, ..self }
    }
}
