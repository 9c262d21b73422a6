//! Where in a program an op was called. Ops whose kernels can fail on values know it, so that an error at evaluation can say it.

use crate::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A line of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub file: Arc<str>,
    pub number: u32,
}

/// Tells which line is running on this thread, if it can.
pub type Whereabouts = fn() -> Option<Line>;

static WHEREABOUTS: OnceLock<Whereabouts> = OnceLock::new();

/// Names who is asked for the running line; the first one stays.
pub fn set_whereabouts(ask: Whereabouts) {
    let _ = WHEREABOUTS.set(ask);
}

/// The line of a call, or of the one that a gradient belongs to.
#[derive(Clone, Debug, Default)]
pub struct CallSite {
    line: Option<Line>,
    /// The op whose gradient it is.
    gradient_of: Option<&'static str>,
}

impl CallSite {
    /// The line that is running.
    pub fn here() -> CallSite {
        CallSite { line: WHEREABOUTS.get().and_then(|ask| ask()), gradient_of: None }
    }

    /// Of what is made for the gradient of an op that was called there.
    pub fn gradient_of(&self, op: &'static str) -> CallSite {
        CallSite { line: self.line.clone(), gradient_of: self.gradient_of.or(Some(op)) }
    }

    /// An error that depends on values, with the line that made the node.
    pub fn named(&self, error: Error) -> Error {
        match error {
            Error::Index(m) => Error::Index(format!("{m}{self}")),
            Error::Value(m) => Error::Value(format!("{m}{self}")),
            other => other,
        }
    }
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gradient = self.gradient_of.map(|op| format!("for the gradient of {op}, ")).unwrap_or_default();
        match &self.line {
            None if gradient.is_empty() => Ok(()),
            None => write!(f, " ({})", gradient.trim_end_matches(", ")),
            Some(Line { file, number }) => {
                let here = std::env::current_dir().unwrap_or_default();
                let short = std::path::Path::new(&**file).strip_prefix(here).map_or(&**file, |p| p.to_str().unwrap_or(file));
                write!(f, " ({gradient}made at {short}:{number})")
            }
        }
    }
}
