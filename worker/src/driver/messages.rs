//! What the engine does with each message of its coordinator.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use common::id::{AssignmentId, Block, RunId, StepId};
use common::spec::Split;
use common::wire::message::{FromWorker, ToWorker};

use super::assignments::Assignment;
use super::compute::Work;
use super::connection::Pull;
use super::memory::parallel_shards;
use super::run::{CurrentOrder, OpenRun, Opening};
use super::{Engine, Opened};
use crate::session::Event;

impl Engine {
    /// Takes in a message. The error says why it makes no sense.
    pub(super) fn on_message(&mut self, message: ToWorker) -> Result<(), String> {
        match message {
            ToWorker::Heartbeat => {}
            ToWorker::OpenRun { run, identity, spec, train, test, layout, initial } => {
                self.on_open_run(Opening { run, identity, spec, train, test, layout, initial });
            }
            ToWorker::CloseRun { run } => self.close_run(run),
            ToWorker::StateSegment { step, segment, payload } => {
                let Some(opened) = self.runs.get(&step.run) else {
                    return Err(format!("a state of {step}, which is not open"));
                };
                if let Ok(run) = &opened.run
                    && self.bases.segment(run, step, segment, &payload)?
                {
                    self.tell(Event::StateReady { step });
                }
            }
            ToWorker::SameState { step, as_of } => {
                if self.runs.get(&step.run).is_some_and(|opened| opened.run.is_ok()) {
                    self.bases.same(step, as_of)?;
                    self.tell(Event::StateReady { step });
                }
            }
            ToWorker::Assign { assignment, step, block } => {
                self.on_assign(assignment, step, block)?;
            }
            ToWorker::Revoke { assignment } => self.tell(Event::Revoked { assignment }),
            ToWorker::Chunk { run, split, chunk, payload } => {
                self.on_chunk(run, split, chunk, &payload)?;
            }
            ToWorker::Pull { step, block, first, count } => {
                self.on_pull(step, block, first, count);
            }
            ToWorker::StepDone { step } => self.tell(Event::StepDone { step }),
            ToWorker::Goodbye => self.lost("the coordinator is going away"),
        }
        Ok(())
    }

    fn on_open_run(&mut self, opening: Opening) {
        let id = opening.run;
        let known = self.runs.get(&id).is_some_and(|opened| opened.opening == opening);
        if !known {
            if self.runs.contains_key(&id) {
                // Another coordinator has taken this one's place and counts anew.
                self.close_run(id);
            }
            let run = OpenRun::new(&self.registry, &opening)
                .and_then(|run| self.compute.start().map(|()| Arc::new(run)));
            if let Err(error) = &run {
                tracing::warn!("run {id} cannot be worked on here: {error}");
            }
            self.runs.insert(id, Opened { opening, run, order: CurrentOrder::default() });
        }
        if let Some(Opened { run: Ok(run), .. }) = self.runs.get(&id) {
            let parallel = parallel_shards(
                self.config.memory_limit,
                self.config.cache_limit,
                run.layout.bytes(),
                run.replica_bytes,
                self.config.slots,
            );
            tracing::info!("run {id} is open, {parallel} shards at once");
            self.tell(Event::RunOpened { run: id, parallel });
        }
        self.want_missing_chunks(id);
    }

    /// Asks anew for what the assignments of a run still lack: the connection
    /// that should have brought it is gone.
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
        self.tell(Event::RunClosed { run });
        // Here and now, not when the session says so: a run of the same number
        // may follow at once.
        self.runs.remove(&run);
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
        step: StepId,
        block: Block,
    ) -> Result<(), String> {
        let Some(opened) = self.runs.get(&step.run) else {
            return Err(format!("{assignment} is of {step}, which is not open"));
        };
        let run = match &opened.run {
            Ok(run) => run.clone(),
            Err(error) => {
                let (replica, error) = (block.index, error.clone());
                let fatal = true;
                self.send(FromWorker::ShardFailed { assignment, step, replica, fatal, error });
                return Ok(());
            }
        };
        let Some(plan_step) = run.plan.step(step.index) else {
            return Err(format!("{assignment} is of {step}: the run has {}", run.plan.steps()));
        };
        let replicas = plan_step.replicas;
        let root = plan_step.root();
        if block.level > root.level || !root.contains(block) || block.replicas(replicas).is_empty()
        {
            return Err(format!("{assignment} is of block {block:?}, of {replicas} shards"));
        }
        // A number that is taken is the session's to sort out; the shards that
        // run under it keep what they have.
        if let Entry::Vacant(vacant) = self.assignments.entry(assignment) {
            let work = Arc::new(Work::new(assignment, step, plan_step, block, run));
            self.work.insert(work.clone());
            vacant.insert(Assignment { work, fetching: None });
        }
        self.tell(Event::Assigned { assignment, step, block, replicas });
        Ok(())
    }

    fn on_chunk(
        &mut self,
        run: RunId,
        split: Split,
        chunk: u32,
        payload: &Bytes,
    ) -> Result<(), String> {
        if !self.requests.received(&(run, split, chunk)) {
            tracing::debug!("chunk {chunk} of run {run} came without being asked for");
            return Ok(());
        }
        let Some(Opened { run: Ok(open), .. }) = self.runs.get(&run) else { return Ok(()) };
        let manifest = open.manifest(split).clone();
        let place = chunk as usize;
        manifest.check_chunk(place, payload).map_err(|error| error.to_string())?;
        // A copy of its own: the frame's memory may be larger than the chunk,
        // and the cache counts what it keeps.
        self.cache.insert(manifest.chunks[place], Bytes::copy_from_slice(payload));
        let mut complete = Vec::new();
        for (id, assignment) in &mut self.assignments {
            let wants =
                assignment.work.step.run == run && assignment.work.plan_step.split() == split;
            if wants
                && let Some(fetching) = &mut assignment.fetching
                && fetching.missing.remove(&place)
            {
                if let Some(data) = &mut fetching.data {
                    data.copy_from(place, payload);
                }
                complete.push(*id);
            }
        }
        for id in complete {
            self.data_ready(id);
        }
        self.request_chunks();
        Ok(())
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
            self.lost("more pulls than can wait");
        }
    }
}
