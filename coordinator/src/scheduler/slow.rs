//! Duplicates slow blocks on idle workers. Every copy gives the same bits, so duplicates are safe:
//! the first result counts.

use std::time::{Duration, Instant};

use common::id::{Block, WorkerId};
use common::limits::BLOCK_COPIES;
use common::worker_event::WorkerEvent;

use super::completed_set::size;
use super::in_flight::{Assignment, How};
use super::reason::Detail;
use super::share::{Candidate, share};
use super::state::Scheduler;
use super::step::{Placement, Step};
use super::throughput::Throughputs;

/// No block counts as slow before this time: shorter delays come from the network.
const SLOW_FLOOR: Duration = Duration::from_millis(250);

/// A block is slow if it takes this many times as long as the other workers would need.
const SLOW_FACTOR: u64 = 3;

/// The time after which a block is slow, before the first measurement.
const SLOW_UNMEASURED: Duration = Duration::from_secs(30);

impl Scheduler {
    /// When the next block becomes slow, if an idle worker could take it.
    pub(super) fn slow_deadline(&self) -> Option<Instant> {
        let step = self.step()?;
        let idle = self.idle(step);
        if idle.is_empty() {
            return None;
        }
        let throughputs = self.throughputs();
        let single = step.in_flight.iter().filter(|(_, it)| self.may_copy(step, it, &idle));
        single.map(|(_, it)| it.since + self.patience(step, &throughputs, it)).min()
    }

    /// Hands copies of slow blocks to idle workers.
    pub(super) fn duplicate_slow(&mut self, now: Instant) {
        let Some(step) = self.step() else { return };
        let (mut idle, throughputs) = (self.idle(step), self.throughputs());
        let mut slow: Vec<(WorkerId, Block, u32, Instant)> = Vec::new();
        let mut parts = Vec::new();
        for (_, it) in step.in_flight.iter() {
            if self.may_copy(step, it, &idle)
                && it.since + self.patience(step, &throughputs, it) <= now
            {
                step.undone(it.block, &mut parts);
                slow.push((it.worker, it.block, it.queued, it.since));
            }
        }
        let (plain, troubled): (Vec<Block>, Vec<Block>) =
            parts.into_iter().partition(|block| step.placement(*block) == Placement::Any);
        let mut shared = Vec::new();
        for block in troubled {
            let fits = |it: &&mut Candidate| it.room > 0 && !step.has_failed_on(block, it.worker);
            let others = idle.iter_mut().filter(fits);
            if let Some(candidate) = others.min_by_key(|candidate| candidate.done_at()) {
                candidate.take(size(block, step.replicas));
                shared.push((candidate.worker, block));
            }
        }
        let (copies, _) = share(plain.into_iter(), step.replicas, &idle);
        shared.extend(copies);
        let are_some = !slow.is_empty();
        for (worker, block, queued, since) in slow {
            if let Some(member) = self.members.get_mut(&worker) {
                member.stalled = true;
                member.throughput.is_at_least(queued, member.slots, now.duration_since(since));
            }
            let (shards, after) = (self.shards_of(block), now.duration_since(since));
            let detail = Detail::Duplicated { shards, block, after };
            self.note(worker, WorkerEvent::Slow, detail);
        }
        for (worker, block) in shared {
            self.assign(now, worker, block, How::Shared);
        }
        // Blocks that were reserved for a slow worker may go to others now.
        if are_some {
            self.hand_out(now);
        }
    }

    /// Workers that may get work and have none.
    fn idle(&self, step: &Step) -> Vec<Candidate> {
        let mut idle = self.candidates(step);
        idle.retain(|candidate| candidate.load == 0);
        idle
    }

    /// Whether another worker may get a copy of an assignment. Blocks that may kill their worker
    /// are not duplicated, blocks that failed on a worker do not go to the same one again, and
    /// second copies are left to the audit.
    fn may_copy(&self, step: &Step, it: &Assignment, idle: &[Candidate]) -> bool {
        !step.completed.covers(it.block)
            && step.in_flight.overlapping(it.block).len() < BLOCK_COPIES
            && step.placement(it.block) != Placement::Isolated
            && idle.iter().any(|candidate| !step.has_failed_on(it.block, candidate.worker))
    }

    /// How long an assignment may take before it is slow.
    pub(super) fn patience(
        &self,
        step: &Step,
        throughputs: &Throughputs,
        it: &Assignment,
    ) -> Duration {
        let member = self.members.get(&it.worker);
        let expected = member.and_then(|member| {
            let waves = u64::from(it.queued.div_ceil(member.slots));
            Some(throughputs.expected(&member.throughput, step.id)?.saturating_mul(waves))
        });
        match expected {
            Some(nanos) => Duration::from_nanos(nanos.saturating_mul(SLOW_FACTOR)).max(SLOW_FLOOR),
            None => SLOW_UNMEASURED,
        }
    }
}
