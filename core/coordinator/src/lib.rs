//! The group coordinator as a replayable state machine.
