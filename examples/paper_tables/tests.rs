//! The study, tested.
