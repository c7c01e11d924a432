//! One client's session: what it is, what its messages mean, and the task that lives it.

pub mod actions;
pub mod directory;
pub mod driver;
