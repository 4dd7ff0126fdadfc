//! Decides how many replicas each workload should have, and accounts for it.
//!
//! Three layers, none of which does I/O, reads a clock or draws a random number:
//! [`decide`] turns a policy, the demand and the history into a [`decide::Decision`];
//! [`ledger`] grants or refuses what was decided and remembers it; [`node`]
//! composes the two and says what the host should do next.
//! The agent, the simulator and the tests all run this same code.

pub mod canonical;
pub mod decide;
pub mod demand;
pub mod formula;
pub mod history;
pub mod ledger;
pub mod node;
pub mod policy;
pub mod quantity;
pub mod unit;
pub mod weight;
