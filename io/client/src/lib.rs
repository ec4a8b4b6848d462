//! A native async Kafka client.
