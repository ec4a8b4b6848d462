//! Producer ids for idempotent producers.
//!
//! Ids come in blocks that the metadata log has handed out for good, so none is ever given twice,
//! not even across a crash; what is left of a block when the broker stops is never used.

use crate::cluster::api_error::ApiError;
use crate::cluster::command::ControllerHandle;
use parking_lot::Mutex;
use std::ops::Range;

/// The block in use.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<Range<i64>>);

impl ProducerIds {
    /// Returns an id nobody else has.
    pub(crate) async fn next(&self, controller: &ControllerHandle) -> Result<i64, ApiError> {
        loop {
            if let Some(id) = self.0.lock().next() {
                return Ok(id);
            }
            let block = controller.producer_ids().await?;
            // Two that find the block empty at once both take a new one; one of the two is kept.
            *self.0.lock() = block;
        }
    }
}
