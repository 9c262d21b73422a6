//! Structured ops: values against plain loops, gradients against central differences.

mod activations;
mod check;
mod compose;
mod conv;
mod create;
mod cumulative;
mod einsum;
mod interrupt;
mod linalg;
mod maps;
mod power;
mod products;
mod random;
mod sizes;
mod sort;
mod subscript;
mod threads;
