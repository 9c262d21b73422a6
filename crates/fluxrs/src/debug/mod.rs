//! What a user can see of the inside: the plan in words, the time of its parts, the op that made a NaN.

pub mod explain;
pub mod profile;
pub mod watch;
