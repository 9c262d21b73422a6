//! The native module of fluxrs: tensors in and out of Python, errors, and nothing clever.

// ρ and p are both what the formulas call them.
#![allow(confusable_idents)]

mod arguments;
mod arrays;
mod call_site;
mod conv;
mod convert;
mod create;
mod custom;
mod cut;
mod debug;
mod elementwise;
mod engine;
mod error;
mod export;
mod gpu;
mod gradient;
mod grads;
mod history;
mod index;
mod joins;
mod keywords;
mod leaf;
mod lists;
mod methods;
mod operators;
mod params;
mod protocol;
mod random;
mod reference;
mod scan;
mod show;
mod tensor;
mod windows;

use pyo3::prelude::*;

/// Nodes are small, many and short-lived.
#[cfg(not(sanitized))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    error::install();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    #[cfg(unix)]
    error::prepare_for_forks(m.py())?;
    call_site::install(m.py())?;
    // NumPy's functions are looked up here, once: in a later call a Ctrl-C while that is done would be a panic.
    m.py().import("numpy")?;
    numpy::dtype::<f32>(m.py());
    history::late::install(m)?;
    m.add_class::<tensor::PyTensor>()?;
    m.add_class::<tensor::PyLeaf>()?;
    m.add("DimensionMismatch", m.py().get_type::<error::DimensionMismatch>())?;
    m.add("DeviceError", m.py().get_type::<error::DeviceError>())?;
    reference::register(m)?;
    elementwise::register(m)?;
    methods::register(m)?;
    joins::register(m)?;
    windows::register(m)?;
    conv::register(m)?;
    create::register(m)?;
    random::register(m)?;
    leaf::register(m)?;
    gradient::register(m)?;
    custom::register(m)?;
    params::register(m)?;
    grads::register(m)?;
    scan::register(m)?;
    export::register(m)?;
    protocol::register(m)?;
    debug::register(m)?;
    engine::register(m)?;
    gpu::register(m)
}
