//! Debug mode: results and gradients are computed as soon as they are made, and looked at for NaN.

use crate::call_site::CallSite;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{Node, Tensor};
use crate::shape::show;
use crate::{evaluate, transfer};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

const EAGER: u8 = 1;
const NAN: u8 = 2;
static MODE: AtomicU8 = AtomicU8::new(0);

/// Where results were made, by their number, while the watch for NaN is on.
static MADE: Mutex<Made> = Mutex::new(Made { lines: BTreeMap::new(), limit: 1024 });

pub(crate) type Locked = MutexGuard<'static, Made>;

pub(crate) fn lock() -> Locked {
    MADE.lock().unwrap_or_else(|e| e.into_inner())
}

pub(crate) struct Made {
    lines: BTreeMap<u64, (Weak<Node>, CallSite)>,
    limit: usize,
}

/// Sets two switches, computing every result at once and looking for NaN; returns what they were before.
pub fn set_mode(eager: bool, nan: bool) -> (bool, bool) {
    let mode = if eager { EAGER } else { 0 } | if nan { NAN } else { 0 };
    let old = MODE.swap(mode, Ordering::Relaxed);
    if !nan {
        lock().lines.clear();
    }
    (old & EAGER != 0, old & NAN != 0)
}

#[inline]
pub fn is_on() -> bool {
    MODE.load(Ordering::Relaxed) != 0
}

pub(crate) fn looks_for_nan() -> bool {
    MODE.load(Ordering::Relaxed) & NAN != 0
}

/// Computes a fresh result, made at a line, and looks at it.
pub fn inspect(x: &Tensor, call_site: CallSite) -> Result<()> {
    evaluate::evaluate(std::slice::from_ref(x))?;
    if !looks_for_nan() {
        return Ok(());
    }
    if has_nan(x)? {
        let what = format!("{}: the result, of shape {}, holds a NaN{call_site}", x.op().name(), show(x.shape()));
        return Err(Error::BadLoss(what));
    }
    let mut made = lock();
    made.lines.insert(x.id(), (Arc::downgrade(&x.0), call_site));
    if made.lines.len() > made.limit {
        made.lines.retain(|_, (node, _)| node.strong_count() > 0);
        made.limit = (2 * made.lines.len()).max(1024);
    }
    Ok(())
}

/// Looks at a gradient: what `of` gives to an operand, or what came to it.
pub(crate) fn inspect_gradient(of: &Tensor, g: &Tensor, given: bool) -> Result<()> {
    if !has_nan(g)? {
        return Ok(());
    }
    // A node without a line of its own is a part of the next result that has one.
    let made = lock();
    let call_site = made.lines.range(of.id()..).next().map(|(_, (_, call_site))| call_site.clone()).unwrap_or_default();
    let what = if given { "its gradient" } else { "the gradient that comes to it" };
    Err(Error::BadLoss(format!("{}: {what}, of shape {}, holds a NaN{call_site}", of.op().name(), show(g.shape()))))
}

fn has_nan(x: &Tensor) -> Result<bool> {
    if !x.dtype().is_float() {
        return Ok(false);
    }
    let host = transfer::to_host(x)?;
    Ok(match x.dtype() {
        DType::F32 => host.as_slice::<f32>()[..x.size()].iter().any(|v| v.is_nan()),
        _ => host.as_slice::<f64>()[..x.size()].iter().any(|v| v.is_nan()),
    })
}
