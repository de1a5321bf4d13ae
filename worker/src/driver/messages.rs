//! Handling of the coordinator's messages.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use common::digest::Digest;
use common::id::{AssignmentId, Block, RunId, StepId};
use common::plan::BlockPlan;
use common::state::{NetworkState, Segment};
use common::wire::message::{FromWorker, ToWorker};

use super::compute::RunningBlock;
use super::connection::Pull;
use super::examples::Wanted;
use super::held::HeldAssignment;
use super::memory::ShardMemory;
use super::run::{CurrentOrder, OpenRun, Opening};
use super::{Engine, Opened};
use crate::session::Event;

impl Engine {
    /// Handles a message. The error says why the message is invalid.
    pub(super) fn on_message(&mut self, message: ToWorker) -> Result<(), String> {
        match message {
            ToWorker::Heartbeat => {}
            ToWorker::OpenRun {
                run,
                identity,
                spec,
                model_version,
                train,
                test,
                layout,
                initial,
            } => self.on_open_run(Opening {
                run,
                identity,
                spec,
                model_version,
                train,
                test,
                layout,
                initial,
            }),
            ToWorker::CloseRun { run } => self.close_run(run),
            ToWorker::StateSegment { step, segment, payload } => {
                let Some(opened) = self.runs.get(&step.run) else {
                    return Err(format!("a state of {step}, which is not open"));
                };
                let write = |state: &mut NetworkState, place: &Segment| {
                    let written = state.write_segment(segment as usize, place, &payload);
                    written.map_err(|error| error.to_string())
                };
                if let Ok(run) = &opened.run
                    && self.bases.segment(run, step, segment, write)?
                {
                    self.tell(Event::StateReady { step });
                }
            }
            ToWorker::OffersMemory { socket, token } => self.on_offer(socket, token),
            ToWorker::StateInMemory { step, segment, slot, hash } => {
                self.on_state_in_memory(step, segment, (slot, hash))?;
            }
            ToWorker::SlotsRead { slots } => self.on_slots_read(&slots)?,
            ToWorker::SameState { step, as_of } => {
                if self.runs.get(&step.run).is_some_and(|opened| opened.run.is_ok()) {
                    self.bases.same(step, as_of)?;
                    self.tell(Event::StateReady { step });
                }
            }
            ToWorker::Assign { assignment, step, block, plan, confirm } => {
                self.on_assign(assignment, (step, block), &plan, confirm)?;
            }
            ToWorker::Revoke { assignment } => self.tell(Event::Revoked { assignment }),
            ToWorker::Chunk { run, split, chunk, payload } => {
                self.on_chunk((run, split, chunk), payload);
            }
            ToWorker::Pull { step, block, first, count } => {
                self.on_pull(step, block, first, count);
            }
            ToWorker::StepDone { step } => self.tell(Event::StepDone { step }),
            ToWorker::Goodbye { reason } => {
                self.lost(&format!("the coordinator closed the connection: {reason}"));
            }
        }
        Ok(())
    }

    fn on_open_run(&mut self, opening: Opening) {
        let id = opening.run;
        let is_same = |opened: &Opened| opened.run.is_ok() && opened.opening == opening;
        let known = self.runs.get(&id).is_some_and(is_same);
        if !known {
            if self.runs.contains_key(&id) {
                // Another coordinator has replaced this one, and starts its numbers again.
                self.close_run(id);
            }
            let run =
                OpenRun::new(&opening).and_then(|run| self.compute.start().map(|()| Arc::new(run)));
            if let Ok(run) = &run {
                self.compute.build(self.registry.clone(), id, run.clone());
            }
            let (order, parallel, awaited) = (CurrentOrder::default(), None, false);
            self.runs.insert(id, Opened { opening, run, parallel, awaited, order });
        }
        if let Some(opened) = self.runs.get_mut(&id) {
            opened.awaited = true;
        }
        self.say_opened(id);
        self.want_missing_chunks(id);
    }

    /// Handles the model of a run, which is made or could not be.
    pub(super) fn on_built(&mut self, id: RunId, run: &OpenRun, outcome: Result<u64, String>) {
        let limit = self.config.memory_limit.saturating_sub(self.shared_bytes());
        let Some(opened) = self.runs.get_mut(&id) else { return };
        if !opened.run.as_ref().is_ok_and(|open| std::ptr::eq(&**open, run)) {
            // The run was closed, and another run with its number is open.
            return;
        }
        match outcome {
            Ok(replica_bytes) => {
                let memory = ShardMemory { state: run.layout.bytes(), replica: replica_bytes };
                let cache = self.config.cache_limit;
                opened.parallel = Some(memory.parallel_shards(limit, cache, self.config.slots));
                if let Some(needed) = memory.beyond(limit) {
                    tracing::warn!(
                        "one shard of run {id} needs about {} MiB of memory, more than the {} MiB \
                         that this worker may use: raise --memory-limit, or run it on a host with \
                         more memory",
                        needed >> 20,
                        limit >> 20,
                    );
                }
            }
            Err(reason) => {
                opened.run = Err(reason);
                for assignment in self.assignments_of(id, |_| true) {
                    self.tell(Event::Revoked { assignment });
                    self.forget_assignment(assignment);
                }
            }
        }
        self.say_opened(id);
    }

    /// Once the model is made, tells the session that a run is open, or tells the coordinator that
    /// this worker cannot work on it, provided that this connection has opened the run.
    fn say_opened(&mut self, id: RunId) {
        let Some(opened) = self.runs.get_mut(&id).filter(|opened| opened.awaited) else { return };
        match (&opened.run, opened.parallel) {
            (Ok(_), None) => {}
            (Ok(_), Some(parallel)) => {
                opened.awaited = false;
                let s = if parallel == 1 { "" } else { "s" };
                tracing::info!("run {id} is open, {parallel} shard{s} at once");
                self.tell(Event::RunOpened { run: id, parallel });
            }
            (Err(reason), _) => {
                opened.awaited = false;
                tracing::warn!("this worker cannot work on run {id}: {reason}");
                let reason = reason.clone();
                self.send(FromWorker::Cannot { run: id, reason });
            }
        }
    }

    /// Requests again what the assignments of a run still lack: the connection that should have
    /// delivered it is gone.
    fn want_missing_chunks(&mut self, run: RunId) {
        for assignment in self.assignments.values() {
            let work = &assignment.work;
            if work.step.run == run
                && let Some(fetching) = &assignment.fetching
            {
                for place in &fetching.missing {
                    self.requests.want((run, work.plan_step.split(), *place as u32));
                }
            }
        }
        self.request_chunks();
    }

    fn close_run(&mut self, run: RunId) {
        // Closed immediately, before the session is told: a run of the same number may follow at
        // once.
        self.drop_work_of(run);
        self.runs.remove(&run);
    }

    /// Drops the work and the kept partials of a run.
    fn drop_work_of(&mut self, run: RunId) {
        self.tell(Event::RunClosed { run });
        self.kept.retain(|(step, _), _| step.run != run);
        for assignment in self.assignments_of(run, |_| true) {
            self.forget_assignment(assignment);
        }
        self.bases.forget(run);
        self.requests.forget(run);
        self.request_chunks();
    }

    fn on_assign(
        &mut self,
        assignment: AssignmentId,
        (step, block): (StepId, Block),
        told: &BlockPlan,
        confirm: bool,
    ) -> Result<(), String> {
        let Some(opened) = self.runs.get(&step.run) else {
            return Err(format!("{assignment} is of {step}, which is not open"));
        };
        // The coordinator was told when the run was opened, and has revoked the assignment.
        let Ok(run) = opened.run.clone() else { return Ok(()) };
        let Some(plan_step) = run.plan.step(step.index) else {
            return Err(format!(
                "{assignment} is of {step}: expected a step below {}",
                run.plan.steps()
            ));
        };
        let replicas = plan_step.replicas;
        let root = plan_step.root();
        if block.level > root.level || !root.contains(block) || block.replicas(replicas).is_empty()
        {
            return Err(format!("{assignment} is of block {block:?}, of {replicas} shards"));
        }
        if let Some(difference) = told.difference(&run.plan.block(&plan_step, block)) {
            self.disagree(step, block, &difference);
            return Ok(());
        }
        // The session handles a number that is in use; the shards that run under it keep their
        // data.
        if let Entry::Vacant(vacant) = self.assignments.entry(assignment) {
            let work = Arc::new(RunningBlock::new(assignment, step, plan_step, block, run));
            self.work.insert(work.clone());
            vacant.insert(HeldAssignment { work, fetching: None });
        }
        self.tell(Event::Assigned { assignment, step, block, replicas, confirm });
        Ok(())
    }

    /// Handles a plan of the coordinator that differs from this build's plan: neither can be
    /// trusted, so the run cannot be worked on here.
    fn disagree(&mut self, step: StepId, block: Block, difference: &str) {
        self.drop_work_of(step.run);
        if let Some(opened) = self.runs.get_mut(&step.run) {
            opened.run = Err(format!(
                "the plans of the coordinator and of this worker differ for replicas {block} of \
                 {step}: {difference}: start a worker of the coordinator's build"
            ));
            opened.awaited = true;
        }
        self.say_opened(step.run);
    }

    /// Starts checking a chunk of examples.
    fn on_chunk(&mut self, chunk: Wanted, payload: Bytes) {
        if !self.requests.received(chunk) {
            let (run, _, place) = chunk;
            tracing::debug!("chunk {place} of run {run} was not requested");
            return;
        }
        match self.runs.get(&chunk.0) {
            Some(Opened { run: Ok(open), .. }) => self.compute.check_chunk(chunk, open, payload),
            _ => self.requests.checked(&chunk),
        }
    }

    /// Handles a checked chunk.
    pub(super) fn on_checked_chunk(
        &mut self,
        chunk: Wanted,
        digest: Digest,
        outcome: Result<Bytes, String>,
    ) {
        self.requests.checked(&chunk);
        let bytes = match outcome {
            Ok(bytes) => bytes,
            Err(wrong) => return self.makes_no_sense(&wrong),
        };
        self.cache.insert(digest, bytes.clone());
        let (run, split, place) = (chunk.0, chunk.1, chunk.2 as usize);
        let mut complete = Vec::new();
        for (id, assignment) in &mut self.assignments {
            let work = &assignment.work;
            let wants = work.step.run == run
                && work.plan_step.split() == split
                && work.run.manifest(split).chunks.get(place) == Some(&digest);
            if wants
                && let Some(fetching) = &mut assignment.fetching
                && fetching.missing.remove(&place)
            {
                if let Some(data) = &mut fetching.data {
                    data.copy_from(place, &bytes);
                }
                complete.push(*id);
            }
        }
        for id in complete {
            self.data_ready(id);
        }
        self.request_chunks();
    }

    fn on_pull(&mut self, step: StepId, block: Block, first: u32, count: u32) {
        let kept = self.kept.get(&(step, block)).filter(|kept| {
            let end = u64::from(first) + u64::from(count);
            end <= kept.run.merge_segments.len() as u64
        });
        let (Some(kept), Some(connection)) = (kept, &self.connection) else {
            self.send(FromWorker::PartialMissing { step, block });
            self.tell(Event::PartialLost { step, block });
            return;
        };
        let pull = Pull {
            step,
            block,
            partial: kept.partial.clone(),
            run: kept.run.clone(),
            segments: first..first + count,
        };
        if connection.send_segments(pull).is_err() {
            self.hang_up("the coordinator sent more pulls than the queue holds");
        }
    }
}
