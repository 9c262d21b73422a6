//! The GPU device of fluxrs: runs plans through wgpu.
