//! A folder that is used until it is closed, its process dies or the power goes, and opened again.

use std::sync::Arc;

use kohort_storage::{LogDir, SimulatedDisk};

/// A folder in use, and the model that it is held against. Whatever happens is drawn.
pub trait Accidents {
    /// The partitions that are used.
    type Logs;
    /// With as many steps it is enough.
    const STEPS: u64;
    /// There are at most so many between two openings,
    const STEPS_OPEN: u64;
    /// and fewer than so many operations of a disk before it stops, where it does.
    const OPERATIONS: u64;

    fn draw(&mut self, below: u64) -> u64;
    fn disk(&self) -> &SimulatedDisk;
    /// Opens the folder, with more accidents meanwhile.
    fn open(&mut self) -> (Arc<LogDir>, Self::Logs);
    /// Holds what was opened against the model.
    fn check_restarted(&mut self, dir: &LogDir, logs: &Self::Logs);
    fn step(&mut self, dir: &LogDir, logs: &mut Self::Logs);
    /// Notes what was acknowledged.
    fn collect_acks(&mut self);
    fn power_cut(&mut self);
}

/// Runs through the accidents; returns the folder as it was opened last, and found to be right.
pub fn survive<R: Accidents>(run: &mut R) -> Arc<LogDir> {
    let mut steps = 0;
    loop {
        let (dir, mut logs) = run.open();
        run.check_restarted(&dir, &logs);
        if steps >= R::STEPS {
            return dir;
        }
        if run.draw(2) == 0 {
            let operations = run.draw(R::OPERATIONS);
            run.disk().stop_after(operations);
        }
        let until = steps + 1 + run.draw(R::STEPS_OPEN);
        while steps < until && !run.disk().has_stopped() {
            run.step(&dir, &mut logs);
            steps += 1;
        }
        run.collect_acks();
        let how = run.draw(6);
        if run.disk().has_stopped() || how > 1 {
            run.power_cut();
        } else if how == 1 && dir.shutdown().is_ok() {
            run.collect_acks();
        }
        drop((dir, logs));
        run.disk().kill_process();
    }
}
