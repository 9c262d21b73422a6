//! Time by parts: spans, recorded while a profile is being taken, in the form that trace viewers open.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Instant;

static ENABLED: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

pub(crate) type Locked = MutexGuard<'static, Vec<Event>>;

pub(crate) fn lock() -> Locked {
    EVENTS.lock().unwrap_or_else(|e| e.into_inner())
}

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub struct Event {
    pub name: Cow<'static, str>,
    /// The kind of work: gather, compile, kernel, …
    pub category: &'static str,
    /// Nanoseconds since the first span of the process.
    pub start: u64,
    pub length: u64,
}

/// Records from its making to its drop.
pub struct Span(Option<(Cow<'static, str>, &'static str, Instant)>);

/// A span that costs one load while no profile is taken; the name is made only for one.
#[inline]
pub fn span(category: &'static str, name: impl FnOnce() -> Cow<'static, str>) -> Span {
    if !ENABLED.load(Ordering::Relaxed) {
        return Span(None);
    }
    LazyLock::force(&ORIGIN);
    Span(Some((name(), category, Instant::now())))
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((name, category, start)) = self.0.take() {
            let event = Event {
                name,
                category,
                start: start.duration_since(*ORIGIN).as_nanos() as u64,
                length: start.elapsed().as_nanos() as u64,
            };
            lock().push(event);
        }
    }
}

pub fn start() {
    lock().clear();
    ENABLED.store(true, Ordering::Relaxed);
}

/// Stops recording; returns what was recorded.
pub fn stop() -> Vec<Event> {
    ENABLED.store(false, Ordering::Relaxed);
    std::mem::take(&mut *lock())
}
