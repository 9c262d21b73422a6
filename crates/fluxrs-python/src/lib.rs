//! Python bindings of fluxrs.
