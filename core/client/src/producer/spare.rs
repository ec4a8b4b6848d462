//! Builders and memory of batches that are done with, to be filled again: fresh memory costs more than the
//! records that are put into it. What came back last is used first, while the caches still have it.

use kohort_protocol::records::BatchBuilder;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Spare {
    #[expect(
        clippy::vec_box,
        reason = "they move between batches and here: the box is what moves"
    )]
    builders: Vec<Box<BatchBuilder>>,
    memory: Vec<Vec<u8>>,
}

impl Spare {
    /// Returns an empty builder with memory for a batch of `bytes`, which is packed in the end or not.
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what moves")]
    pub(super) fn take(&mut self, bytes: usize, packed: bool) -> Box<BatchBuilder> {
        let mut builder = self.builders.pop().unwrap_or_default();
        if !builder.has_memory() {
            let memory = self.memory.pop();
            builder.reuse(memory.unwrap_or_else(|| Vec::with_capacity(bytes)));
        }
        if !packed {
            builder.sum_while_filling();
        }
        builder
    }

    /// Takes back an empty builder.
    pub(super) fn put(&mut self, builder: Box<BatchBuilder>) {
        if self.builders.len() < BUILDERS_MAX {
            self.builders.push(builder);
        }
    }

    /// Takes the memory of a batch, unless it is unlike others or there is enough of it.
    pub(super) fn put_memory(&mut self, mut memory: Vec<u8>, batch_size: usize, most: usize) {
        let kept = self.memory.len() * batch_size;
        if memory.capacity() <= 2 * batch_size && kept <= most {
            memory.clear();
            self.memory.push(memory);
        }
    }
}

/// As many as a few nodes have requests in flight.
const BUILDERS_MAX: usize = 64;
