//! Counts the steps of passes over graphs and plans: a test that doubles a graph and counts shows that they are linear.

use std::sync::atomic::{AtomicU64, Ordering};

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Called once a pass, rather than once a step, where graphs are small and run often.
pub(crate) fn count(steps: usize) {
    STEPS.fetch_add(steps as u64, Ordering::Relaxed);
}

/// The steps since the process began.
pub fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}
