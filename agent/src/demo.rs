//! demo

pub mod cluster;
pub mod load;
pub mod observe;
pub mod queue;
pub mod summary;
pub mod view;
pub mod worker;
