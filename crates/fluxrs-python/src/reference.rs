//! The public functions that are ops, by section: what the reference page shows, and what NumPy's functions of those names lead to.

use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use std::sync::RwLock;

/// Names with their sections, in the order of the page.
static FUNCTIONS: RwLock<Vec<(String, &str)>> = RwLock::new(Vec::new());

/// Adds a function to the module and to a section of the reference page.
pub fn add(m: &Bound<'_, PyModule>, section: &'static str, function: Bound<'_, PyCFunction>) -> PyResult<()> {
    let name = function.getattr("__name__")?.extract()?;
    FUNCTIONS.write().unwrap_or_else(|e| e.into_inner()).push((name, section));
    m.add_function(function)
}

/// The section of a public function; None if there is none of this name.
pub fn section(name: &str) -> Option<&'static str> {
    let functions = FUNCTIONS.read().unwrap_or_else(|e| e.into_inner());
    functions.iter().find(|(known, _)| known == name).map(|(_, section)| *section)
}

/// The functions of the reference page: each name with its section.
#[pyfunction(crate = "crate::keywords")]
fn reference() -> Vec<(String, &'static str)> {
    FUNCTIONS.read().unwrap_or_else(|e| e.into_inner()).clone()
}

/// Adds functions to the module, each to its section of the reference page.
macro_rules! sections {
    ($m:ident; $($title:literal: $($name:ident)*;)*) => {
        $($(crate::reference::add($m, $title, wrap_pyfunction!($name, $m)?)?;)*)*
    };
}
pub(crate) use sections;

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(reference, m)?)
}
