//! The invariants of the scheduler, cheap enough to check after every event of a test.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, WorkerId};
use common::limits::BLOCK_COPIES;

use super::completed_set::{exists, size};
use super::share::Candidate;
use super::state::Scheduler;
use super::step::{Merge, Placement, Step};

/// Checks all invariants; the error names the violated one.
pub(super) fn check(scheduler: &Scheduler) -> Result<(), String> {
    queue(scheduler)?;
    let Some(step) = scheduler.step() else { return Ok(()) };
    cover(step)?;
    nothing_is_lost(step)?;
    copies(step)?;
    merge(step)?;
    hands(scheduler, step)?;
    nothing_waits_in_vain(scheduler, step)?;
    audits(scheduler, step)
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

/// Every run is either queued or active, and no queued run could start.
fn queue(scheduler: &Scheduler) -> Result<(), String> {
    let mut runs: Vec<_> = scheduler.queue.iter().map(|queued| queued.run).collect();
    runs.extend(scheduler.active.as_ref().map(|active| active.run));
    let count = runs.len();
    runs.sort_unstable();
    runs.dedup();
    ensure(runs.len() == count, || "a run is queued twice, or queued and active".into())?;
    ensure(scheduler.next_run().is_none(), || "a run waits though it could start".into())
}

/// The parts are a partition of the replicas done.
fn cover(step: &Step) -> Result<(), String> {
    let (mut end, mut covered) = (0, 0);
    for part in step.completed.parts() {
        ensure(exists(part.block, step.replicas), || {
            format!("{}: part {} is outside the step", step.id, part.block)
        })?;
        ensure(part.block.start() >= end, || {
            format!("{}: part {} overlaps the one before", step.id, part.block)
        })?;
        end = part.block.end();
        covered += part.block.replicas(step.replicas).len();
    }
    ensure(covered == step.completed.covered() as usize, || {
        format!("{}: the count of replicas done is wrong", step.id)
    })
}

/// Every replica is either done, assigned, or waiting, except that another worker may have done
/// parts of an assigned block.
fn nothing_is_lost(step: &Step) -> Result<(), String> {
    let done = step.completed.parts().map(|part| part.block);
    let held = step.in_flight.iter().map(|(_, it)| it.block);
    let waiting = step.waiting.values().copied();
    let mut blocks: Vec<Block> = done.chain(held).chain(waiting).collect();
    blocks.sort_unstable_by_key(|block| block.start());
    let mut end = 0;
    for block in blocks {
        ensure(block.start() <= end, || {
            format!("{}: replica {end} is neither done, assigned, nor waiting", step.id)
        })?;
        end = end.max(block.end());
    }
    ensure(end >= u64::from(step.replicas), || {
        format!("{}: replica {end} is neither done, assigned, nor waiting", step.id)
    })?;
    let mut end = 0;
    for block in step.waiting.values() {
        ensure(block.start() >= end, || format!("{}: {block} waits twice", step.id))?;
        end = block.end();
        ensure(step.completed.is_clear_of(*block), || {
            format!("{}: {block} waits though some of it is done", step.id)
        })?;
        ensure(!step.in_flight.touch(*block), || {
            format!("{}: {block} waits though it is assigned", step.id)
        })?;
    }
    Ok(())
}

/// No replica is assigned more often than allowed, or without need.
fn copies(step: &Step) -> Result<(), String> {
    let mut edges: Vec<(u64, i32)> = Vec::new();
    for (id, it) in step.in_flight.iter() {
        if !it.is_audit {
            edges.extend([(it.block.start(), 1), (it.block.end(), -1)]);
        }
        ensure(!step.is_needless(it), || {
            format!("{}: {id} goes on though {} is done", step.id, it.block)
        })?;
    }
    edges.sort_unstable();
    let mut copies = 0;
    for (replica, change) in edges {
        copies += change;
        ensure(copies <= BLOCK_COPIES as i32, || {
            format!("{}: replica {replica} is assigned {copies} times", step.id)
        })?;
    }
    Ok(())
}

/// A merge is running exactly when the step is complete, including its audits. Then there is no
/// other work.
fn merge(step: &Step) -> Result<(), String> {
    let is_under_way = step.merge == Merge::UnderWay;
    ensure(is_under_way == step.is_complete(), || {
        format!("{}: complete is {}, merging {is_under_way}", step.id, !is_under_way)
    })?;
    ensure(!is_under_way || (step.in_flight.is_empty() && step.waiting.is_empty()), || {
        format!("{}: work goes on during the merge", step.id)
    })
}

/// Only connected workers have blocks and partials.
fn hands(scheduler: &Scheduler, step: &Step) -> Result<(), String> {
    let holders = step.completed.parts().filter_map(|part| part.holder);
    for worker in step.in_flight.iter().map(|(_, it)| it.worker).chain(holders) {
        ensure(scheduler.members.contains_key(&worker), || {
            format!("{}: {worker} is gone but counted on", step.id)
        })?;
    }
    for (id, it) in step.in_flight.iter().filter(|(_, it)| it.alone) {
        let others = step.in_flight.iter().filter(|(_, other)| other.worker == it.worker).count();
        let is_single = size(it.block, step.replicas) == 1;
        ensure(others == 1 && is_single, || {
            format!("{}: {id}, {}, should be alone on {}", step.id, it.block, it.worker)
        })?;
    }
    let mut held: BTreeMap<WorkerId, usize> = BTreeMap::new();
    step.in_flight.iter().for_each(|(_, it)| *held.entry(it.worker).or_default() += 1);
    let most = scheduler.config.assignments.max(1);
    for (worker, held) in held {
        ensure(held <= most, || format!("{}: {worker} has {held} blocks", step.id))?;
    }
    let is_deadly = step.deadly(scheduler.config.crash_limit).next().is_some();
    ensure(!is_deadly || scheduler.crashes_deadline().is_some(), || {
        format!("{}: a replica is over the crash limit, and the run does not fail", step.id)
    })
}

/// Nothing waits while a worker could take it.
fn nothing_waits_in_vain(scheduler: &Scheduler, step: &Step) -> Result<(), String> {
    if scheduler.is_gathering() || scheduler.is_short() {
        return Ok(());
    }
    let (candidates, limit) = (scheduler.candidates(step), scheduler.config.crash_limit);
    for block in step.waiting.values().filter(|block| !step.is_deadly(**block, limit)) {
        let may_wait = match step.placement(*block) {
            Placement::Any => candidates.iter().all(|it| it.room == 0),
            Placement::AvoidFailed => {
                let has_failed = |it: &Candidate| step.has_failed_on(*block, it.worker);
                let everywhere = candidates.iter().all(has_failed);
                candidates.iter().all(|it| it.room == 0 || (has_failed(it) && !everywhere))
            }
            Placement::Isolated => !step.in_flight.is_empty() || candidates.is_empty(),
        };
        ensure(may_wait, || {
            let placement = step.placement(*block);
            format!(
                "{}: {block}, {placement:?}, waits though a worker is free: {candidates:?}",
                step.id
            )
        })?;
    }
    Ok(())
}

/// An audited shard has at most one assigned second copy, and no second copy waits while another
/// process could take it.
fn audits(scheduler: &Scheduler, step: &Step) -> Result<(), String> {
    let mut copies = BTreeSet::new();
    for (id, it) in step.in_flight.iter().filter(|(_, it)| it.is_audit) {
        ensure(copies.insert(it.block), || {
            format!("{}: {id} is one more copy of {}, audited", step.id, it.block)
        })?;
        ensure(!step.audit.is_due(it.block), || {
            format!("{}: the audit of {} waits though it is assigned", step.id, it.block)
        })?;
    }
    let is_held = scheduler.is_gathering() || scheduler.is_short();
    ensure(is_held || !scheduler.may_hand_out_audits(step), || {
        format!("{}: an audit waits though a worker is free, or none will come", step.id)
    })
}
