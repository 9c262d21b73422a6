//! A plan in words: its kernels, what each fuses, and the memory it moves.

use crate::plan::{Body, Feed, Kernel, Loop, Mode, Plan, Source, Storage};
use crate::shape;
use std::fmt::Write;

/// The plan as text, a line a kernel.
pub fn describe(plan: &Plan, state: &str) -> String {
    let mut out = String::new();
    let slots = plan.buffers.iter().filter(|b| matches!(b.storage, Storage::Slot(_))).count();
    let in_place = plan.outputs.iter().filter(|o| o.donor.is_some()).count();
    let _ = writeln!(
        out,
        "plan on {}, {state}: {}, {}, {} ({in_place} in place), {} buffers, at most {} of temporaries",
        plan.device,
        count(plan.kernels.len(), "kernel"),
        count(slots, "input"),
        count(plan.outputs.len(), "result"),
        plan.buffers.len(),
        bytes(plan.peak()),
    );
    for (i, kernel) in plan.kernels.iter().enumerate() {
        if i == plan.commit {
            let _ = writeln!(out, "  -- from here on parameters are written --");
        }
        let (read, written) = traffic(plan, kernel);
        let _ = writeln!(
            out,
            "  {:>2} {:<34} {:<40} reads {}, writes {}",
            i + 1,
            form(&kernel.body),
            kernel.label,
            bytes(read),
            bytes(written)
        );
        if let Body::Repeat(r) = &kernel.body {
            for step in &r.plan.kernels {
                let _ = writeln!(out, "     {:<36} {}", form(&step.body), step.label);
            }
        }
    }
    out
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn bytes(n: usize) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}

fn dims(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "1".into();
    }
    shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("×")
}

/// The kind of kernel and its sizes.
fn form(body: &Body) -> String {
    match body {
        Body::Loop(Loop { sparse: Some(s), dims: all, .. }) => match s.only {
            Some(_) => format!("elementwise, {} rows at most of {}", s.n, dims(all)),
            None => format!("elementwise {}, {} rows given", dims(all), s.n),
        },
        Body::Loop(l) => match l.mode {
            Mode::Map => format!("elementwise {}", dims(&l.dims)),
            Mode::Rows => format!("rows {} of {}", dims(&l.dims[..l.fence]), dims(&l.dims[l.fence..])),
            Mode::Columns => format!("columns {} over {}", dims(&l.dims[l.fence..]), dims(&l.dims[..l.fence])),
        },
        Body::Matmul(m) => {
            let batch = if m.batch.is_empty() { String::new() } else { format!("{} × ", dims(&m.batch)) };
            let what = if m.window.is_some() { "convolution" } else { "product" };
            format!("{what} {batch}{}×{} · {}×{}", m.m, m.k(), m.k(), m.n())
        }
        Body::Structured(c) => format!("{} {}", c.op.name(), dims(&c.shape)),
        Body::Repeat(r) => format!("{} × {}", r.length, count(r.plan.kernels.len(), "kernel")),
    }
}

fn total(bytes: impl Iterator<Item = usize>) -> usize {
    bytes.fold(0, usize::saturating_add)
}

/// Bytes that a kernel reads and writes, every buffer once.
fn traffic(plan: &Plan, kernel: &Kernel) -> (usize, usize) {
    let size = |b: u32| plan.buffers[b as usize].len * plan.buffers[b as usize].dtype.bytes();
    let of_loop = |l: &Loop| {
        // Of a table only the rows that change are touched.
        let size = |b: u32| match &l.sparse {
            Some(s) if s.only.is_some() => size(b).min(s.n * s.width.max(1) * plan.buffers[b as usize].dtype.bytes()),
            _ => size(b),
        };
        let mut seen = Vec::new();
        for load in &l.loads {
            if let Source::Buffer(b) = load.source
                && !seen.contains(&b)
            {
                seen.push(b);
            }
        }
        (total(seen.into_iter().map(size)), total(l.stores.iter().map(|s| size(s.buffer))))
    };
    match &kernel.body {
        Body::Loop(l) => of_loop(l),
        Body::Matmul(m) => {
            let (read, written) = m.epilogue.as_ref().map_or((0, 0), of_loop);
            let c = size(m.c);
            let own = size(m.a).saturating_add(size(m.b));
            (own.saturating_add(read.saturating_sub(c)), written.saturating_add(if m.keeps_c { c } else { 0 }))
        }
        Body::Structured(c) => {
            let read = total(c.srcs.iter().map(|s| shape::size(&s.shape) * s.dtype.bytes()));
            (read, total(c.out.into_iter().chain(c.elements).chain(c.keys).map(size)))
        }
        Body::Repeat(r) => {
            let first = r.carries.iter().filter_map(|c| c.first.source.buffer());
            let read = total(r.feeds.iter().filter_map(Feed::buffer).chain(first).map(size));
            let states = r.carries.iter().flat_map(|c| c.all.into_iter().chain(c.last));
            (read, total(r.steps.iter().copied().chain(states).map(size)))
        }
    }
}
