//! Views of the inside for users: the plan in words, the time of its parts, the op that made a NaN.

pub mod explain;
pub mod profile;
pub mod watch;

/// The locks in here, for a thread that forks.
pub(crate) type Locked = (profile::Locked, watch::Locked);

pub(crate) fn lock() -> Locked {
    (profile::lock(), watch::lock())
}
