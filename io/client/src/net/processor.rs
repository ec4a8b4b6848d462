//! Keeps a client's thread on the processor where the application works, as long as that pays; why and when
//! is [`Placement`]'s, see `docs/decisions/0032`.

use std::sync::atomic::{AtomicUsize, Ordering};

use kohort_client_core::placement::{Change, Placement};

/// Where the application was seen last. The application's side writes it, the client's thread takes it.
#[derive(Debug)]
pub(crate) struct Whereabouts(AtomicUsize);

const UNSEEN: usize = usize::MAX;

impl Default for Whereabouts {
    fn default() -> Self {
        Self(AtomicUsize::new(UNSEEN))
    }
}

impl Whereabouts {
    /// Notes the processor the caller runs on.
    pub(crate) fn note(&self) {
        if let Some(here) = system::here() {
            self.0.store(here, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Option<usize> {
        let seen = self.0.swap(UNSEEN, Ordering::Relaxed);
        (seen != UNSEEN).then_some(seen)
    }
}

/// Binds the thread that looks as [`Placement`] decides.
#[derive(Debug)]
pub(crate) struct Follower {
    /// The processors its maker has to choose from, and so threads of its maker; `None` if there is no choice.
    allowed: Option<system::Processors>,
    placement: Placement,
    bytes: u64,
}

impl Follower {
    /// Follows if it is `wanted`, and there is a choice.
    pub(crate) fn new(wanted: bool) -> Self {
        let allowed = if wanted { system::allowed() } else { None };
        Self { allowed, placement: Placement::default(), bytes: 0 }
    }

    /// Counts what passes between the thread and the application.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Looks where the application is. To be called on the thread that follows, whenever it has work.
    pub(crate) fn look(&mut self, whereabouts: &Whereabouts, now_ms: i64) {
        let Some(allowed) = &self.allowed else { return };
        let obeyed = match self.placement.look(now_ms, whereabouts.take(), self.bytes) {
            Some(Change::Near(processor)) => allowed.bind(Some(processor)),
            Some(Change::Apart) => allowed.bind(None),
            None => true,
        };
        if !obeyed {
            // What the system does not let us do once it will not let us do later.
            self.allowed = None;
        }
    }
}

/// Runs what is the application's on a thread of ours: unbound, since threads that it starts, of which some
/// last as long as the process, go where the thread that starts them may go.
pub(crate) fn unbound<T>(run: impl FnOnce() -> T) -> T {
    let _free = system::Free::begin();
    run()
}

#[cfg(target_os = "linux")]
mod system {
    use std::cell::Cell;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// Where a thread that is bound is bound to, and where it may go otherwise.
    type Binding = (CpuSet, CpuSet);

    thread_local! {
        static BOUND: Cell<Option<Binding>> = const { Cell::new(None) };
    }

    /// The caller is unbound while this lives.
    pub(super) struct Free(Option<Binding>);

    impl Free {
        pub(super) fn begin() -> Self {
            let binding = BOUND.take();
            if let Some((_, allowed)) = &binding {
                let _ = sched_setaffinity(None, allowed);
            }
            Self(binding)
        }
    }

    impl Drop for Free {
        fn drop(&mut self) {
            if let Some((bound, _)) = &self.0 {
                let _ = sched_setaffinity(None, bound);
                BOUND.set(self.0);
            }
        }
    }

    /// A set of processors.
    #[derive(Debug)]
    pub(super) struct Processors(CpuSet);

    /// Returns the processor the caller runs on.
    #[expect(clippy::unnecessary_wraps, reason = "other systems do not tell")]
    pub(super) fn here() -> Option<usize> {
        Some(sched_getcpu())
    }

    /// Returns those the caller may run on, if it has a choice.
    pub(super) fn allowed() -> Option<Processors> {
        let allowed = sched_getaffinity(None).ok()?;
        (allowed.count() > 1).then_some(Processors(allowed))
    }

    impl Processors {
        /// Binds the caller to one of them, or to none in particular; false if the system refused.
        pub(super) fn bind(&self, to: Option<usize>) -> bool {
            let mut set = self.0;
            if let Some(processor) = to {
                if processor >= CpuSet::MAX_CPU || !set.is_set(processor) {
                    return true;
                }
                set.clear();
                set.set(processor);
            }
            let obeyed = sched_setaffinity(None, &set).is_ok();
            BOUND.set((obeyed && to.is_some()).then_some((set, self.0)));
            obeyed
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// A set of processors.
    #[derive(Debug)]
    pub(super) enum Processors {}

    /// Nobody is bound.
    pub(super) struct Free;

    impl Free {
        pub(super) fn begin() -> Self {
            Self
        }
    }

    pub(super) fn here() -> Option<usize> {
        None
    }

    pub(super) fn allowed() -> Option<Processors> {
        None
    }

    impl Processors {
        pub(super) fn bind(&self, _: Option<usize>) -> bool {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity};

    use super::*;

    #[test]
    fn the_thread_is_bound_to_where_the_application_is_and_freed_when_that_is_gone() {
        let choice = sched_getaffinity(None).unwrap();
        let mut follower = Follower::new(true);
        let whereabouts = Whereabouts::default();
        let at = (0..CpuSet::MAX_CPU).find(|at| choice.is_set(*at)).unwrap();
        for now in [1, 2] {
            whereabouts.0.store(at, Ordering::Relaxed);
            follower.look(&whereabouts, now);
        }
        let bound = sched_getaffinity(None).unwrap();
        assert!(bound.is_set(at));
        assert_eq!(bound.count(), 1, "it is the only one");
        let of_others = || std::thread::spawn(|| sched_getaffinity(None).unwrap()).join().unwrap();
        assert_eq!(unbound(of_others), choice);
        assert_eq!(sched_getaffinity(None).unwrap(), bound);
        follower.look(&whereabouts, 1_000);
        assert_eq!(sched_getaffinity(None).unwrap(), choice);
    }

    #[test]
    fn a_processor_that_is_forbidden_leaves_the_thread_as_it_is() {
        let choice = sched_getaffinity(None).unwrap();
        let mut follower = Follower::new(true);
        let whereabouts = Whereabouts::default();
        for now in [1, 2] {
            whereabouts.0.store(usize::MAX - 1, Ordering::Relaxed);
            follower.look(&whereabouts, now);
        }
        assert_eq!(sched_getaffinity(None).unwrap(), choice);
    }

    #[test]
    fn what_is_noted_is_where_the_caller_runs() {
        let whereabouts = Whereabouts::default();
        assert_eq!(whereabouts.take(), None);
        whereabouts.note();
        let here = whereabouts.take().unwrap();
        assert!(sched_getaffinity(None).unwrap().is_set(here));
        assert_eq!(whereabouts.take(), None, "it was taken");
    }
}
