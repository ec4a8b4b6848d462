//! Who gets which partitions.
