//! How fast the device is, as measured: a submit has as much work as fits its bound in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Work below this, in nanoseconds of one CPU core, says nothing: its time is that of the submit.
const LEAST: usize = 1_000_000;

/// Nanoseconds of the device in one of a CPU core, as bits.
pub(crate) struct Pace(AtomicU64);

impl Pace {
    pub fn new(speed: f64) -> Pace {
        Pace(AtomicU64::new(speed.to_bits()))
    }

    fn speed(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// The work, in nanoseconds of one CPU core, that should be done within `bound` nanoseconds.
    pub fn budget(&self, bound: u64) -> usize {
        (bound as f64 / self.speed()) as usize
    }

    /// Learns from a submit: at once if it took longer than expected, slowly if less.
    pub fn learn(&self, work: usize, took: Duration) {
        if work < LEAST {
            return;
        }
        let (known, new) = (self.speed(), took.as_nanos() as f64 / work as f64);
        let speed = if new > known { new } else { 0.75 * known + 0.25 * new };
        self.0.store(speed.max(1e-6).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_submit_makes_the_next_smaller() {
        let pace = Pace::new(0.01);
        assert_eq!(pace.budget(200_000_000), 20_000_000_000);
        pace.learn(1_000_000_000, Duration::from_millis(300));
        assert_eq!(pace.budget(200_000_000), 666_666_666);
        pace.learn(1000, Duration::from_secs(9));
        pace.learn(1_000_000_000, Duration::from_millis(100));
        assert_eq!(pace.budget(200_000_000), 800_000_000);
    }
}
