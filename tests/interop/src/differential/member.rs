//! A member as a client would be it, made to be careless at times.

use std::collections::BTreeSet;

/// A partition by its topic's name.
pub(super) type Partition = (String, i32);

/// What a member knows of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    /// Its id, a letter.
    pub(super) id: String,
    /// The name of a static member.
    pub(super) instance: Option<String>,
    /// The topics it wants.
    pub(super) topics: Vec<String>,
    /// The assignor it asks for.
    pub(super) assignor: Option<&'static str>,
    /// Whether it believes to be in the group.
    pub(super) joined: bool,
    /// The epoch it was told last.
    pub(super) epoch: i32,
    /// What it was told last to own.
    pub(super) assigned: BTreeSet<Partition>,
    /// What it owns.
    pub(super) owned: BTreeSet<Partition>,
}

impl Member {
    /// Gives up what it was told to, and takes what it was told it may have.
    pub(super) fn settle(&mut self) {
        self.owned.clone_from(&self.assigned);
    }

    /// Gives up what it was told to, and takes nothing yet.
    pub(super) fn give_up(&mut self) {
        self.owned = self.owned.intersection(&self.assigned).cloned().collect();
    }

    /// Forgets all it had: it is out of the group.
    pub(super) fn drop_out(&mut self) {
        self.joined = false;
        self.epoch = 0;
        self.assigned.clear();
        self.owned.clear();
    }
}

/// A heartbeat before it is made one side's.
#[derive(Debug, Clone, Default)]
pub(super) struct Beat {
    pub(super) group: String,
    pub(super) member: String,
    pub(super) epoch: i32,
    pub(super) instance: Option<String>,
    pub(super) rack: Option<String>,
    pub(super) timeout: i32,
    pub(super) topics: Option<Vec<String>>,
    pub(super) regex: Option<String>,
    pub(super) assignor: Option<String>,
    pub(super) owned: Option<BTreeSet<Partition>>,
}
