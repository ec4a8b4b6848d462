//! The tests that may fail on our broker, each with the reason; there are none. Nothing is skipped: a
//! test that is listed runs, and if it passes that is reported, so that its line is taken out. On Kafka
//! everything passes.

use crate::broker::Kind;

/// Returns why a test is expected to fail on a broker, if it is.
pub(crate) fn reason_to_fail(kind: Kind, test: &str) -> Option<&'static str> {
    let listed = match kind {
        Kind::Kohort => FAIL_ON_OURS,
        Kind::Kafka => &[],
    };
    let (subject, what) = test.split_once("::")?;
    let is = |name: &str| name == test || (name == what && subject != "tools");
    listed.iter().find_map(|(name, reason)| is(name).then_some(*reason))
}

/// The name of each test, without its client if it is of all, and what our broker lacks.
const FAIL_ON_OURS: &[(&str, &str)] = &[];
