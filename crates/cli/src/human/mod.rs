//! Words, numbers, times and colours for people.

pub(crate) mod numbers;
pub(crate) mod paint;
pub(crate) mod plural;
pub(crate) mod time;
