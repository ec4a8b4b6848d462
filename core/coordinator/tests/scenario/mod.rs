//! The world of a scenario: a shard, its log, a clock, and a shell that does what outcomes say.

mod consumer_input;
mod consumer_output;
mod parse;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_coordinator::{
    GroupCall, GroupConfig, GroupEffect, GroupOutcome, GroupProperties, GroupRecord, GroupResponse,
    GroupShard, MetadataImage, ReplyTo, RequestContext, Shard, Signs, Timestamp,
    error_for_failed_append,
};
use kohort_protocol::ErrorCode;

use parse::Input;

/// Everything a scenario acts on.
pub(crate) struct World {
    config: GroupConfig,
    image: MetadataImage,
    group_properties: BTreeMap<std::sync::Arc<str>, GroupProperties>,
    shard: GroupShard,
    log: Vec<(Bytes, Option<Bytes>)>,
    now: Timestamp,
    waiting: BTreeMap<ReplyTo, Sender>,
    next_reply: u64,
    next_append_fails_with: Option<ErrorCode>,
    /// Of which client ids there are signs.
    signs: BTreeSet<String>,
    /// Which client ids others have begun under since.
    replaced: BTreeSet<String>,
    names: Names,
}

/// Who sent a request, and in which version.
struct Sender {
    label: String,
    version: i16,
}

impl World {
    pub(crate) fn new() -> Self {
        let config = GroupConfig::default();
        let mut world = Self {
            shard: GroupShard::new(config.clone(), SEED),
            config,
            image: MetadataImage::default(),
            group_properties: BTreeMap::new(),
            log: Vec::new(),
            now: 0,
            waiting: BTreeMap::new(),
            next_reply: 0,
            next_append_fails_with: None,
            signs: BTreeSet::new(),
            replaced: BTreeSet::new(),
            names: Names::default(),
        };
        let output = world.load();
        assert!(output.is_empty());
        world
    }

    /// Runs one line and returns what comes out.
    pub(crate) fn run(&mut self, line: &str) -> Result<Vec<String>, String> {
        let mut output = Vec::new();
        match parse::input(line, &self.names)? {
            Input::Config(change) => {
                change(&mut self.config);
                self.waiting.clear();
                output.extend(self.restart());
            }
            Input::Group(group, own) => {
                self.group_properties.insert(group, own);
                self.image = self.image.clone().with_groups(self.group_properties.clone());
                let outcome = self.shard.handle_metadata(self.now, &self.image);
                output.extend(self.apply(outcome));
            }
            Input::Topics(image) => {
                self.image = image.with_groups(self.group_properties.clone());
                let outcome = self.shard.handle_metadata(self.now, &self.image);
                output.extend(self.apply(outcome));
            }
            Input::Request { label, version, connection, request } => {
                let from = ReplyTo(self.next_reply);
                self.next_reply += 1;
                let client_id = label.trim_end_matches('\'').to_owned();
                let context = RequestContext {
                    api_version: version,
                    client_host: format!("/{client_id}").into(),
                    client_id: client_id.into(),
                    connection,
                };
                self.waiting.insert(from, Sender { label, version });
                let outcome = self.shard.handle(self.now, from, GroupCall { context, request });
                output.extend(self.apply(outcome));
            }
            Input::Advance(duration) => {
                let end = self.now + duration;
                while let Some(due) = self.shard.poll_timeout().filter(|due| *due <= end) {
                    self.now = self.now.max(due);
                    output.extend(self.handle_timeout());
                }
                self.now = end;
            }
            Input::Clock(ahead) => self.shard.note_wall_ahead(ahead),
            Input::Restart => {
                self.waiting.clear();
                output.extend(self.restart());
            }
            Input::Close(connection) => {
                let outcome = self.shard.handle_connection_closed(self.now, connection);
                output.extend(self.apply(outcome));
            }
            Input::Signs(clients) => self.signs = clients,
            Input::Replaced(clients) => self.replaced = clients,
            Input::FailAppend(error) => self.next_append_fails_with = Some(error),
            Input::Log(key, value) => {
                let record =
                    GroupRecord::decode(&key, value.as_ref()).map_err(|e| e.to_string())?;
                self.shard.replay(&record);
                self.log.push((key, value));
            }
        }
        while self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
            output.extend(self.handle_timeout());
        }
        Ok(output)
    }

    /// Compares the shard with one that knows nothing but the log.
    pub(crate) fn check_replay(&self) {
        let mut rebuilt = GroupShard::new(self.config.clone(), SEED);
        replay(&mut rebuilt, &self.log);
        assert_eq!(rebuilt.hard_state(), self.shard.hard_state(), "replay differs from live");
    }

    /// Checks that whoever still waits can be answered, once.
    pub(crate) fn finish(mut self) {
        for (from, _) in self.shard.resign(ErrorCode::NOT_COORDINATOR) {
            assert!(self.waiting.remove(&from).is_some(), "{from:?} is answered twice");
        }
        assert!(self.waiting.is_empty(), "requests nobody remembers");
    }

    fn handle_timeout(&mut self) -> Vec<String> {
        let outcome = self.shard.handle_timeout(self.now);
        let output = self.apply(outcome);
        let time = print::duration(self.now);
        let first = (!output.is_empty()).then(|| format!("at {time}"));
        first.into_iter().chain(output).collect()
    }

    /// Does what an outcome says, as a shell would.
    fn apply(&mut self, outcome: GroupOutcome) -> Vec<String> {
        if !outcome.records.is_empty()
            && let Some(error) = self.next_append_fails_with.take()
        {
            return self.fail_append(outcome, error);
        }
        let mut output = Vec::new();
        for record in &outcome.records {
            output.extend(print::record(&mut self.names, record));
            self.shard.replay(record);
            self.log.extend(record.encoded().unwrap());
        }
        for (to, response) in outcome.replies {
            output.extend(self.reply(to, &response));
        }
        for effect in &outcome.effects {
            output.extend(print::effect(&mut self.names, effect));
            if let GroupEffect::SeekSigns { group, member, client_id, .. } = effect {
                let signs = if self.signs.contains(&**client_id) {
                    Signs::Hoped
                } else if self.replaced.contains(&**client_id) {
                    Signs::Replaced
                } else {
                    Signs::Missing
                };
                let outcome = self.shard.handle_signs(self.now, group, member, signs);
                output.extend(self.apply(outcome));
            }
        }
        output
    }

    fn fail_append(&mut self, outcome: GroupOutcome, error: ErrorCode) -> Vec<String> {
        let error = error_for_failed_append(error);
        let mut output = vec!["append failed".to_owned()];
        for (to, response) in outcome.replies {
            output.extend(self.reply(to, &response.into_failed(error)));
        }
        for (to, response) in self.shard.resign(error) {
            output.extend(self.reply(to, &response));
        }
        output.extend(self.restart());
        output
    }

    fn reply(&mut self, to: ReplyTo, response: &GroupResponse) -> Vec<String> {
        let sender = self.waiting.remove(&to);
        let Sender { label, version } =
            sender.unwrap_or_else(|| panic!("{to:?} is answered twice"));
        print::response(&mut self.names, &label, version, response)
    }

    fn restart(&mut self) -> Vec<String> {
        self.shard = GroupShard::new(self.config.clone(), SEED + self.next_reply);
        self.load()
    }

    fn load(&mut self) -> Vec<String> {
        replay(&mut self.shard, &self.log);
        let outcome = self.shard.handle_loaded(self.now);
        let mut output = self.apply(outcome);
        let outcome = self.shard.handle_metadata(self.now, &self.image);
        output.extend(self.apply(outcome));
        output
    }
}

/// Short names for what is long: `a-1` is the first member id that client `a` was given.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<String, String>,
    counts: BTreeMap<String, usize>,
}

impl Names {
    /// Returns the short name of a member id, making one if it is new.
    fn short(&mut self, id: &str) -> String {
        if let Some((name, _)) = self.ids.iter().find(|(_, known)| *known == id) {
            return name.clone();
        }
        let Some(prefix) = id.len().checked_sub(UUID_LENGTH + 1).map(|end| &id[..end]) else {
            return id.to_owned();
        };
        let count = self.counts.entry(prefix.to_owned()).or_default();
        *count += 1;
        let name = format!("{prefix}-{count}");
        self.ids.insert(name.clone(), id.to_owned());
        name
    }

    /// Returns the member id of a short name; any other text means itself.
    fn long(&self, name: &str) -> String {
        self.ids.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

fn replay(shard: &mut GroupShard, log: &[(Bytes, Option<Bytes>)]) {
    for (key, value) in log {
        shard.replay(&GroupRecord::decode(key, value.as_ref()).unwrap());
    }
}

const SEED: u64 = 1;
const UUID_LENGTH: usize = 36;
