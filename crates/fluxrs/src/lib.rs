//! The core of fluxrs: graph, tape, plans, optimisers and the CPU device.

pub mod cpu;
