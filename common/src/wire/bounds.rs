//! The payload and the limits of every kind of message.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::dataset::SplitManifest;
use crate::id::Block;
use crate::limits::{
    BLOCK_REPLICAS, CONNECTIONS, DATASET_CHUNKS, EXAMPLES, HISTORY_BYTES, INLINE_PARTIAL_BYTES,
    MERGE_SEGMENTS, NAME_BYTES, PARTIAL_RESULT_COUNTS, PAYLOAD_BYTES, RESULT_COUNTS, RESULT_NAMES,
    RUNS, SCHEMA_BYTES, SLOTS, SPEC_BYTES, STATUS_REASON_BYTES, STATUS_UNFIT, STATUS_WORKERS,
    STEP_SCORES, TEXT_BYTES,
};
use crate::plan::BlockPlan;
use crate::results::Results;
use crate::run_settings::RunSettings;
use crate::state::Layout;
use crate::text::beginning;
use crate::wire::codec::{FrameError, Message};
use crate::wire::event::{RunEvent, Status};
use crate::wire::message::{
    BlockDone, FromClient, FromWorker, Hello, Progress, Role, ToClient, ToWorker, Welcome,
};
use crate::wire::shared_memory::{PARTIAL_SLOTS, SLOT_BYTES, STATE_SLOTS, UNREAD_STATE_SLOTS};

impl Message for Hello {
    const NAME: &'static str = "Hello";

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        check.text("magic", &self.magic, NAME_BYTES)?;
        check.text("build", &self.build, NAME_BYTES)?;
        check.text("numeric_profile", &self.numeric_profile, NAME_BYTES)?;
        match &self.role {
            Role::Worker { name, .. } => check.text("role.name", name, NAME_BYTES),
            Role::Client => Ok(()),
        }
    }
}

impl Message for Welcome {
    const NAME: &'static str = "Welcome";

    fn shorten(&mut self) {
        if let Self::Refused { reason, .. } = self {
            cut(reason);
        }
    }

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        match self {
            Self::Accepted { build, heartbeat_timeout_ms, .. } => {
                check.text("build", build, NAME_BYTES)?;
                check.that(*heartbeat_timeout_ms > 0, "heartbeat_timeout_ms", "above 0", 0)
            }
            Self::Refused { reason, .. } => check.text("reason", reason, TEXT_BYTES),
        }
    }
}

impl Message for FromWorker {
    const NAME: &'static str = "FromWorker";

    fn take_payload(&mut self) -> Option<Bytes> {
        match self {
            Self::BlockDone(BlockDone { payload, .. }) | Self::PartialSegment { payload, .. } => {
                Some(std::mem::take(payload))
            }
            _ => None,
        }
    }

    fn shorten(&mut self) {
        match self {
            Self::ShardFailed { error: text, .. }
            | Self::Cannot { reason: text, .. }
            | Self::HangsUp { reason: text } => cut(text),
            _ => {}
        }
    }

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        match self {
            Self::Heartbeat { progress, .. } => check.progress(progress),
            Self::NeedChunks { chunks, .. } => check.chunks(chunks),
            Self::BlockDone(done) => check.block_done(done),
            Self::ShardFailed { error, .. } => check.text("error", error, TEXT_BYTES),
            Self::Cannot { reason, .. } | Self::HangsUp { reason } => {
                check.text("reason", reason, TEXT_BYTES)
            }
            Self::PartialSegment { block, payload, .. } => {
                check.block(*block)?;
                check.payload(payload)
            }
            Self::PartialMissing { block, .. } => check.block(*block),
            Self::SegmentInMemory { block, slot, bytes, .. } => {
                check.block(*block)?;
                check.slot(*slot, PARTIAL_SLOTS)?;
                check.at_most("bytes", *bytes as usize, SLOT_BYTES, "bytes")
            }
            Self::SlotsRead { slots } => check.slots(slots, UNREAD_STATE_SLOTS, STATE_SLOTS),
            Self::SharesMemory
            | Self::Opened { .. }
            | Self::Started { .. }
            | Self::HandedBack { .. }
            | Self::Draining
            | Self::Goodbye => Ok(()),
        }
    }
}

impl Message for ToWorker {
    const NAME: &'static str = "ToWorker";

    fn take_payload(&mut self) -> Option<Bytes> {
        match self {
            Self::StateSegment { payload, .. } | Self::Chunk { payload, .. } => {
                Some(std::mem::take(payload))
            }
            _ => None,
        }
    }

    fn shorten(&mut self) {
        if let Self::Goodbye { reason } = self {
            cut(reason);
        }
    }

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        match self {
            Self::OpenRun { spec, train, test, layout, .. } => {
                check.text("spec", spec, SPEC_BYTES)?;
                check.manifests(train, test)?;
                check.layout("layout", layout)
            }
            Self::StateSegment { payload, .. } => check.payload(payload),
            Self::OffersMemory { socket, .. } => check.text("socket", socket, NAME_BYTES),
            Self::StateInMemory { slot, .. } => check.slot(*slot, STATE_SLOTS),
            Self::SlotsRead { slots } => check.slots(slots, PARTIAL_SLOTS as usize, PARTIAL_SLOTS),
            Self::Assign { block, plan, .. } => {
                check.block(*block)?;
                check.plan(plan)
            }
            Self::Chunk { chunk, payload, .. } => {
                check.chunks(&[*chunk])?;
                check.payload(payload)
            }
            Self::Pull { block, first, count, .. } => {
                check.block(*block)?;
                let fits = *count > 0 && first.checked_add(*count).is_some();
                check.that(fits, "count", "from 1, and first + count below 2^32", *count)
            }
            Self::Heartbeat
            | Self::CloseRun { .. }
            | Self::SameState { .. }
            | Self::Revoke { .. }
            | Self::StepDone { .. } => Ok(()),
            Self::Goodbye { reason } => check.text("reason", reason, TEXT_BYTES),
        }
    }
}

impl Message for FromClient {
    const NAME: &'static str = "FromClient";

    fn take_payload(&mut self) -> Option<Bytes> {
        match self {
            Self::Chunk { payload, .. } | Self::StateSegment { payload, .. } => {
                Some(std::mem::take(payload))
            }
            _ => None,
        }
    }

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        match self {
            Self::Submit { key: _, spec, schema, train, test, state, settings, replay } => {
                check.text("spec", spec, SPEC_BYTES)?;
                check.text("schema", schema, SCHEMA_BYTES)?;
                check.manifests(train, test)?;
                if let Some(state) = state {
                    check.layout("state", state)?;
                }
                check.settings(settings)?;
                let fits = replay
                    .is_none_or(|it| it.steps > 0 && it.first.checked_add(it.steps).is_some());
                check.that(
                    fits,
                    "replay",
                    "at least one step, and first + steps below 2^64",
                    "other",
                )
            }
            Self::Resume { settings, fork, .. } => {
                check.settings(settings)?;
                let bytes = |(key, value): &(String, String)| key.len() + value.len();
                let bytes = fork.iter().flatten().map(bytes).sum();
                check.at_most("fork", bytes, SPEC_BYTES, "bytes of text")
            }
            Self::Chunk { chunk, payload, .. } => {
                check.chunks(&[*chunk])?;
                check.payload(payload)
            }
            Self::StateSegment { payload, .. } => check.payload(payload),
            Self::Heartbeat
            | Self::Follow { .. }
            | Self::Fetch { .. }
            | Self::Cancel { .. }
            | Self::Status => Ok(()),
        }
    }
}

impl Message for ToClient {
    const NAME: &'static str = "ToClient";

    fn take_payload(&mut self) -> Option<Bytes> {
        match self {
            Self::StateSegment { payload, .. } | Self::History { payload, .. } => {
                Some(std::mem::take(payload))
            }
            _ => None,
        }
    }

    fn shorten(&mut self) {
        match self {
            Self::Rejected { reason: text, .. }
            | Self::Goodbye { reason: text }
            | Self::Event(RunEvent::Failed { reason: text, .. })
            | Self::Event(RunEvent::CheckpointFailed { error: text, .. })
            | Self::Event(RunEvent::Finished { unsaved: Some(text), .. })
            | Self::Event(RunEvent::Resumed { passed_over: Some(text), .. })
            | Self::Accepted { passed_over: Some(text), .. }
            | Self::Status(Status { unrecorded: Some(text), .. })
            | Self::Event(RunEvent::Worker { detail: text, .. }) => cut(text),
            _ => {}
        }
    }

    fn validate(&self) -> Result<(), FrameError> {
        let check = Check::of::<Self>();
        match self {
            Self::NeedChunks { chunks, .. } => check.chunks(chunks),
            Self::Rejected { reason, .. } | Self::Goodbye { reason } => {
                check.text("reason", reason, TEXT_BYTES)
            }
            Self::Event(event) => check.event(event),
            Self::State { spec, schema, layout, history_bytes, .. } => {
                check.text("spec", spec, SPEC_BYTES)?;
                check.text("schema", schema, SCHEMA_BYTES)?;
                let most = format_args!("at most {HISTORY_BYTES} bytes").to_string();
                let fits = *history_bytes <= HISTORY_BYTES as u64;
                check.that(fits, "history_bytes", most, *history_bytes)?;
                check.layout("layout", layout)
            }
            Self::StateSegment { payload, .. } | Self::History { payload, .. } => {
                check.payload(payload)
            }
            Self::Status(status) => check.status(status),
            Self::Accepted { passed_over, .. } => {
                check.text("passed_over", passed_over.as_deref().unwrap_or(""), TEXT_BYTES)
            }
            Self::Heartbeat | Self::Cancelled { .. } => Ok(()),
        }
    }
}

/// Cuts a text to [`TEXT_BYTES`], between two characters.
fn cut(text: &mut String) {
    text.truncate(beginning(text, TEXT_BYTES).len());
}

/// Checks of one kind of message: what they refuse is an error that names it.
#[derive(Clone, Copy)]
struct Check {
    message: &'static str,
}

impl Check {
    fn of<M: Message>() -> Self {
        Self { message: M::NAME }
    }

    fn that(
        self,
        holds: bool,
        field: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Result<(), FrameError> {
        if holds {
            return Ok(());
        }
        let (expected, found) = (expected.to_string(), found.to_string());
        Err(FrameError::Field { message: self.message, field, expected, found })
    }

    fn at_most(
        self,
        field: &'static str,
        found: usize,
        limit: usize,
        unit: &str,
    ) -> Result<(), FrameError> {
        let expected = || format!("at most {limit} {unit}");
        if found <= limit { Ok(()) } else { self.that(false, field, expected(), found) }
    }

    fn text(self, field: &'static str, text: &str, limit: usize) -> Result<(), FrameError> {
        self.at_most(field, text.len(), limit, "bytes of text")
    }

    fn payload(self, payload: &Bytes) -> Result<(), FrameError> {
        self.at_most("payload", payload.len(), PAYLOAD_BYTES, "bytes")
    }

    /// A block lies in the range of replica numbers, so that its arithmetic
    /// cannot overflow.
    fn block(self, block: Block) -> Result<(), FrameError> {
        let fits = block.level <= 32 && block.end() <= 1 << 32;
        let found = format_args!("level {}, index {}", block.level, block.index).to_string();
        self.that(fits, "block", "replicas below 2^32", found)
    }

    /// One number more than the block has replicas, ascending.
    fn plan(self, plan: &BlockPlan) -> Result<(), FrameError> {
        let (field, found) = ("plan.positions", plan.positions.len());
        self.that(found >= 2, field, "at least 2 numbers", found)?;
        self.at_most(field, found, BLOCK_REPLICAS as usize + 1, "numbers")?;
        self.that(plan.positions.is_sorted(), field, "ascending numbers", "other ones")?;
        let last = plan.positions[found - 1];
        self.that(last <= EXAMPLES, field, format_args!("at most {EXAMPLES}"), last)
    }

    fn slot(self, slot: u32, slots: u32) -> Result<(), FrameError> {
        self.that(slot < slots, "slot", format_args!("a slot below {slots}"), slot)
    }

    fn slots(self, found: &[u32], most: usize, slots: u32) -> Result<(), FrameError> {
        self.at_most("slots", found.len(), most, "slots")?;
        found.iter().try_for_each(|slot| self.slot(*slot, slots))
    }

    fn chunks(self, chunks: &[u32]) -> Result<(), FrameError> {
        self.at_most("chunks", chunks.len(), DATASET_CHUNKS, "chunks")?;
        let last = chunks.iter().max().copied().unwrap_or(0);
        self.that(
            (last as usize) < DATASET_CHUNKS,
            "chunks",
            format_args!("places below {DATASET_CHUNKS}"),
            last,
        )
    }

    /// Both manifests together must fit one frame.
    fn manifests(self, train: &SplitManifest, test: &SplitManifest) -> Result<(), FrameError> {
        let chunks = train.chunks.len() + test.chunks.len();
        self.at_most("chunks", chunks, DATASET_CHUNKS, "chunks in both splits together")?;
        for (field, manifest) in [("train", train), ("test", test)] {
            let outcome = manifest.validate();
            outcome.or_else(|error| self.that(false, field, "a valid manifest", error))?;
        }
        Ok(())
    }

    fn layout(self, field: &'static str, layout: &Layout) -> Result<(), FrameError> {
        layout.validate().or_else(|error| self.that(false, field, "a valid layout", error))
    }

    fn settings(self, settings: &RunSettings) -> Result<(), FrameError> {
        let workers = settings.min_workers.unwrap_or(0) as usize;
        self.at_most("min_workers", workers, CONNECTIONS, "workers")?;
        let kept = settings.keep_checkpoints.unwrap_or(1);
        self.that(kept > 0, "keep_checkpoints", "at least 1", kept)?;
        let share = settings.audit.unwrap_or(0.0);
        self.that((0.0..=1.0).contains(&share), "audit", "0 to 1", share)?;
        self.text("log_level", settings.log_level.as_deref().unwrap_or(""), NAME_BYTES)
    }

    fn progress(self, progress: &[Progress]) -> Result<(), FrameError> {
        self.at_most("progress", progress.len(), SLOTS as usize, "assignments")?;
        let running = progress.iter().map(|progress| progress.running.len()).sum();
        self.at_most("progress.running", running, SLOTS as usize, "replicas together")
    }

    fn results(self, results: &Results) -> Result<(), FrameError> {
        self.names("results.sums", &results.sums)?;
        self.names("results.counts", &results.counts)?;
        self.at_most(
            "results.counts",
            results.count_of_counts(),
            RESULT_COUNTS,
            "counts together",
        )?;
        self.at_most("results.scores", results.scores.len(), STEP_SCORES, "scores")?;
        let strange = results.scores.iter().copied().find(|score| !score.is_finite());
        strange.map_or(Ok(()), |found| self.that(false, "results.scores", "finite scores", found))
    }

    fn block_done(self, done: &BlockDone) -> Result<(), FrameError> {
        self.block(done.block)?;
        self.results(&done.results)?;
        self.at_most("shards", done.shards.len(), BLOCK_REPLICAS as usize, "shards")?;
        self.at_most("payload", done.payload.len(), PAYLOAD_BYTES, "bytes")?;
        let (bytes, counts) = (done.partial_bytes, done.results.count_of_counts());
        if bytes > 0 || !done.results.scores.is_empty() {
            let what = "counts beside a partial, or beside scores";
            self.at_most("results.counts", counts, PARTIAL_RESULT_COUNTS, what)?;
        }
        if bytes > 0 {
            self.at_most("results.scores", done.results.scores.len(), 0, "scores by a partial")?;
        }
        if done.is_inline {
            let expected = format_args!("at most {INLINE_PARTIAL_BYTES} bytes inline");
            self.that(bytes <= INLINE_PARTIAL_BYTES, "partial_bytes", expected, bytes)
        } else {
            let (hashes, rest) = done.payload.as_chunks::<16>();
            self.that(rest.is_empty(), "payload", "16 bytes a segment", done.payload.len())?;
            self.at_most("payload", hashes.len(), MERGE_SEGMENTS, "segments")
        }
    }

    fn event(self, event: &RunEvent) -> Result<(), FrameError> {
        match event {
            RunEvent::Started { model, .. } => self.text("model", model, NAME_BYTES),
            RunEvent::Evaluation { results, .. } => self.results(results),
            RunEvent::Worker { worker, detail, .. } => {
                self.text("worker", worker, NAME_BYTES)?;
                self.text("detail", detail, TEXT_BYTES)
            }
            RunEvent::Failed { reason, .. } => self.text("reason", reason, TEXT_BYTES),
            RunEvent::Round { metrics, .. } => {
                self.names("metrics", metrics)?;
                let strange = metrics.values().copied().find(|value| !value.is_finite());
                strange.map_or(Ok(()), |found| self.that(false, "metrics", "finite values", found))
            }
            RunEvent::Finished { warnings, unsaved, .. } => {
                self.text("unsaved", unsaved.as_deref().unwrap_or(""), TEXT_BYTES)?;
                self.names("warnings", warnings)
            }
            RunEvent::Resumed { passed_over, .. } => {
                self.text("passed_over", passed_over.as_deref().unwrap_or(""), TEXT_BYTES)
            }
            RunEvent::CheckpointFailed { error, .. } => self.text("error", error, TEXT_BYTES),
            RunEvent::Shards { shards, .. } => {
                self.at_most("shards", shards.len(), BLOCK_REPLICAS as usize, "shards")
            }
            RunEvent::Queued { .. }
            | RunEvent::Checkpoint { .. }
            | RunEvent::State { .. }
            | RunEvent::Labelled { .. }
            | RunEvent::Predicted { .. }
            | RunEvent::Cancelled { .. } => Ok(()),
        }
    }

    fn names<T>(self, field: &'static str, map: &BTreeMap<String, T>) -> Result<(), FrameError> {
        self.at_most(field, map.len(), RESULT_NAMES, "names")?;
        map.keys().try_for_each(|name| {
            // They stand in lines of logs and tables.
            let is_line = !name.contains(char::is_control);
            self.that(is_line, field, "names without control characters", name.escape_debug())?;
            self.text(field, name, NAME_BYTES)
        })
    }

    fn status(self, status: &Status) -> Result<(), FrameError> {
        self.text("build", &status.build, NAME_BYTES)?;
        self.text("unrecorded", status.unrecorded.as_deref().unwrap_or(""), TEXT_BYTES)?;
        self.at_most("workers", status.workers.len(), STATUS_WORKERS, "workers")?;
        for worker in &status.workers {
            self.text("workers.name", &worker.name, NAME_BYTES)?;
            self.text("workers.address", &worker.address, NAME_BYTES)?;
            self.text("workers.state", &worker.state, NAME_BYTES)?;
            let cannot = worker.cannot.as_deref().unwrap_or("");
            self.text("workers.cannot", cannot, STATUS_REASON_BYTES)?;
        }
        let unfit = status.workers.iter().filter(|worker| worker.cannot.is_some()).count();
        self.at_most("workers.cannot", unfit, STATUS_UNFIT, "workers")?;
        self.at_most("runs", status.runs.len(), RUNS, "runs")?;
        for run in &status.runs {
            self.text("runs.model", &run.model, NAME_BYTES)?;
            let waits_for = run.waits_for.as_deref().unwrap_or("");
            self.text("runs.waits_for", waits_for, NAME_BYTES)?;
        }
        Ok(())
    }
}
