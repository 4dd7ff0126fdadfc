//! demo

pub mod load;
pub mod queue;
pub mod worker;
