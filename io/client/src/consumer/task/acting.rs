//! What the machine wants done: requests, and what becomes of the records in memory and the application's streams.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kohort_client_core::consumer::Action;
use kohort_client_core::consumer::machine::GroupEvent;
use kohort_client_core::consumer::reader::{Chunk, Progress};
use kohort_client_core::consumer::stalls::Stall;
use tokio::sync::mpsc;

use super::Task;
use crate::cluster::Topics;
use crate::consumer::command::Command;
use crate::consumer::credits::Hold;
use crate::consumer::events::RebalanceEvent;
use crate::consumer::shared::Clock;
use crate::consumer::signals::StreamEnd;

impl Task {
    /// Carries out what the machine decided; `hold` keeps the room of the answer it follows from.
    pub(super) fn execute(&mut self, clock: Clock, actions: Vec<Action>, hold: Option<&Hold>) {
        let mut ready_to_poll = false;
        for action in actions {
            match action {
                Action::FindCoordinator(id) => self.requests.find_coordinator(id),
                Action::Group { id, request, .. } => {
                    self.requests.group(id, self.coordinator.clone(), request);
                }
                Action::Assign { id, members, .. } => self.requests.group_topics(id, members),
                Action::Commit { id, request, .. } => {
                    self.requests.commit(id, self.coordinator.clone(), request);
                }
                Action::FetchCommitted { id, request, .. } => {
                    self.requests.offsets(id, self.coordinator.clone(), request);
                }
                Action::ListOffsets { id, node, request } => {
                    self.requests.list_offsets(id, node, request);
                }
                Action::AskEpochEnds { id, node, request } => {
                    self.requests.epoch_ends(id, node, request);
                }
                Action::Fetch(plan) => self.requests.fetch(plan),
                Action::CloseSessions(sessions) => self.requests.close_sessions(sessions),
                Action::RefreshMetadata => self.cluster.refresh_soon(),
                Action::WantTopics(topics) => self.want_topics(topics),
                Action::BrokersLearnt(brokers) => self.cluster.learn_brokers(&brokers),
                Action::LeaderLearnt { partition, node, epoch } => {
                    self.cluster.learn_leader(&partition.topic, partition.partition, node, epoch);
                }
                Action::LeaderDenied { partition, node } => {
                    self.cluster.deny_leader(&partition.topic, partition.partition, node);
                }
                Action::Own(partitions) => {
                    let mut buffer = self.shared.buffer.lock();
                    for (partition, epoch) in partitions {
                        self.shared.streams.end(&partition, StreamEnd::Recreated);
                        buffer.assign(partition, epoch);
                    }
                    drop(buffer);
                    self.shared.streams.owned.notify_waiters();
                }
                Action::Start { partition, position_epoch, position } => {
                    self.shared.faults.lock().partitions.remove(&partition);
                    self.shared.buffer.lock().start(&partition, position_epoch, position);
                }
                Action::Deliver(mut delivery) => {
                    let mut buffer = self.shared.buffer.lock();
                    let apart = buffer.is_apart(&delivery.partition);
                    let alone = apart || buffer.is_paused(&delivery.partition);
                    if alone {
                        // It may stay for long, and must not keep the whole answer it came with.
                        delivery.records = bytes::Bytes::copy_from_slice(&delivery.records);
                    }
                    let hold = hold
                        .filter(|_| !alone)
                        .cloned()
                        .unwrap_or_else(|| self.shared.credits.take(delivery.records.len()));
                    let partition = apart.then(|| delivery.partition.clone());
                    let chunk = Chunk { delivery, progress: Progress::default(), hold };
                    let ready = buffer.push(chunk);
                    drop(buffer);
                    match partition {
                        Some(partition) if ready => self.shared.wake_reader(Some(&partition)),
                        _ => ready_to_poll |= ready,
                    }
                }
                Action::StopDelivery(partitions) => {
                    self.shared.buffer.lock().mark_revoking(&partitions);
                    for partition in &partitions {
                        self.shared.streams.end(partition, StreamEnd::Revoked);
                    }
                }
                Action::Disown { partitions, lost } => {
                    let by_hand = self.machine.subscription().is_manual();
                    let why = if by_hand { StreamEnd::Unassigned } else { StreamEnd::Lost };
                    for partition in &partitions {
                        self.shared.streams.end(partition, why);
                    }
                    self.shared.faults.lock().partitions.retain(|it, _| !partitions.contains(it));
                    let mut buffer = self.shared.buffer.lock();
                    if lost {
                        buffer.lose(&partitions);
                    } else {
                        buffer.release(&partitions);
                    }
                }
                Action::Event(event) => self.event(clock, event),
                Action::Fault(fault) => self.shared.add_fault(fault),
                Action::CommitDone { ticket, failures } => {
                    if let Some(done) = self.commits.remove(&ticket) {
                        done(failures);
                    } else if let Some((partition, why)) = failures.first() {
                        tracing::warn!(%partition, ?why, "an automatic commit failed");
                    }
                }
                Action::Closed => self.closed = true,
            }
        }
        if ready_to_poll {
            // Once all of an answer is there: a poll would take the first partition's records, and be woken
            // again for those of each other.
            self.shared.wake_reader(None);
        }
    }

    fn want_topics(&mut self, topics: Topics) {
        if let Topics::Some(names) = &topics {
            self.shared.faults.lock().topics.retain(|topic, _| names.contains(topic));
        }
        self.cluster.set_topics(topics);
    }

    fn event(&mut self, clock: Clock, event: GroupEvent) {
        tracing::debug!(?event, "group event");
        let event = match event {
            GroupEvent::Rebalancing { reason } => RebalanceEvent::Rebalancing { reason },
            GroupEvent::Assigned { added, owned, generation } => {
                // Refused before, and let in before anybody polled.
                self.shared.faults.lock().group = None;
                RebalanceEvent::Assigned { added, owned, generation }
            }
            GroupEvent::Revoked { partitions } => RebalanceEvent::Revoked { partitions },
            GroupEvent::Lost { partitions, reason } => RebalanceEvent::Lost { partitions, reason },
            GroupEvent::Truncated { partition, offset, diverges_at } => {
                tracing::warn!(%partition, offset, ?diverges_at, "the log was cut: records are lost");
                RebalanceEvent::Truncated { partition, offset, diverges_at }
            }
            GroupEvent::Recreated { partitions } => {
                tracing::warn!(?partitions, "deleted and created again: reading starts over");
                RebalanceEvent::Recreated { partitions }
            }
            GroupEvent::Stalled(stall) => {
                let Stall { partition, reason, waiting_ms } = stall;
                let waiting = Duration::from_millis(waiting_ms.max(0) as u64);
                tracing::warn!(%partition, ?reason, ?waiting, "neither fetched nor buffered nor paused");
                RebalanceEvent::Stalled { partition, reason, waiting }
            }
            GroupEvent::Downgraded { code } => {
                tracing::info!(%code, "the broker cannot run this group by the consumer protocol");
                RebalanceEvent::Downgraded { code }
            }
            GroupEvent::PollIntervalExceeded { idle_ms } => {
                self.shared.away.store(true, Ordering::SeqCst);
                // The application may have begun to poll just now, and poll for long.
                if self.shared.is_polling()
                    && self.shared.away.swap(false, Ordering::SeqCst)
                    && let Some(commands) = self.command_sender.upgrade()
                {
                    let _ = commands.send(Command::Back);
                }
                RebalanceEvent::PollIntervalExceeded {
                    idle: Duration::from_millis(idle_ms.max(0) as u64),
                }
            }
            GroupEvent::Revoking { ticket, partitions, deadline } => {
                self.revoking(clock, ticket, partitions, deadline);
                return;
            }
            _ => return,
        };
        if let Some(listener) = &self.listener
            && let Err(mpsc::error::TrySendError::Full(event)) = listener.try_send(event)
        {
            tracing::warn!(?event, "the listener to rebalance events lags behind, one is lost");
        }
    }
}
