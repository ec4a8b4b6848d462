//! What the application may take now. The network side fills it, the application's polls empty it;
//! both lock it for moments only, which is why it is apart from the machines.
//!
//! Three offsets of each partition tell the story of its records: *fetched* (kept by the machine),
//! *given* (handed to the application) and *processed*: what was given before the latest poll, for
//! polling again says that the earlier records are done with. Auto commit uses only the last.
//!
//! A partition apart has a fourth: how far its stream is *done*, by asking for more or by a commit. When
//! the stream is dropped, reading goes back to there: nobody has the records after it any more.

use std::collections::{BTreeMap, VecDeque};

use super::reader::Chunk;
use super::types::{AssignmentEpoch, Position, PositionEpoch, TopicPartition};

/// The partitions an application owns, with what waits in each.
#[derive(Debug)]
pub struct Buffer<H> {
    cells: BTreeMap<TopicPartition, Cell<H>>,
    /// Partitions with something to take, in turn: one busy partition cannot starve the others.
    turn: VecDeque<TopicPartition>,
    /// Partitions given something since the latest poll began.
    touched: Vec<TopicPartition>,
    /// What was given of partitions lost since then, and not committed.
    lost: Vec<(TopicPartition, AssignmentEpoch, Position)>,
}

#[derive(Debug)]
struct Cell<H> {
    epoch: AssignmentEpoch,
    position_epoch: Option<PositionEpoch>,
    chunks: VecDeque<Chunk<H>>,
    bytes: usize,
    paused: bool,
    revoking: bool,
    given_back: bool,
    /// Whether a stream has it: polls pass it by.
    apart: bool,
    queued: bool,
    given: Option<Position>,
    processed: Option<Position>,
    /// How far the stream that has it is done, which began where polls were.
    done: Option<Position>,
    /// Where to read on because a stream was dropped over what it was given, until the network side knows.
    back_to: Option<Position>,
    /// Whether polls gave records that they are not done with.
    polled: bool,
    /// Whether records were given that the application has not asked to commit.
    uncommitted: bool,
    watermarks: Watermarks,
}

/// What a partition apart has.
#[derive(Debug)]
pub enum Apart<H> {
    /// Data.
    Chunk(Box<Chunk<H>>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: the ownership ended, or ends.
    Ended,
}

/// The ends of a partition as the latest answer told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that exists, or -1 when unknown.
    pub log_start_offset: i64,
    /// The end of what is replicated, or -1 when unknown.
    pub high_watermark: i64,
    /// The end of what transactions have decided, or -1 when unknown.
    pub last_stable_offset: i64,
}

const UNKNOWN: Watermarks =
    Watermarks { log_start_offset: -1, high_watermark: -1, last_stable_offset: -1 };

impl<H> Default for Buffer<H> {
    fn default() -> Self {
        Self {
            cells: BTreeMap::new(),
            turn: VecDeque::new(),
            touched: Vec::new(),
            lost: Vec::new(),
        }
    }
}

impl<H> Buffer<H> {
    /// Starts an ownership, without a position yet. What was paused in one before stays so.
    pub fn assign(&mut self, partition: TopicPartition, epoch: AssignmentEpoch) {
        let cell = Cell {
            epoch,
            position_epoch: None,
            chunks: VecDeque::new(),
            bytes: 0,
            paused: self.is_paused(&partition),
            revoking: false,
            given_back: false,
            apart: false,
            queued: self.turn.contains(&partition),
            given: None,
            processed: None,
            done: None,
            back_to: None,
            polled: false,
            uncommitted: false,
            watermarks: UNKNOWN,
        };
        self.cells.insert(partition, cell);
    }

    /// Ends ownerships: what waits is dropped.
    pub fn release<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            self.cells.remove(partition);
        }
        self.turn.retain(|partition| self.cells.contains_key(partition));
    }

    /// Ends ownerships that were lost. Until the next poll, a commit of all the application has been given
    /// is one of these as well, so that it fails.
    pub fn lose<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition, IntoIter: Clone>,
    ) {
        let partitions = partitions.into_iter();
        for partition in partitions.clone() {
            let cell = self.cells.get(partition);
            let cell = cell.filter(|cell| cell.uncommitted && !cell.given_back && !cell.apart);
            if let Some((cell, given)) = cell.and_then(|cell| Some((cell, cell.given?))) {
                self.lost.push((partition.clone(), cell.epoch, given));
            }
        }
        self.release(partitions);
    }

    /// Stops delivering partitions that are being given back; their positions stay readable.
    pub fn mark_revoking<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            if let Some(cell) = self.cells.get_mut(partition) {
                cell.revoking = true;
                cell.chunks.clear();
                cell.bytes = 0;
            }
        }
    }

    /// Says that the application is done with what is being given back and meets `which`. It owns that
    /// no more, though the network side may hear of it only later.
    pub fn give_back(&mut self, which: impl Fn(&TopicPartition) -> bool) {
        for (partition, cell) in &mut self.cells {
            cell.given_back |= cell.revoking && which(partition);
        }
    }

    /// Starts a reading sequence: what waits from the earlier one is dropped.
    pub fn start(&mut self, partition: &TopicPartition, epoch: PositionEpoch, position: Position) {
        if let Some(cell) = self.cells.get_mut(partition) {
            let at_work = cell.apart && cell.given != cell.processed;
            cell.position_epoch = Some(epoch);
            cell.chunks.clear();
            cell.bytes = 0;
            cell.given = Some(position);
            cell.done = Some(position);
            cell.back_to = None;
            // Records given by the latest poll are not done with yet: the next poll says so.
            if !self.touched.contains(partition) && !at_work {
                cell.processed = Some(position);
            }
        }
    }

    /// Takes that the application commits up to `offset`, by which it says that all before it is
    /// processed: auto commit must not go back behind it.
    pub fn committed(&mut self, partition: &TopicPartition, epoch: AssignmentEpoch, offset: i64) {
        let cell = self.cells.get_mut(partition).filter(|cell| cell.epoch == epoch);
        let Some((cell, given)) = cell.and_then(|cell| cell.given.map(|given| (cell, given)))
        else {
            return;
        };
        let committed = Position { offset, leader_epoch: given.leader_epoch };
        let forward = |from: &Position| (from.offset..=given.offset).contains(&offset);
        if let Some(done) = cell.done.as_mut().filter(|done| forward(done)) {
            *done = committed;
        }
        if let Some(processed) = cell.processed.as_mut().filter(|processed| forward(processed)) {
            *processed = committed;
            cell.uncommitted &= offset < given.offset;
        }
    }

    /// Ends a reading sequence before it is known where the next one starts.
    pub fn suspend(&mut self, partition: &TopicPartition) {
        if let Some(cell) = self.cells.get_mut(partition) {
            cell.position_epoch = None;
            cell.chunks.clear();
            cell.bytes = 0;
            cell.given = None;
            cell.processed = None;
            cell.done = None;
            cell.back_to = None;
        }
    }

    /// Adds what was fetched; returns whether there is something to take. What belongs to an earlier
    /// ownership or sequence is dropped.
    pub fn push(&mut self, chunk: Chunk<H>) -> bool {
        let Some(cell) = self.cells.get_mut(&chunk.delivery.partition) else { return false };
        if cell.position_epoch != Some(chunk.delivery.position_epoch) || cell.revoking {
            return false;
        }
        cell.watermarks = Watermarks {
            log_start_offset: chunk.delivery.log_start_offset,
            high_watermark: chunk.delivery.high_watermark,
            last_stable_offset: chunk.delivery.last_stable_offset,
        };
        if chunk.delivery.records.is_empty() {
            return false;
        }
        cell.bytes += chunk.delivery.records.len();
        if !cell.queued && !cell.apart {
            cell.queued = true;
            self.turn.push_back(chunk.delivery.partition.clone());
        }
        cell.chunks.push_back(chunk);
        !cell.paused
    }

    /// Pauses or resumes delivery; what waits is kept. Returns whether there is something to take.
    pub fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> bool {
        let Some(cell) = self.cells.get_mut(partition) else { return false };
        cell.paused = paused;
        let ready = !paused && !cell.chunks.is_empty();
        if ready && !cell.queued && !cell.apart {
            cell.queued = true;
            self.turn.push_back(partition.clone());
        }
        ready
    }

    /// Sets a partition apart for a stream, which alone takes from it from now on. Returns its
    /// ownership, or `None` if there is none to be had: it is not owned, has to be given back, or is
    /// somebody's already.
    pub fn set_apart(&mut self, partition: &TopicPartition) -> Option<AssignmentEpoch> {
        let cell = self.cells.get_mut(partition)?;
        let free = !cell.apart && !cell.revoking;
        free.then(|| {
            cell.apart = true;
            cell.done = cell.given;
            cell.epoch
        })
    }

    /// Hands a partition that was apart back to the polls, at the record after the last one its stream is
    /// done with. If that is all it was given, what waits stays; else [`take_back_to`](Self::take_back_to)
    /// says where to read on. Returns whether there is something to take.
    pub fn rejoin(&mut self, partition: &TopicPartition, epoch: AssignmentEpoch) -> bool {
        let Some(cell) = self.cells.get_mut(partition).filter(|it| it.apart && it.epoch == epoch)
        else {
            return false;
        };
        cell.apart = false;
        if let (Some(given), Some(done)) = (cell.given, cell.done)
            && done.offset < given.offset
        {
            // Nothing is taken until reading starts there.
            cell.position_epoch = None;
            cell.chunks.clear();
            cell.bytes = 0;
            cell.given = Some(done);
            cell.back_to = Some(done);
        }
        if cell.given != cell.processed {
            // Its records are done with as those of a poll are: when the next one begins.
            self.touched.push(partition.clone());
        }
        let ready = !cell.paused && !cell.revoking && !cell.chunks.is_empty();
        if ready && !cell.queued {
            cell.queued = true;
            self.turn.push_back(partition.clone());
        }
        ready
    }

    /// Returns, once, where to read on after a stream was dropped over what it was given; `None` if a
    /// seek has said so since.
    pub fn take_back_to(
        &mut self,
        partition: &TopicPartition,
        epoch: AssignmentEpoch,
    ) -> Option<Position> {
        let cell = self.cells.get_mut(partition).filter(|cell| cell.epoch == epoch)?;
        cell.back_to.take()
    }

    /// Whether a partition is apart.
    pub fn is_apart(&self, partition: &TopicPartition) -> bool {
        self.cells.get(partition).is_some_and(|cell| cell.apart)
    }

    /// Returns a partition that could be set apart.
    pub fn first_not_apart(&self) -> Option<&TopicPartition> {
        let mut free = self.cells.iter().filter(|(_, cell)| !cell.apart && !cell.revoking);
        free.next().map(|(partition, _)| partition)
    }

    /// Says that what was given of a partition apart is processed.
    pub fn processed_apart(&mut self, partition: &TopicPartition, epoch: AssignmentEpoch) {
        if let Some(cell) = self.cells.get_mut(partition).filter(|it| it.apart && it.epoch == epoch)
        {
            cell.done = cell.given;
            if !cell.polled {
                cell.processed = cell.given;
            }
        }
    }

    /// Takes the next chunk of a partition apart.
    pub fn take_apart(&mut self, partition: &TopicPartition, epoch: AssignmentEpoch) -> Apart<H> {
        let cell = self.cells.get_mut(partition);
        let Some(cell) = cell.filter(|it| it.apart && it.epoch == epoch && !it.revoking) else {
            return Apart::Ended;
        };
        if cell.paused {
            return Apart::Nothing;
        }
        let Some(chunk) = cell.chunks.pop_front() else { return Apart::Nothing };
        cell.bytes = cell.bytes.saturating_sub(chunk.delivery.records.len());
        Apart::Chunk(Box::new(chunk))
    }

    /// Begins a poll: what was given before counts as processed from here on.
    pub fn begin_poll(&mut self) {
        self.lost.clear();
        for partition in std::mem::take(&mut self.touched) {
            if let Some(cell) = self.cells.get_mut(&partition) {
                cell.polled = false;
                // What its stream was given is the stream's to say.
                cell.processed = if cell.apart { cell.done } else { cell.given };
            }
        }
    }

    /// Takes the next chunk in turn. [`give`](Self::give) says how much of it was handed out.
    pub fn take(&mut self) -> Option<Chunk<H>> {
        while let Some(partition) = self.turn.pop_front() {
            let Some(cell) = self.cells.get_mut(&partition) else { continue };
            cell.queued = false;
            if cell.paused || cell.revoking || cell.apart {
                continue;
            }
            let Some(chunk) = cell.chunks.pop_front() else { continue };
            cell.bytes = cell.bytes.saturating_sub(chunk.delivery.records.len());
            if !cell.chunks.is_empty() {
                cell.queued = true;
                self.turn.push_back(partition);
            }
            return Some(chunk);
        }
        None
    }

    /// Moves the given position; returns false when the ownership or the sequence ended meanwhile,
    /// so that what was taken must not be handed out.
    pub fn give(
        &mut self,
        partition: &TopicPartition,
        epoch: PositionEpoch,
        position: Position,
        with_records: bool,
    ) -> bool {
        let Some(cell) = self.cells.get_mut(partition) else { return false };
        if cell.position_epoch != Some(epoch) || cell.revoking {
            return false;
        }
        let all_processed = cell.given == cell.processed;
        let all_done = cell.given == cell.done;
        cell.given = Some(position);
        if all_done && !with_records {
            cell.done = Some(position);
        }
        if with_records {
            cell.uncommitted = true;
            if !cell.apart {
                cell.polled = true;
                self.touched.push(partition.clone());
            }
        } else if all_processed {
            // Markers and holes need no processing: passing them must not hold a commit back.
            cell.processed = Some(position);
        }
        true
    }

    /// Puts the rest of a taken chunk back in front.
    pub fn put_back(&mut self, chunk: Chunk<H>) {
        let Some(cell) = self.cells.get_mut(&chunk.delivery.partition) else { return };
        if cell.position_epoch != Some(chunk.delivery.position_epoch) || cell.revoking {
            return;
        }
        cell.bytes += chunk.delivery.records.len();
        let partition = chunk.delivery.partition.clone();
        cell.chunks.push_front(chunk);
        if cell.apart {
            return;
        }
        if cell.queued {
            self.turn.retain(|queued| *queued != partition);
        }
        cell.queued = true;
        self.turn.push_front(partition);
    }

    /// Puts a chunk that cannot be read back, behind what other partitions have: it stops its own
    /// partition only.
    pub fn put_back_last(&mut self, chunk: Chunk<H>) {
        let partition = chunk.delivery.partition.clone();
        self.put_back(chunk);
        if self.turn.front() == Some(&partition) {
            self.turn.rotate_left(1);
        }
    }

    /// Returns how many bytes of a partition wait.
    pub fn bytes(&self, partition: &TopicPartition) -> usize {
        self.cells.get(partition).map_or(0, |cell| cell.bytes)
    }

    /// Returns the owned partitions with their ownership, those being given back included.
    pub fn owned(&self) -> impl Iterator<Item = (&TopicPartition, AssignmentEpoch)> {
        self.cells.iter().map(|(partition, cell)| (partition, cell.epoch))
    }

    /// Whether a partition is paused.
    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.cells.get(partition).is_some_and(|cell| cell.paused)
    }

    /// Returns the paused partitions.
    pub fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.cells.iter().filter(|(_, cell)| cell.paused).map(|(partition, _)| partition)
    }

    /// Returns the ownership and what was given of a partition.
    pub fn given(&self, partition: &TopicPartition) -> Option<(AssignmentEpoch, Option<Position>)> {
        self.cells.get(partition).map(|cell| (cell.epoch, cell.given))
    }

    /// Returns everything polls gave, for a commit of all the application has, what was lost since the
    /// latest of them included. Streams commit for themselves.
    pub fn all_given(&self) -> Vec<(TopicPartition, AssignmentEpoch, Position)> {
        let given = |(partition, cell): (&TopicPartition, &Cell<H>)| {
            let given = cell.given.filter(|_| !cell.given_back && !cell.apart);
            given.map(|position| (partition.clone(), cell.epoch, position))
        };
        self.lost.iter().cloned().chain(self.cells.iter().filter_map(given)).collect()
    }

    /// Returns everything processed, for auto commit.
    pub fn all_processed(&self) -> Vec<(TopicPartition, AssignmentEpoch, Position)> {
        let processed = |(partition, cell): (&TopicPartition, &Cell<H>)| {
            cell.processed.map(|position| (partition.clone(), cell.epoch, position))
        };
        self.cells.iter().filter_map(processed).collect()
    }

    /// Returns the ends of a partition.
    pub fn watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        self.cells.get(partition).map(|cell| cell.watermarks)
    }

    /// Applies `change` to what waits, for example to free frames that a paused partition holds.
    pub fn for_each_waiting(
        &mut self,
        partition: &TopicPartition,
        change: impl FnMut(&mut Chunk<H>),
    ) {
        if let Some(cell) = self.cells.get_mut(partition) {
            cell.chunks.iter_mut().for_each(change);
        }
    }
}

#[cfg(test)]
mod tests;
