//! Submissions in progress, by client. See the [module above](super).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::SubmissionKey;
use common::limits;
use common::model::{DataShape, Registry};
use common::plan::RunPlan;
use common::spec::{RunSpec, Split};
use common::state::{Layout, NetworkState};
use common::wire::message::{Replay, ToClient};

use super::chunk_store::ChunkStore;
use super::submission::{Complete, Incoming, PendingUpload, Request, UploadError};
use crate::runs::RunsFolder;
use crate::server::net::{ClientId, Permit};
use crate::server::run_table::Design;

/// The state of a client's submission.
#[derive(Debug)]
enum Upload {
    /// No submission: messages of a rejected or already known submission are dropped.
    Answered,
    /// A submission.
    Pending(Box<PendingUpload>),
}

/// Work for a submission, to be run on another thread.
pub(in crate::server) type Job = Box<dyn FnOnce() -> Done + Send>;

/// An action for a submission.
pub(in crate::server) enum Effect {
    /// Run this job, and pass its result to [`Intake::on_done`].
    Run(Job),
    /// Send this message to the client.
    Send(ToClient),
    /// The submission is complete.
    Complete(Complete),
    /// Tell the client that its submission is rejected.
    Reject(UploadError),
}

/// The result of a [`Job`], for the submission with that number.
#[derive(Debug)]
pub(in crate::server) struct Done {
    client: ClientId,
    serial: u64,
    result: JobResult,
}

#[derive(Debug)]
enum JobResult {
    /// The model is made, or could not be.
    Model(Result<Design, String>),
    /// The model's initial state is made, or could not be; this many bytes were reserved in the
    /// store for it.
    State(u64, Result<NetworkState, String>),
    /// A chunk is checked, and is on disk if its run is kept.
    Chunk(Split, u32, Result<Bytes, UploadError>),
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Intake {
    registry: Registry,
    uploads: BTreeMap<ClientId, Upload>,
    store: ChunkStore,
    last_serial: u64,
    /// Keys of the submissions that are being written, and the other clients that have sent the
    /// same submission since.
    writing: BTreeMap<SubmissionKey, BTreeSet<ClientId>>,
}

impl Intake {
    /// Holds at most `data_memory` bytes of examples and of waiting states.
    pub(in crate::server) fn new(registry: Registry, data_memory: u64) -> Self {
        Self {
            registry,
            uploads: BTreeMap::new(),
            store: ChunkStore::new(data_memory),
            last_serial: 0,
            writing: BTreeMap::new(),
        }
    }

    /// The registered models.
    pub(in crate::server) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Chunks of examples, and the bound on their bytes and the bytes of waiting states.
    pub(in crate::server) fn store(&self) -> &ChunkStore {
        &self.store
    }

    /// The same, mutable.
    pub(in crate::server) fn store_mut(&mut self) -> &mut ChunkStore {
        &mut self.store
    }

    /// Whether a submission with this key is being written. If so, this client is told the result
    /// as well.
    pub(in crate::server) fn joins_writing(
        &mut self,
        key: SubmissionKey,
        client: ClientId,
    ) -> bool {
        match self.writing.get_mut(&key) {
            Some(others) => {
                others.insert(client);
                true
            }
            None => false,
        }
    }

    /// Notes that a submission with this key is being written.
    pub(in crate::server) fn begin_writing(&mut self, key: SubmissionKey) {
        self.writing.entry(key).or_default();
    }

    /// The submission is written, or could not be. Returns the other clients that have sent it
    /// since.
    pub(in crate::server) fn end_writing(&mut self, key: SubmissionKey) -> BTreeSet<ClientId> {
        self.writing.remove(&key).unwrap_or_default()
    }

    /// Whether a client has a submission in progress.
    pub(in crate::server) fn is_submitting(&self, client: ClientId) -> bool {
        matches!(self.uploads.get(&client), Some(Upload::Pending(_)))
    }

    /// Drops the rest of a client's submission: the run is known already.
    pub(in crate::server) fn skip(&mut self, client: ClientId) {
        self.uploads.insert(client, Upload::Answered);
    }

    /// Starts a submission, with this many unfinished runs besides it. Its model is made on another
    /// thread, as that may take long.
    pub(in crate::server) fn begin(
        &mut self,
        client: ClientId,
        request: Request,
        runs: usize,
    ) -> Effect {
        let open = match self.open(request, runs) {
            Ok(open) => open,
            Err(error) => return self.reject(client, error),
        };
        let (serial, spec, registry) = (open.serial, open.spec.clone(), self.registry.clone());
        let shape = DataShape::of(&open.train, &open.test);
        self.uploads.insert(client, Upload::Pending(Box::new(open)));
        Effect::Run(Box::new(move || {
            let result = JobResult::Model(Design::new(&registry, &spec, shape));
            Done { client, serial, result }
        }))
    }

    fn open(&mut self, request: Request, runs: usize) -> Result<PendingUpload, UploadError> {
        if runs >= limits::RUNS {
            return Err(UploadError::Runs(runs));
        }
        let Request { key, spec: text, schema, train, test, state, settings, replay } = request;
        let spec = RunSpec::from_toml(&text)?;
        train.validate().map_err(|error| UploadError::Split(Split::Train, error))?;
        test.validate().map_err(|error| UploadError::Split(Split::Test, error))?;
        train.check_alike(&test).map_err(|error| UploadError::Split(Split::Test, error))?;
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
        let incoming = state.map(|layout| Incoming::new(&layout)).transpose();
        let incoming = incoming.inspect_err(|_| self.store.unreserve(reserved))?;
        self.store.refer_both(&train, &test).inspect_err(|_| self.store.unreserve(reserved))?;
        self.last_serial += 1;
        Ok(PendingUpload {
            serial: self.last_serial,
            key,
            text,
            schema,
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

    /// Handles the result of a job.
    pub(in crate::server) fn on_done(&mut self, done: Done) -> (ClientId, Vec<Effect>) {
        let Done { client, serial, result } = done;
        let effects = match result {
            JobResult::Model(design) => self.on_model(client, serial, design),
            JobResult::State(bytes, state) => self.on_state(client, serial, bytes, state),
            JobResult::Chunk(split, chunk, content) => {
                self.on_checked(client, serial, (split, chunk), content)
            }
        };
        (client, effects)
    }

    /// Handles the model: has its initial state made if there is memory, and requests the missing
    /// chunks.
    fn on_model(
        &mut self,
        client: ClientId,
        serial: u64,
        design: Result<Design, String>,
    ) -> Vec<Effect> {
        let Some(open) = find(&mut self.uploads, client, serial) else { return Vec::new() };
        let design = match design {
            Ok(design) => design,
            Err(reason) => return vec![self.reject(client, UploadError::Model(reason))],
        };
        open.design = Some(design.clone());
        let mut effects = Vec::new();
        let checked = match &open.incoming {
            Some(incoming) => {
                design.layout.check_same_tensors(&incoming.state.layout()).map_err(Into::into)
            }
            // The model's initial state is made once there is memory for it.
            None => self.store.reserve(design.layout.bytes()).map_err(Into::into).map(|()| {
                let bytes = design.layout.bytes();
                effects.push(Effect::Run(Box::new(move || {
                    let result = JobResult::State(bytes, design.initial_state());
                    Done { client, serial, result }
                })));
            }),
        };
        if let Err(error) = checked {
            return vec![self.reject(client, error)];
        }
        for (split, manifest) in [(Split::Train, &open.train), (Split::Test, &open.test)] {
            let chunks = self.store.missing(manifest);
            open.needed.extend(chunks.iter().map(|chunk| (split, *chunk)));
            if !chunks.is_empty() {
                effects.push(Effect::Send(ToClient::NeedChunks { split, chunks }));
            }
        }
        effects.extend(self.complete(client));
        effects
    }

    /// Handles the model's initial state. Its bytes are reserved in the store, even if the
    /// submission no longer exists.
    fn on_state(
        &mut self,
        client: ClientId,
        serial: u64,
        bytes: u64,
        state: Result<NetworkState, String>,
    ) -> Vec<Effect> {
        let Some(open) = find(&mut self.uploads, client, serial) else {
            self.store.unreserve(bytes);
            return Vec::new();
        };
        open.reserved = bytes;
        match state {
            Ok(state) => {
                open.own = Some(state);
                self.complete(client).into_iter().collect()
            }
            Err(reason) => vec![self.reject(client, UploadError::Model(reason))],
        }
    }

    /// Handles a chunk from a client, and has it checked. If the run is kept, the chunk is written
    /// to `folder`: data that must survive this coordinator is on disk before it counts as
    /// received.
    ///
    /// # Errors
    /// The reason to close the client's connection.
    pub(in crate::server) fn on_chunk(
        &mut self,
        client: ClientId,
        (split, chunk): (Split, u32),
        payload: Bytes,
        folder: Option<RunsFolder>,
        permit: Permit,
    ) -> Result<Vec<Effect>, String> {
        let open = match self.uploads.get_mut(&client) {
            Some(Upload::Pending(open)) => open,
            Some(Upload::Answered) => return Ok(Vec::new()),
            None => return Err("out of turn: a chunk without a submission".into()),
        };
        if !open.needed.remove(&(split, chunk)) {
            return Err(format!("out of turn: chunk {chunk} of {split:?} was not asked for"));
        }
        open.checking += 1;
        let (serial, manifest) = (open.serial, open.manifest(split).clone());
        let folder = folder.filter(|_| open.replay.is_none());
        Ok(vec![Effect::Run(Box::new(move || {
            let kept = keep_chunk(&manifest, (split, chunk), &payload, folder.as_ref());
            let result = JobResult::Chunk(split, chunk, kept.map(|()| payload));
            drop(permit);
            Done { client, serial, result }
        }))])
    }

    fn on_checked(
        &mut self,
        client: ClientId,
        serial: u64,
        (split, chunk): (Split, u32),
        content: Result<Bytes, UploadError>,
    ) -> Vec<Effect> {
        let Some(open) = find(&mut self.uploads, client, serial) else { return Vec::new() };
        open.checking -= 1;
        let digest: Option<Digest> = open.manifest(split).chunks.get(chunk as usize).copied();
        match (content, digest) {
            (Ok(content), Some(digest)) => {
                self.store.insert(digest, content);
                self.complete(client).into_iter().collect()
            }
            (Ok(_), None) => Vec::new(),
            (Err(error), _) => vec![self.reject(client, error)],
        }
    }

    /// Handles a segment of the initial state that a client sends.
    ///
    /// # Errors
    /// The reason to close the client's connection.
    pub(in crate::server) fn on_state_segment(
        &mut self,
        client: ClientId,
        segment: u32,
        payload: &[u8],
    ) -> Result<Vec<Effect>, String> {
        let incoming = match self.uploads.get_mut(&client) {
            Some(Upload::Pending(open)) => open.incoming.as_mut(),
            Some(Upload::Answered) => return Ok(Vec::new()),
            None => None,
        };
        let Some(incoming) = incoming.filter(|incoming| incoming.next == segment as usize) else {
            return Err(format!("out of turn: state segment {segment}"));
        };
        let Some(place) = incoming.segments.get(incoming.next) else {
            return Err(format!("out of turn: state segment {segment} of {}", incoming.next));
        };
        let written = incoming.state.write_segment(incoming.next, place, payload);
        Ok(match written {
            Ok(()) => {
                incoming.next += 1;
                incoming.digests.push(Digest::of(payload));
                self.complete(client).into_iter().collect()
            }
            Err(error) => vec![self.reject(client, error.into())],
        })
    }

    /// Takes a client's submission if it is complete.
    fn complete(&mut self, client: ClientId) -> Option<Effect> {
        let Some(Upload::Pending(open)) = self.uploads.get_mut(&client) else { return None };
        let (design, state, digests) = open.take_parts()?;
        let Some(Upload::Pending(open)) = self.uploads.remove(&client) else { return None };
        Some(Effect::Complete(Complete { open, design, state, digests }))
    }

    /// Rejects a client's submission; later messages of it are dropped.
    pub(in crate::server) fn reject(&mut self, client: ClientId, error: UploadError) -> Effect {
        if let Some(Upload::Pending(open)) = self.uploads.insert(client, Upload::Answered) {
            self.release(&open);
        }
        Effect::Reject(error)
    }

    /// A client is gone; drops its submission.
    pub(in crate::server) fn forget(&mut self, client: ClientId) {
        if let Some(Upload::Pending(open)) = self.uploads.remove(&client) {
            self.release(&open);
        }
    }

    /// Releases the resources of a complete submission that does not become a run.
    pub(in crate::server) fn drop_complete(&mut self, complete: &Complete) {
        self.release(&complete.open);
    }

    fn release(&mut self, open: &PendingUpload) {
        self.store.unreserve(open.reserved);
        self.store.release_both(&open.train, &open.test);
    }
}

/// A client's submission with this number, if it is still in progress.
fn find(
    uploads: &mut BTreeMap<ClientId, Upload>,
    client: ClientId,
    serial: u64,
) -> Option<&mut PendingUpload> {
    match uploads.get_mut(&client)? {
        Upload::Pending(open) if open.serial == serial => Some(open),
        _ => None,
    }
}

/// Checks a chunk, and writes it if the run is kept.
fn keep_chunk(
    manifest: &SplitManifest,
    (split, chunk): (Split, u32),
    payload: &Bytes,
    folder: Option<&RunsFolder>,
) -> Result<(), UploadError> {
    let index = chunk as usize;
    manifest.check_chunk(index, payload).map_err(|error| UploadError::Split(split, error))?;
    let write = |folder: &RunsFolder| folder.write_chunk(manifest.chunks[index], payload);
    folder.map_or(Ok(()), write).map_err(UploadError::Folder)
}
