//! Structured ops: values against plain loops, gradients against central differences.

mod check;
mod compose;
mod create;
mod einsum;
mod linalg;
mod products;
mod random;
mod scan;
mod sort;
mod threads;
