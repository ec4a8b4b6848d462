//! A partition log's rules.
