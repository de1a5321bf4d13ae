//! A submission on its way in: its spec is checked, its model made, its
//! chunks and its state come, and then it is a run.

mod design;
mod open;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity, SubmissionKey};
use common::limits;
use common::model::DataShape;
use common::plan::RunPlan;
use common::run_settings::RunSettings;
use common::spec::{RunSpec, Split};
use common::state::Layout;
use common::wire::message::{Replay, ToClient};

use super::active::open_run;
use super::connection::{ClientId, Room};
use super::engine::{Engine, Event};
use super::run::{Phase, Restart, Run, Submission};
use super::store::StoreFull;
use crate::runs::RunsFolder;

pub(super) use design::Design;
pub(super) use open::{CheckedChunk, Designed, Prepared, Upload};
use open::{Incoming, Open, UploadError};

impl Engine {
    /// Begins a submission.
    pub(super) fn submit(
        &mut self,
        client: ClientId,
        (key, text): (SubmissionKey, String),
        train: SplitManifest,
        test: SplitManifest,
        state: Option<Layout>,
        how: (RunSettings, Option<Replay>),
    ) -> Result<(), String> {
        let Some(about) = self.clients.get_mut(&client) else { return Ok(()) };
        if matches!(about.upload, Upload::Open(_)) {
            return Err("out of turn: a submission while another is under way".into());
        }
        if self.answer_known(client, key) {
            if let Some(about) = self.clients.get_mut(&client) {
                about.upload = Upload::Answered;
            }
            return Ok(());
        }
        match self.open_upload((key, text), train, test, state, how) {
            Ok(open) => {
                self.prepare(client, &open);
                if let Some(about) = self.clients.get_mut(&client) {
                    about.upload = Upload::Open(Box::new(open));
                }
            }
            Err(error) => self.reject_upload(client, &error),
        }
        Ok(())
    }

    fn open_upload(
        &mut self,
        (key, text): (SubmissionKey, String),
        train: SplitManifest,
        test: SplitManifest,
        state: Option<Layout>,
        (settings, replay): (RunSettings, Option<Replay>),
    ) -> Result<Open, UploadError> {
        let waiting = self.runs.values().filter(|run| !run.phase.is_over()).count();
        if waiting >= limits::RUNS {
            return Err(UploadError::Runs(waiting));
        }
        let spec = RunSpec::from_toml(&text)?;
        train.validate().map_err(|error| UploadError::Split(Split::Train, error))?;
        test.validate().map_err(|error| UploadError::Split(Split::Test, error))?;
        if train.examples > 0 && test.examples > 0 && train.features != test.features {
            let (expected, found) = (train.features, test.features);
            return Err(UploadError::Features { expected, found });
        }
        let plan = RunPlan::new(&spec, train.size(), test.examples)?;
        let plan = plan.with_audit(settings.audit);
        if let Some(Replay { first, steps }) = replay
            && first + steps > plan.steps()
        {
            return Err(UploadError::Replay { steps: plan.steps(), end: first + steps });
        }
        if let Some(layout) = &state {
            layout.validate()?;
        }
        let reserved = state.as_ref().map_or(0, Layout::bytes);
        self.store.reserve(reserved)?;
        let incoming = match state.map(|layout| Incoming::new(&layout)).transpose() {
            Ok(incoming) => incoming,
            Err(error) => {
                self.store.unreserve(reserved);
                return Err(error.into());
            }
        };
        if let Err(error) = self.refer_both(&train, &test) {
            self.store.unreserve(reserved);
            return Err(error.into());
        }
        self.last_upload += 1;
        Ok(Open {
            serial: self.last_upload,
            key,
            text,
            spec,
            plan,
            train,
            test,
            settings,
            replay,
            incoming,
            design: None,
            own: None,
            needed: BTreeSet::new(),
            checking: 0,
            reserved,
        })
    }

    pub(super) fn refer_both(
        &mut self,
        train: &SplitManifest,
        test: &SplitManifest,
    ) -> Result<(), StoreFull> {
        self.store.refer(train)?;
        self.store.refer(test).inspect_err(|_| self.store.release(train))
    }

    /// Has the model made, away from the engine: it may take long.
    fn prepare(&self, client: ClientId, open: &Open) {
        let (serial, spec, registry) = (open.serial, open.spec.clone(), self.registry.clone());
        let shape = DataShape::of(&open.train, &open.test);
        self.spawn(move || {
            let outcome = Design::new(&registry, &spec, shape);
            Event::Designed(Designed { client, serial, outcome })
        });
    }

    /// The submission that something belongs to, if it is still under way.
    fn upload(&mut self, client: ClientId, serial: u64) -> Option<&mut Open> {
        match &mut self.clients.get_mut(&client)?.upload {
            Upload::Open(open) if open.serial == serial => Some(open),
            _ => None,
        }
    }

    /// Takes in the model, has its state made where there is room, and asks for the
    /// chunks that are not here.
    pub(super) fn on_designed(&mut self, designed: Designed) {
        let Designed { client, serial, outcome } = designed;
        let Some(open) = self.upload(client, serial) else { return };
        let design = match outcome {
            Ok(design) => design,
            Err(reason) => return self.reject_upload(client, &UploadError::Model(reason)),
        };
        open.design = Some(design.clone());
        let checked = match &open.incoming {
            Some(incoming) => {
                design.layout.check_same_tensors(&incoming.state.layout()).map_err(Into::into)
            }
            None => self.make_state(client, serial, design),
        };
        if let Err(error) = checked {
            return self.reject_upload(client, &error);
        }
        self.want_chunks(client, serial);
        self.accept_upload(client);
    }

    /// Has the model's own state made, once there is room for it.
    fn make_state(
        &mut self,
        client: ClientId,
        serial: u64,
        design: Design,
    ) -> Result<(), UploadError> {
        let bytes = design.layout.bytes();
        self.store.reserve(bytes)?;
        self.spawn(move || {
            let outcome = design.initial_state();
            Event::Prepared(Prepared { client, serial, bytes, outcome })
        });
        Ok(())
    }

    /// Takes in the model's own state. Its bytes are taken from the store's bound,
    /// whatever has become of its submission.
    pub(super) fn on_prepared(&mut self, prepared: Prepared) {
        let Prepared { client, serial, bytes, outcome } = prepared;
        let Some(open) = self.upload(client, serial) else { return self.store.unreserve(bytes) };
        open.reserved = bytes;
        match outcome {
            Ok(state) => {
                open.own = Some(state);
                self.accept_upload(client);
            }
            Err(reason) => self.reject_upload(client, &UploadError::Model(reason)),
        }
    }

    /// Asks for the chunks of a submission that are not here.
    fn want_chunks(&mut self, client: ClientId, serial: u64) {
        let Some(Upload::Open(open)) = self.clients.get(&client).map(|about| &about.upload) else {
            return;
        };
        let missing = |split, manifest: &SplitManifest| (split, self.store.missing(manifest));
        let missing = [missing(Split::Train, &open.train), missing(Split::Test, &open.test)];
        let Some(open) = self.upload(client, serial) else { return };
        for (split, chunks) in &missing {
            open.needed.extend(chunks.iter().map(|chunk| (*split, *chunk)));
        }
        for (split, chunks) in missing {
            if !chunks.is_empty() {
                self.send_client(client, ToClient::NeedChunks { split, chunks });
            }
        }
    }

    /// Takes in a chunk from a client, and has it checked.
    pub(super) fn on_chunk(
        &mut self,
        client: ClientId,
        split: Split,
        chunk: u32,
        payload: Bytes,
        room: Room,
    ) -> Result<(), String> {
        let Some(about) = self.clients.get_mut(&client) else { return Ok(()) };
        let open = match &mut about.upload {
            Upload::Open(open) => open,
            Upload::Answered => return Ok(()),
            Upload::None => return Err("out of turn: a chunk without a submission".into()),
        };
        if !open.needed.remove(&(split, chunk)) {
            return Err(format!("out of turn: chunk {chunk} of {split:?} was not asked for"));
        }
        open.checking += 1;
        let serial = open.serial;
        let manifest = match split {
            Split::Train => &open.train,
            Split::Test => &open.test,
        };
        let manifest = manifest.clone();
        // What is to outlive this coordinator is on disk before it counts as
        // here.
        let folder = self.durable.as_ref().filter(|_| open.replay.is_none());
        let folder = folder.map(|durable| durable.config.folder.clone());
        self.spawn(move || {
            let checked = manifest.check_chunk(chunk as usize, &payload);
            let kept = checked.map_err(|error| UploadError::Split(split, error)).and_then(|()| {
                let digest = manifest.chunks[chunk as usize];
                let write = |folder: RunsFolder| folder.write_chunk(digest, &payload);
                folder.map_or(Ok(()), write).map_err(UploadError::Folder)
            });
            let outcome = kept.map(|()| payload);
            drop(room);
            Event::ChunkChecked(CheckedChunk { client, serial, split, chunk, outcome })
        });
        Ok(())
    }

    /// Takes in that a chunk was checked.
    pub(super) fn on_checked_chunk(&mut self, checked: CheckedChunk) {
        let CheckedChunk { client, serial, split, chunk, outcome } = checked;
        let Some(open) = self.upload(client, serial) else { return };
        open.checking -= 1;
        let manifest = match split {
            Split::Train => &open.train,
            Split::Test => &open.test,
        };
        let digest = manifest.chunks.get(chunk as usize).copied();
        match (outcome, digest) {
            (Ok(content), Some(digest)) => {
                self.store.insert(digest, content);
                self.accept_upload(client);
            }
            (Ok(_), None) => {}
            (Err(error), _) => self.reject_upload(client, &error),
        }
    }

    /// Takes in a segment of the state that a client starts from.
    pub(super) fn on_state_segment(
        &mut self,
        client: ClientId,
        segment: u32,
        payload: &[u8],
    ) -> Result<(), String> {
        let Some(about) = self.clients.get_mut(&client) else { return Ok(()) };
        let incoming = match &mut about.upload {
            Upload::Open(open) => open.incoming.as_mut(),
            Upload::Answered => return Ok(()),
            Upload::None => None,
        };
        let Some(incoming) = incoming.filter(|incoming| incoming.next == segment as usize) else {
            return Err(format!("out of turn: state segment {segment}"));
        };
        let Some(place) = incoming.segments.get(incoming.next) else {
            return Err(format!("out of turn: state segment {segment} of {}", incoming.next));
        };
        match incoming.state.write_segment(incoming.next, place, payload) {
            Ok(()) => {
                incoming.next += 1;
                incoming.digests.push(Digest::of(payload));
                self.accept_upload(client);
            }
            Err(error) => self.reject_upload(client, &error.into()),
        }
        Ok(())
    }

    /// Queues the run, once all of it is here.
    fn accept_upload(&mut self, client: ClientId) {
        let Some(about) = self.clients.get_mut(&client) else { return };
        match &about.upload {
            Upload::Open(open) if open.is_complete() => {}
            _ => return,
        }
        let Upload::Open(open) = std::mem::replace(&mut about.upload, Upload::None) else { return };
        // Its client may have sent it on another connection meanwhile.
        if self.answer_known(client, open.key) {
            return self.drop_upload(Upload::Open(open));
        }
        let run = match self.next_run() {
            Ok(run) => run,
            Err(reason) => {
                self.drop_upload(Upload::Open(open));
                return self.reject(client, false, reason);
            }
        };
        match self.run_of(run, *open) {
            Ok(run) => {
                self.keep_submission(client, Run { submitter: Some(client), ..run }, None);
            }
            Err((open, error)) => {
                self.drop_upload(Upload::Open(open));
                self.reject_upload(client, &error);
            }
        }
    }

    /// The run of a complete submission.
    fn run_of(&self, id: RunId, mut open: Open) -> Result<Run, (Box<Open>, UploadError)> {
        let Design { model, .. } = open.design.take().expect("a complete submission has its model");
        let (mut state, digests) = match open.incoming.take() {
            Some(incoming) => (incoming.state, Some(incoming.digests)),
            None => (open.own.take().expect("a complete submission has its state"), None),
        };
        if let Err(error) = state.set_rules(&open.spec.merge) {
            return Err((Box::new(open), error.into()));
        }
        // That of the state as it is kept: with the spec's rules.
        let initial = digests.map(|digests| Digest::of_digests(&state.layout().encode(), &digests));
        let identity = match RunIdentity::draw() {
            Ok(identity) => identity,
            Err(error) => return Err((Box::new(open), UploadError::Identity(error))),
        };
        let submission = Submission {
            identity,
            text: open.text.clone(),
            model_name: open.spec.model.clone(),
            model,
            plan: open.plan.clone(),
            train: open.train.clone(),
            test: open.test.clone(),
            initial,
            steps: open.steps(),
            is_replay: open.replay.is_some(),
        };
        let found = open_run(id, &submission, &state).size();
        if found > limits::FRAME_BYTES {
            let error = UploadError::TooLong { limit: limits::FRAME_BYTES, found };
            return Err((Box::new(open), error));
        }
        Ok(Run {
            key: Some(open.key),
            settings: open.settings,
            restart: open.replay.map(|replay| Restart { step: replay.first, ..Restart::default() }),
            is_replay: submission.is_replay,
            model_name: submission.model_name.clone(),
            rounds: submission.plan.rounds(),
            submission: Some(Arc::new(submission)),
            state: Some(Arc::new(state)),
            reserved: open.reserved,
            ..Run::new(id, Phase::Queued)
        })
    }

    fn reject_upload(&mut self, client: ClientId, error: &UploadError) {
        let Some(about) = self.clients.get_mut(&client) else { return };
        let upload = std::mem::replace(&mut about.upload, Upload::Answered);
        self.drop_upload(upload);
        self.reject(client, error.is_bad_input(), error.to_string());
    }

    /// Lets go of what a submission held.
    pub(super) fn drop_upload(&mut self, upload: Upload) {
        if let Upload::Open(open) = upload {
            self.store.unreserve(open.reserved);
            self.store.release(&open.train);
            self.store.release(&open.test);
        }
    }
}
