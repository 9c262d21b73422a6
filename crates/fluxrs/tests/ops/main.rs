//! Structured ops: values against plain loops, gradients against central differences.

mod check;
mod create;
mod random;
mod scan;
mod sort;
