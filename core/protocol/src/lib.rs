//! Kafka's bytes: messages, frames, record batches, compression and error codes.
