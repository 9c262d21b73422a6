//! The core's errors, by the kind of exception that Python sees.

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// Shapes that do not fit: `DimensionMismatch`, a ValueError.
    #[error("{0}")]
    Shape(String),
    #[error("{0}")]
    Type(String),
    #[error("{0}")]
    Index(String),
    #[error("{0}")]
    Value(String),
    /// A Python integer that its type does not hold: OverflowError.
    #[error("{0}")]
    Overflow(String),
    #[error("{0}")]
    Memory(String),
    #[error("{0}")]
    Device(String),
    /// A loss that is Inf or NaN where an update derives from it: FloatingPointError.
    #[error("{0}")]
    BadLoss(String),
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The error `inner`, in the name of an op that is made of the one that raised it.
    pub fn renamed(self, inner: &str, op: &str) -> Error {
        let name =
            |m: String| m.strip_prefix(inner).filter(|rest| rest.starts_with(':')).map(|rest| format!("{op}{rest}")).unwrap_or(m);
        match self {
            Error::Shape(m) => Error::Shape(name(m)),
            Error::Type(m) => Error::Type(name(m)),
            Error::Index(m) => Error::Index(name(m)),
            Error::Value(m) => Error::Value(name(m)),
            Error::Device(m) => Error::Device(name(m)),
            other => other,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns an [`Error`] of the named kind with a formatted message.
#[macro_export]
macro_rules! bail {
    ($kind:ident, $($arg:tt)*) => {
        return Err($crate::error::Error::$kind(format!($($arg)*)))
    };
}
