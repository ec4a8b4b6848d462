//! What can be said of a group by looking at it: the story of its rebalances, and how it is doing.
//!
//! Nothing here asks or prints anything: facts go in, words come out.

mod epochs;
pub(crate) mod history;
pub(crate) mod member_id;
pub(crate) mod story;
pub(crate) mod unrest;
pub(crate) mod verdict;
