//! The printed form of tensors: that of their arrays, with device, dtype and tracking added.

use crate::export::{item, to_numpy};
use crate::tensor::{Inner, PyTensor};
use fluxrs::{DType, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyDict;

fn number(py: Python<'_>, x: &Tensor) -> PyResult<String> {
    if x.dtype() == DType::F32 {
        // Python's shortest repr of the double would show digits that a float32 does not have.
        let array = to_numpy(py, x)?;
        return Ok(array.call_method1("__getitem__", ((),))?.str()?.to_string());
    }
    Ok(item(py, x, "repr")?.object(py)?.repr()?.to_string())
}

fn array(py: Python<'_>, x: &Tensor, prefix: &str) -> PyResult<String> {
    let options = PyDict::new(py);
    options.set_item("separator", ", ")?;
    options.set_item("prefix", prefix)?;
    let text = crate::convert::numpy(py)?.call_method("array2string", (to_numpy(py, x)?,), Some(&options))?;
    text.extract()
}

/// The form of a tensor within the function of a scan, which has no value to show.
fn traced(x: &Tensor) -> Option<String> {
    x.is_traced().then(|| format!("<a tensor of shape {}, {}, within a scan>", fluxrs::shape::show(x.shape()), x.dtype()))
}

fn text(py: Python<'_>, x: &Tensor, tracked: bool) -> PyResult<String> {
    if let Some(text) = self::traced(x) {
        return Ok(text);
    }
    if x.ndim() == 0 {
        let suffix = if tracked { " (tracked)" } else { "" };
        return Ok(number(py, x)? + suffix);
    }
    let mut text = format!("tensor({}", array(py, x, "tensor(")?);
    if x.size() == 0 && x.shape() != [0] {
        text += &format!(", shape={}", fluxrs::shape::show(x.shape()));
    }
    if x.dtype() != DType::F32 && !(x.dtype() == DType::Bool && x.size() > 0) {
        text += &format!(", dtype={}", x.dtype());
    }
    if !x.device().is_cpu() {
        text += &format!(", device={}", x.device());
    }
    Ok(text + if tracked { ", tracked)" } else { ")" })
}

#[pymethods]
#[pyo3(crate = "crate::keywords")]
impl PyTensor {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        text(py, &*self.value(py)?, self.is_tracked())
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        let x = self.value(py)?;
        if x.ndim() == 0 || x.is_traced() {
            return text(py, &x, self.is_tracked());
        }
        Ok(to_numpy(py, &x)?.str()?.to_string() + if self.is_tracked() { " (tracked)" } else { "" })
    }

    /// For notebooks: what it is, above its elements.
    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let x = self.value(py)?;
        let kind = match &self.inner {
            Inner::Leaf(l) if l.is_tracked() => "parameter",
            _ if self.is_tracked() => "tracked tensor",
            _ => "tensor",
        };
        let what = format!("{kind} of shape {}, {}, {}", fluxrs::shape::show(x.shape()), x.dtype(), x.device());
        let body = to_numpy(py, &x)?.str()?.to_string();
        let body = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        Ok(format!("<div><small>{what}</small><pre>{body}</pre></div>"))
    }
}
