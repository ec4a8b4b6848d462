//! Properties as DescribeConfigs and CreateTopics show them: the value in force, where it is from, and
//! what else was said.
//!
//! A property's synonyms are listed by level (this broker's dynamic values, all brokers', the file's,
//! the defaults), and within a level from the finest unit to the coarsest. As Kafka does it, what
//! comes before the property itself is left out; so `log.retention.ms`, when only hours are set, has
//! no synonym and counts as a default.

use crate::config::{
    self, CLIENT_METRICS, GROUP_PROPERTIES, GroupProperty, Kind, ONLY_WHEN_SET, Property, Settings,
    Source, TOPIC_PROPERTIES, broker_synonyms, effective, properties,
};
use std::collections::{BTreeMap, BTreeSet};
use tracing::level_filters::LevelFilter;

/// The two names of the node's id.
const NODE_IDS: [&str; 2] = ["node.id", "broker.id"];

/// One property as it is described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    pub(crate) read_only: bool,
    /// Nothing if the type is not known; then the value may be a secret.
    pub(crate) kind: Option<Kind>,
    pub(crate) doc: &'static str,
    pub(crate) synonyms: Vec<Synonym>,
}

/// What was said of a property in one place: name, value, and where.
pub(crate) type Synonym = (String, Option<String>, Source);

/// Returns every property of a topic that has `own` values.
pub(crate) fn topic_entries(own: &BTreeMap<String, String>, settings: &Settings) -> Vec<Entry> {
    let entry = |property: &config::TopicProperty| {
        let own_value = own
            .get(property.name)
            .map(|value| (property.name.to_owned(), Some(value.clone()), Source::Topic));
        let brokers = property.synonyms.first();
        let brokers = brokers.map(|(name, _)| said_of(name, settings)).unwrap_or_default();
        let synonyms: Vec<Synonym> = own_value.into_iter().chain(brokers).collect();
        Entry {
            name: property.name.to_owned(),
            value: Some(effective(property.name, own, settings)),
            source: in_force(&synonyms),
            read_only: false,
            kind: Some(property.kind),
            doc: property.doc,
            synonyms,
        }
    };
    TOPIC_PROPERTIES.iter().map(entry).collect()
}

/// Returns every property of this broker.
pub(crate) fn broker_entries(settings: &Settings) -> Vec<Entry> {
    let told = |property: &&Property| {
        !ONLY_WHEN_SET.contains(&property.name) || settings.explicit(property.name).is_some()
    };
    let known = properties().filter(told).map(|property| broker_entry(property, settings));
    // Of names in no table nothing is known but that they are in the file; they may be secrets.
    let altered =
        |name: &&str| [false, true].iter().any(|&all| settings.dynamic(all).contains_key(*name));
    let foreign = settings.foreign().filter(|name| !altered(name)).map(|name| Entry {
        name: name.to_owned(),
        value: None,
        source: Source::Static,
        read_only: true,
        kind: None,
        doc: "",
        synonyms: vec![(name.to_owned(), None, Source::Static)],
    });
    let altered = settings.dynamic(false).keys().chain(settings.dynamic(true).keys());
    let altered: BTreeSet<&String> = altered.collect();
    let of_listeners = altered.into_iter().filter_map(|name| listener_entry(name, settings));
    known.chain(foreign).chain(of_listeners).collect()
}

/// Returns what was altered of a property for a single listener.
fn listener_entry(name: &str, settings: &Settings) -> Option<Entry> {
    let property = config::listener_property(name)?;
    let shown = |value: &str| (property.kind != Kind::Password).then(|| value.to_owned());
    let said = settings.sources(name).map(|(from, value)| (name.to_owned(), shown(value), from));
    let synonyms: Vec<Synonym> = said.collect();
    Some(Entry {
        name: name.to_owned(),
        value: synonyms.first().and_then(|(_, value, _)| value.clone()),
        source: in_force(&synonyms),
        read_only: false,
        kind: Some(property.kind),
        doc: property.doc,
        synonyms,
    })
}

/// Returns what was altered for all brokers.
pub(crate) fn default_broker_entries(settings: &Settings) -> Vec<Entry> {
    let altered = settings.dynamic(true);
    let known = properties().filter(|property| altered.contains_key(property.name));
    let known = known.map(|property| broker_entry(property, settings));
    let of_listeners = altered.keys().filter_map(|name| listener_entry(name, settings));
    let of_all = |mut entry: Entry| {
        entry.synonyms.retain(|(_, _, source)| *source == Source::DynamicDefault);
        let secret = entry.kind == Some(Kind::Password);
        entry.value = altered.get(&entry.name).filter(|_| !secret).cloned();
        entry.source = in_force(&entry.synonyms);
        entry
    };
    known.chain(of_listeners).map(of_all).collect()
}

fn broker_entry(property: &'static Property, settings: &Settings) -> Entry {
    if NODE_IDS.contains(&property.name) {
        return node_id_entry(property, settings);
    }
    let synonyms = said_of(property.name, settings);
    let value = settings.value(property).filter(|_| property.kind != Kind::Password);
    Entry {
        name: property.name.to_owned(),
        value: value.map(str::to_owned),
        source: in_force(&synonyms),
        read_only: !property.effect.is_dynamic(),
        kind: Some(property.kind),
        doc: property.doc,
        synonyms,
    }
}

/// A broker of Kafka's cannot start without an id in its file, so it is told as if it stood in ours.
fn node_id_entry(property: &'static Property, settings: &Settings) -> Entry {
    let id = settings.typed().node_id.to_string();
    let said = (property.name.to_owned(), Some(id.clone()), Source::Static);
    let default = property.default.filter(|_| property.name == "broker.id");
    let default =
        default.map(|text| (property.name.to_owned(), Some(text.to_owned()), Source::Default));
    Entry {
        name: property.name.to_owned(),
        value: Some(id),
        source: Source::Static,
        read_only: true,
        kind: Some(property.kind),
        doc: property.doc,
        synonyms: std::iter::once(said).chain(default).collect(),
    }
}

/// Returns every property of a consumer, share or streams group that has `own` values.
pub(crate) fn group_entries(own: &BTreeMap<String, String>, settings: &Settings) -> Vec<Entry> {
    let entry = |property: &GroupProperty| {
        let own_value = own.get(property.name);
        let brokers = if let Some(name) = property.broker {
            said_of(name, settings)
        } else {
            let value = Some(property.default.to_owned());
            vec![(property.name.to_owned(), value, Source::Default)]
        };
        let own_said =
            own_value.map(|value| (property.name.to_owned(), Some(value.clone()), Source::Group));
        let synonyms = own_said.into_iter().chain(brokers).collect();
        let value = own_value.cloned().unwrap_or_else(|| property.default(settings));
        plain(property, value, synonyms)
    };
    GROUP_PROPERTIES.iter().map(entry).collect()
}

/// Returns every property of a subscription to client metrics that does not exist.
pub(crate) fn client_metrics_entries() -> Vec<Entry> {
    let entry = |property| plain(property, property.default.to_owned(), Vec::new());
    CLIENT_METRICS.iter().map(entry).collect()
}

fn plain(property: &GroupProperty, value: String, synonyms: Vec<Synonym>) -> Entry {
    Entry {
        name: property.name.to_owned(),
        value: Some(value),
        source: in_force(&synonyms),
        read_only: false,
        kind: Some(property.kind),
        doc: property.doc,
        synonyms,
    }
}

/// Returns the one logger there is, with its level.
pub(crate) fn logger_entries() -> Vec<Entry> {
    vec![Entry {
        name: "root".to_owned(),
        value: Some(LevelFilter::current().to_string().to_ascii_uppercase()),
        source: Source::Logger,
        read_only: true,
        kind: None,
        doc: "",
        synonyms: Vec::new(),
    }]
}

fn in_force(synonyms: &[Synonym]) -> Source {
    synonyms.first().map_or(Source::Default, |(_, _, source)| *source)
}

/// Returns what was said of a broker's property, under its name and its synonyms'.
fn said_of(name: &str, settings: &Settings) -> Vec<Synonym> {
    let secret = config::property(name).is_some_and(|property| property.kind == Kind::Password);
    let shown = |value: &str| (!secret).then(|| value.to_owned());
    let mut said: Vec<Synonym> = Vec::new();
    let names = broker_synonyms(name);
    let names = if names.is_empty() { std::slice::from_ref(&name) } else { names };
    for other in names {
        let set = settings.sources(other);
        said.extend(set.map(|(source, value)| ((*other).to_owned(), shown(value), source)));
        if let Some(default) = config::property(other).and_then(|property| property.default) {
            said.push(((*other).to_owned(), shown(default), Source::Default));
        }
    }
    // By level first; sorting is stable.
    said.sort_by_key(|(_, _, source)| *source as i8);
    let own = said.iter().position(|(other, _, _)| other == name).unwrap_or(said.len());
    said.split_off(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(entries: Vec<Entry>, name: &str) -> Entry {
        entries.into_iter().find(|entry| entry.name == name).unwrap()
    }

    fn said(entry: &Entry) -> Vec<(&str, Source)> {
        entry.synonyms.iter().map(|(name, _, source)| (name.as_str(), *source)).collect()
    }

    #[test]
    fn synonyms_go_by_level_and_then_from_the_finest_unit() {
        let mut settings = Settings::default();
        settings.set("log.retention.hours", "2").unwrap();
        settings.set("log.retention.ms", "5").unwrap();
        let altered = BTreeMap::from([("log.retention.ms".to_owned(), "7".to_owned())]);
        settings.replace_dynamic(false, altered);
        let own = BTreeMap::from([("retention.ms".to_owned(), "9".to_owned())]);
        let entry = named(topic_entries(&own, &settings), "retention.ms");
        assert_eq!(entry.value.as_deref(), Some("9"));
        let brokers = [
            ("log.retention.ms", Source::DynamicBroker),
            ("log.retention.ms", Source::Static),
            ("log.retention.hours", Source::Static),
            ("log.retention.hours", Source::Default),
        ];
        assert_eq!(said(&entry)[1..], brokers);
        assert_eq!(said(&named(broker_entries(&settings), "log.retention.ms")), brokers);
    }

    #[test]
    fn the_nodes_id_is_told_under_both_names_as_if_the_file_said_it() {
        for set in [None, Some("node.id"), Some("broker.id")] {
            let mut settings = Settings::default();
            if let Some(name) = set {
                settings.set(name, "1").unwrap();
            }
            settings.complete().unwrap();
            for (name, sources) in [
                ("node.id", &[Source::Static][..]),
                ("broker.id", &[Source::Static, Source::Default]),
            ] {
                let entry = named(broker_entries(&settings), name);
                assert_eq!((entry.value.as_deref(), entry.source), (Some("1"), Source::Static));
                let said: Vec<Source> =
                    said(&entry).into_iter().map(|(_, source)| source).collect();
                assert_eq!(said, sources, "{name}");
            }
        }
    }

    #[test]
    fn rates_of_moving_replicas_are_told_only_when_set() {
        let mut settings = Settings::default();
        let name = "leader.replication.throttled.rate";
        assert!(broker_entries(&settings).iter().all(|entry| entry.name != name));
        let altered = BTreeMap::from([(name.to_owned(), "5".to_owned())]);
        settings.replace_dynamic(false, altered);
        let entry = named(broker_entries(&settings), name);
        assert_eq!((entry.value.as_deref(), entry.read_only), (Some("5"), false));
        assert_eq!(said(&entry), [(name, Source::DynamicBroker)]);
    }

    #[test]
    fn a_coarser_unit_alone_makes_no_synonym() {
        let mut settings = Settings::default();
        settings.set("log.retention.hours", "2").unwrap();
        let entry = named(topic_entries(&BTreeMap::new(), &settings), "retention.ms");
        assert_eq!((entry.value.as_deref(), entry.source), (Some("7200000"), Source::Default));
        assert!(entry.synonyms.is_empty());
    }

    #[test]
    fn a_group_s_own_value_comes_before_the_broker_s() {
        let mut settings = Settings::default();
        settings.set("group.consumer.session.timeout.ms", "50000").unwrap();
        let name = "consumer.session.timeout.ms";
        let entry = named(group_entries(&BTreeMap::new(), &settings), name);
        assert_eq!((entry.value.as_deref(), entry.source), (Some("50000"), Source::Static));
        let own = BTreeMap::from([(name.to_owned(), "55000".to_owned())]);
        let entry = named(group_entries(&own, &settings), name);
        assert_eq!((entry.value.as_deref(), entry.source), (Some("55000"), Source::Group));
        let brokers = "group.consumer.session.timeout.ms";
        let expected =
            [(name, Source::Group), (brokers, Source::Static), (brokers, Source::Default)];
        assert_eq!(said(&entry), expected);
        assert!(!entry.read_only);
    }

    #[test]
    fn what_was_altered_for_one_listener_is_told_once_where_it_was() {
        let name = "listener.name.plaintext.max.connections";
        let mut settings = Settings::default();
        settings.set(name, "9").unwrap();
        let altered = |value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        settings.replace_dynamic(true, altered("99"));
        let told = |entries: Vec<Entry>| {
            let of_it = entries.into_iter().filter(|entry| entry.name == name);
            of_it.map(|entry| (entry.value, entry.source, entry.read_only)).collect::<Vec<_>>()
        };
        let for_all = (Some("99".to_owned()), Source::DynamicDefault, false);
        let for_all = [for_all];
        assert_eq!(told(default_broker_entries(&settings)), for_all);
        assert_eq!(told(broker_entries(&settings)), for_all);
        settings.replace_dynamic(false, altered("5"));
        assert_eq!(told(default_broker_entries(&settings)), for_all);
        let of_one = (Some("5".to_owned()), Source::DynamicBroker, false);
        assert_eq!(told(broker_entries(&settings)), [of_one]);
    }

    #[test]
    fn secrets_and_names_in_no_table_are_not_shown() {
        let mut settings = Settings::default();
        settings.set("ssl.key.password", "hush").unwrap();
        settings.set("listener.name.x.ssl.key.password", "hush").unwrap();
        for name in ["ssl.key.password", "listener.name.x.ssl.key.password"] {
            let entry = named(broker_entries(&settings), name);
            assert_eq!((entry.value, entry.source), (None, Source::Static));
            assert_eq!(entry.synonyms, [(name.to_owned(), None, Source::Static)]);
        }
    }
}
