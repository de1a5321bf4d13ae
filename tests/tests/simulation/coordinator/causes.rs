//! The judge's own books: what a run may fail of. Kept from what the
//! coordinator saw, without a look into its scheduler.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use coordinator::scheduler::{RunFailure, SchedulerConfig};

/// A run may fail when so many times the crash limit processes were lost in
/// one step.
const DEATHS: usize = 10;

/// A shard.
type Shard = (StepId, u32);

/// A block in a worker's hands.
#[derive(Debug)]
struct Held {
    step: StepId,
    block: Block,
    /// Whether its worker is to say that it begins.
    confirm: bool,
    /// Whether it has said so.
    is_started: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Causes {
    hands: BTreeMap<(WorkerId, AssignmentId), Held>,
    /// Blocks that processes had said they begin, as they were to, before they were
    /// lost without goodbye.
    lost: BTreeMap<StepId, Vec<(ProcessId, Block)>>,
    /// Processes that had any block of a step in hands as they were lost so.
    deaths: BTreeMap<StepId, BTreeSet<ProcessId>>,
    /// Errors of each shard, and whether one was fatal.
    errors: BTreeMap<Shard, (u32, bool)>,
    /// Results of each step that came altered.
    altered: BTreeMap<StepId, u32>,
}

impl Causes {
    /// A block is handed out. Says how many its worker has by now.
    pub(super) fn handed_out(
        &mut self,
        (worker, assignment): (WorkerId, AssignmentId),
        (step, block): (StepId, Block),
        confirm: bool,
    ) -> usize {
        let held = Held { step, block, confirm, is_started: false };
        self.hands.insert((worker, assignment), held);
        let (first, last) = (AssignmentId(0), AssignmentId(u64::MAX));
        self.hands.range((worker, first)..=(worker, last)).count()
    }

    /// A worker says that it begins an assignment.
    pub(super) fn started(&mut self, worker: WorkerId, assignment: AssignmentId) {
        if let Some(held) = self.hands.get_mut(&(worker, assignment)) {
            held.is_started = true;
        }
    }

    /// An assignment is in nobody's hands any more.
    pub(super) fn ended(&mut self, worker: WorkerId, assignment: AssignmentId) {
        self.hands.remove(&(worker, assignment));
    }

    /// Whether some of a block is in anybody's hands.
    pub(super) fn is_in_hands(&self, step: StepId, block: Block) -> bool {
        let overlaps = |it: &Held| it.block.contains(block) || block.contains(it.block);
        self.hands.values().any(|it| it.step == step && overlaps(it))
    }

    /// A worker cannot work on a run: nothing of it is in its hands any more.
    pub(super) fn cannot(&mut self, worker: WorkerId, run: RunId) {
        self.hands.retain(|(of, _), it| (*of, it.step.run) != (worker, run));
    }

    /// A worker has finished a block.
    pub(super) fn done(&mut self, worker: WorkerId, step: StepId, block: Block) {
        let is_it = |of: WorkerId, it: &Held| (of, it.step, it.block) == (worker, step, block);
        self.hands.retain(|(of, _), it| !is_it(*of, it));
    }

    pub(super) fn failed(&mut self, shard: Shard, fatal: bool) {
        let (errors, is_fatal) = self.errors.entry(shard).or_default();
        *errors += 1;
        *is_fatal |= fatal;
    }

    pub(super) fn altered(&mut self, worker: WorkerId, step: StepId, block: Block) {
        self.done(worker, step, block);
        *self.altered.entry(step).or_default() += 1;
    }

    /// A worker went without goodbye. Only what it had said it begins may have to
    /// do with it; where its process is back on another connection, nothing.
    pub(super) fn gone(&mut self, worker: WorkerId, process: ProcessId, is_back: bool) {
        let mut had = Vec::new();
        self.hands.retain(|(of, _), it| {
            if *of == worker {
                had.push((it.step, it.block, it.confirm && it.is_started));
            }
            *of != worker
        });
        for (step, block, is_confirmed) in had {
            if !is_back {
                self.deaths.entry(step).or_default().insert(process);
            }
            if !is_back && is_confirmed {
                self.lost.entry(step).or_default().push((process, block));
            }
        }
    }

    /// A process that was taken for dead is back.
    pub(super) fn returned(&mut self, process: ProcessId) {
        for lost in self.lost.values_mut() {
            lost.retain(|(of, _)| *of != process);
        }
        for deaths in self.deaths.values_mut() {
            deaths.remove(&process);
        }
    }

    /// Whether a run may fail in this step for this reason.
    pub(super) fn excuse(
        &self,
        config: &SchedulerConfig,
        current: StepId,
        reason: &RunFailure,
    ) -> bool {
        let crash_limit = config.crash_limit.max(1) as usize;
        match reason {
            // The queue has room for all runs.
            RunFailure::QueueFull { .. } => false,
            RunFailure::ShardFailed { step, replica, .. } => {
                let (errors, is_fatal) =
                    self.errors.get(&(*step, *replica)).copied().unwrap_or_default();
                *step == current && (is_fatal || errors >= config.shard_error_limit)
            }
            RunFailure::Altered { .. } => {
                let altered = self.altered.get(&current).copied().unwrap_or(0);
                altered >= config.shard_error_limit
            }
            RunFailure::Crashes { step, replicas, .. } => {
                let deaths = |replica: &u32| self.deaths_with((*step, *replica)) >= crash_limit;
                *step == current && !replicas.is_empty() && replicas.iter().all(deaths)
            }
            RunFailure::Losses { step, .. } => {
                let deaths = self.deaths.get(step).map_or(0, BTreeSet::len);
                *step == current && deaths >= DEATHS * crash_limit
            }
        }
    }

    /// Processes that were lost after they had said they begin a block with this shard.
    fn deaths_with(&self, (step, replica): Shard) -> usize {
        let lost = self.lost.get(&step).into_iter().flatten();
        let with_it = lost.filter(|(_, block)| block.contains(Block::of_replica(replica)));
        with_it.map(|(process, _)| *process).collect::<BTreeSet<ProcessId>>().len()
    }
}
