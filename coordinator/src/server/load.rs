//! Reads a run from the runs folder when its turn comes. What was found there as the
//! coordinator started is known by its manifests alone, so that a long queue costs no
//! memory: state and examples come with the run, each chunk once, under the bound of
//! `data_memory`.

use bytes::Bytes;
use common::digest::Digest;
use common::id::RunId;
use common::model::Registry;
use tracing::error;

use super::engine::{Engine, Event};
use super::recover::{RecoverError, Recovered, cannot_go_on, unfinished};
use super::run::Phase;
use crate::runs::{RunsFolder, SubmissionRecord};
use crate::scheduler;

/// A run that was read, or cannot be.
#[derive(Debug)]
pub(super) struct Loaded {
    run: RunId,
    outcome: Result<Box<(Recovered, Chunks)>, String>,
}

/// Chunks of examples.
type Chunks = Vec<(Digest, Bytes)>;

impl Engine {
    /// Has a queued run read; it starts once that is done.
    pub(super) fn load(&mut self, run: RunId) {
        let Some(record) = self.runs.get(&run).and_then(|run| run.record.clone()) else { return };
        // Room is taken before any of the bytes come.
        if let Err(error) = self.refer_both(&record.train, &record.test) {
            return self.cannot_start(run, error.to_string());
        }
        let missing = [&record.train, &record.test].map(|manifest| self.store.missing(manifest));
        let registry = self.registry.clone();
        let Some(durable) = &self.durable else { return };
        durable.recorder.enqueue(move |folder| {
            let outcome = read(folder, &registry, &record, &missing);
            let outcome = outcome.map(Box::new).map_err(|error| error.to_string());
            Event::Loaded(Loaded { run, outcome })
        });
    }

    /// Starts a run that was read, unless it has ended meanwhile.
    pub(super) fn on_loaded(&mut self, loaded: Loaded) {
        let Loaded { run: id, outcome } = loaded;
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(record) = run.record.clone() else { return };
        let outcome = match outcome {
            Ok(_) if run.phase.is_over() => Err(None),
            outcome => outcome.map_err(Some),
        };
        let (read, chunks) = match outcome {
            Ok(loaded) => *loaded,
            Err(reason) => {
                self.store.release(&record.train);
                self.store.release(&record.test);
                if let Some(reason) = reason {
                    self.cannot_start(id, reason);
                }
                return;
            }
        };
        let named = run.passed_over.take().into_iter().chain(read.run.passed_over);
        run.passed_over = named.reduce(|all, one| format!("{all}; {one}"));
        (run.submission, run.state) = (read.run.submission, read.run.state);
        (run.restart, run.checkpoint) = (read.run.restart, read.run.checkpoint);
        (run.round, run.loss) = (read.run.round, read.run.loss);
        for (digest, content) in chunks {
            self.store.insert(digest, content);
        }
        self.start_run(id);
    }

    /// Sets aside a run that cannot be read now: nothing on disk says that it is
    /// over, so that it goes on once that is mended.
    fn cannot_start(&mut self, id: RunId, reason: String) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| !run.phase.is_over()) else { return };
        error!("run {id} cannot go on: {reason}");
        let event = cannot_go_on(id, &reason);
        (run.phase, run.unsaved, run.is_aside) = (Phase::Failed, Some(reason), true);
        self.publish(id, event);
        self.pending.push_back(scheduler::Event::RunEnded { run: id });
        self.publish_queued();
    }
}

/// A run as it stands at its last checkpoint that is whole, and those of its chunks
/// that are missing, by split and place.
fn read(
    folder: &RunsFolder,
    registry: &Registry,
    record: &SubmissionRecord,
    missing: &[Vec<u32>; 2],
) -> Result<(Recovered, Chunks), RecoverError> {
    let read = unfinished(folder, registry, record)?;
    let mut chunks = Vec::new();
    for (manifest, missing) in [&record.train, &record.test].into_iter().zip(missing) {
        for index in missing.iter().map(|index| *index as usize) {
            chunks.push((manifest.chunks[index], folder.chunk(manifest, index)?));
        }
    }
    Ok((read, chunks))
}
