//! Topics that come into the picture and leave it: followed, or held while a question is about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use kohort_client_core::metadata::Topics;

use super::Refresher;

/// Keeps topics in the picture that a question is about, until it is dropped.
#[derive(Debug)]
pub struct HeldTopics {
    refresher: Arc<Refresher>,
    topics: BTreeSet<Arc<str>>,
}

impl Drop for HeldTopics {
    fn drop(&mut self) {
        {
            let mut wanted = self.refresher.wanted.lock();
            for topic in &self.topics {
                if let Some(holders) = wanted.held.get_mut(topic) {
                    *holders -= 1;
                    if *holders == 0 {
                        wanted.held.remove(topic);
                    }
                }
            }
        }
        self.refresher.drop_unfollowed();
    }
}

impl Refresher {
    pub(in crate::cluster) fn follow<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) {
        let view = self.view();
        let mut missing = false;
        {
            let mut wanted = self.wanted.lock();
            let Topics::Some(followed) = &mut wanted.topics else { return };
            for topic in topics {
                let topic = topic.as_ref();
                if !followed.contains(topic) {
                    followed.insert(Arc::from(topic));
                    missing |= view.topic(topic).is_none();
                }
            }
        }
        if missing {
            self.request(true);
        }
    }

    pub(in crate::cluster) fn unfollow(&self, topic: &str) {
        if let Topics::Some(followed) = &mut self.wanted.lock().topics {
            followed.remove(topic);
        }
        self.drop_unfollowed();
    }

    pub(in crate::cluster) fn hold(self: &Arc<Self>, topics: BTreeSet<Arc<str>>) -> HeldTopics {
        let view = self.view();
        let missing = topics.iter().any(|topic| view.topic(topic).is_none());
        {
            let mut wanted = self.wanted.lock();
            for topic in &topics {
                *wanted.held.entry(topic.clone()).or_default() += 1;
            }
        }
        if missing {
            self.request(true);
        }
        HeldTopics { refresher: self.clone(), topics }
    }

    pub(in crate::cluster) fn set_topics(&self, topics: Topics) {
        let known = match &topics {
            Topics::All => false,
            Topics::Some(names) => {
                let view = self.view();
                names.iter().all(|name| view.topic(name).is_some())
            }
        };
        {
            let mut wanted = self.wanted.lock();
            if wanted.topics == topics {
                return;
            }
            wanted.topics = topics;
        }
        if known {
            self.drop_unfollowed();
        } else {
            self.request(true);
        }
    }

    pub(super) fn drop_unfollowed(&self) {
        let Topics::Some(names) = self.wanted.lock().all() else { return };
        self.view.send_if_modified(|view| {
            let extra = view.topics().any(|topic| !names.contains(&topic.name))
                || view.topic_errors().any(|(topic, _)| !names.contains(topic));
            if extra {
                *view = Arc::new(view.retain_topics(|name| names.contains(name)));
            }
            extra
        });
    }
}
