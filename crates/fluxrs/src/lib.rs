//! The core of fluxrs: graph, tape, plans, optimisers and the CPU device.
//!
//! Data goes one way: `ops` and `tape` build a graph; `evaluate` gathers what is pending, `schedule` makes a `plan` of it,
//! and a device (`cpu`, or one that registered) runs the plan on buffers.

// Update rules are written in the symbols of their papers.
#![allow(confusable_idents)]

pub mod dtype;
pub mod error;
pub mod hash;
pub mod pool;
pub mod shape;
pub mod simd;
mod small_map;
pub mod stop;
pub mod work;

pub mod ops;

pub mod call_site;
pub mod graph;
pub mod guards;
pub mod leaf;
pub mod optim;
pub mod tape;

pub mod debug;
pub mod evaluate;
pub mod reference;
pub mod schedule;

pub mod plan;

pub mod backend;
pub mod buffer;
pub mod cache;
pub mod cpu;
pub mod device;
pub mod transfer;

/// The evaluation of the graph, for modules that only build it.
pub(crate) static ENGINE: &dyn graph::Engine = &evaluate::Evaluator;
/// The commit of leaves' updates.
pub(crate) static COMMITTER: &dyn leaf::Committer = &evaluate::Evaluator;
/// The device that is always there.
pub(crate) static CPU: fn() -> std::sync::Arc<dyn backend::Backend> = cpu::backend;

pub use dtype::{DType, Number};
pub use error::{Error, Result};
pub use graph::{Tensor, no_grad};
pub use leaf::Leaf;
pub use ops::Elementwise;
