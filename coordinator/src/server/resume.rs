//! A client's wish to take a run up again that is over, or to fork it.

use std::sync::Arc;

use common::id::{RunId, RunIdentity};
use common::model::Registry;
use common::run_settings::RunSettings;
use common::spec::RunSpec;

use super::connection::{ClientId, Room};
use super::engine::{Engine, Event};
use super::recover::{RecoverError, Recovered, prepare, unfinished};
use super::run::Phase;
use crate::runs::{RunsFolder, SubmissionRecord};

/// A run that was read from the folder, or cannot be.
#[derive(Debug)]
pub(super) struct Reread {
    client: ClientId,
    of: RunId,
    is_fork: bool,
    outcome: Result<Read, String>,
}

/// What was read.
#[derive(Debug)]
enum Read {
    /// The run that goes on, and what is to be kept of its submission.
    Resumed(Recovered, Box<SubmissionRecord>),
    /// A new run, and the round that it is forked from.
    Forked(Recovered, u64),
}

impl Engine {
    /// Reads a run from the folder to take it up again. What waits for that of one
    /// connection takes of its room.
    pub(super) fn resume(
        &mut self,
        client: ClientId,
        of: RunId,
        (settings, fork): (RunSettings, Option<Vec<(String, String)>>),
        room: Room,
    ) {
        if let Err(reason) = self.may_resume(of, fork.is_some()) {
            return self.reject(client, true, reason);
        }
        let fork = fork.map(|changes| (self.next_run(), changes));
        if fork.is_none()
            && let Some(run) = self.runs.get_mut(&of)
        {
            // Nobody else is to take it up meanwhile.
            run.is_rereading = true;
        }
        let is_fork = fork.is_some();
        let registry = self.registry.clone();
        let Some(durable) = &self.durable else { return };
        // Behind the end of the run, which may not be written yet.
        durable.recorder.enqueue(move |folder| {
            let outcome = reread(folder, &registry, of, settings, fork);
            drop(room);
            Event::Reread(Box::new(Reread { client, of, is_fork, outcome }))
        });
    }

    fn may_resume(&self, of: RunId, is_fork: bool) -> Result<(), String> {
        if self.durable.is_none() {
            return Err("this coordinator keeps no runs: start it with --runs".into());
        }
        let Some(run) = self.runs.get(&of) else {
            return Err(format!("run {of} is unknown: `coordinator status` names the runs"));
        };
        let state = run.told_phase().name();
        match run.phase {
            _ if run.is_rereading => Err(format!("run {of} is being taken up already")),
            Phase::Finished if !is_fork => Err(format!(
                "run {of} is finished: nothing is left to do; --fork makes a new run from its state"
            )),
            Phase::Queued | Phase::Running if !is_fork => Err(format!(
                "run {of} is {state} and goes on by itself: `coordinator follow {of}` shows it"
            )),
            _ => Ok(()),
        }
    }

    /// Keeps a run that was read from the folder, to be queued.
    pub(super) fn on_reread(&mut self, reread: Reread) {
        let Reread { client, of, is_fork, outcome } = reread;
        let resumed = (!is_fork).then_some(of);
        let mut read = match outcome {
            Ok(read) => read,
            Err(reason) => return self.reject_resume(client, resumed, true, reason),
        };
        let (Read::Resumed(recovered, _) | Read::Forked(recovered, _)) = &mut read;
        if let Err(reason) = self.make_room(recovered) {
            return self.reject_resume(client, resumed, false, reason);
        }
        match read {
            Read::Resumed(recovered, record) => self.keep_resumed(client, recovered.run, *record),
            Read::Forked(recovered, round) => {
                self.keep_submission(client, recovered.run, Some((of, round)));
            }
        }
    }

    fn reject_resume(
        &mut self,
        client: ClientId,
        resumed: Option<RunId>,
        bad_input: bool,
        reason: String,
    ) {
        if let Some(run) = resumed.and_then(|of| self.runs.get_mut(&of)) {
            run.is_rereading = false;
        }
        self.reject(client, bad_input, reason);
    }
}

/// Reads the run as it stands at its last checkpoint; for a fork, as a new
/// run with a changed spec that starts from there.
fn reread(
    folder: &RunsFolder,
    registry: &Registry,
    of: RunId,
    settings: RunSettings,
    fork: Option<(RunId, Vec<(String, String)>)>,
) -> Result<Read, String> {
    let text = |error: RecoverError| format!("run {of} cannot be taken up: {error}");
    let mut record = folder.submission(of).map_err(|error| text(error.into()))?;
    record.settings = settings.or(record.settings);
    let mut recovered = unfinished(folder, registry, &record).map_err(text)?;
    recovered.read_chunks(folder).map_err(text)?;
    let Some((id, changes)) = fork else { return Ok(Read::Resumed(recovered, Box::new(record))) };
    let round = recovered.run.round;
    let forked = forked(registry, record, id, &changes, recovered)?;
    Ok(Read::Forked(forked, round))
}

/// A new run of a changed spec, from the state of another one.
fn forked(
    registry: &Registry,
    record: SubmissionRecord,
    id: RunId,
    changes: &[(String, String)],
    from: Recovered,
) -> Result<Recovered, String> {
    let mut table: toml::Table =
        record.spec.parse().map_err(|error| format!("the spec of run {}: {error}", record.run))?;
    for (key, value) in changes {
        RunSpec::set(&mut table, key, value).map_err(|error| error.to_string())?;
    }
    let spec = RunSpec::from_table(table).map_err(|error| error.to_string())?;
    let identity = RunIdentity::draw().map_err(|error| format!("no identity: {error}"))?;
    let record = SubmissionRecord { run: id, identity, key: None, spec: spec.to_toml(), ..record };
    let Some(state) = from.run.state.clone() else { return Err("it has no state".into()) };
    let initial = Some(state.digest());
    let (mut submission, design) = prepare(registry, &record).map_err(|error| error.to_string())?;
    design.layout.check_same_tensors(&state.layout()).map_err(|error| error.to_string())?;
    let mut state = Arc::unwrap_or_clone(state);
    state.set_rules(&spec.merge).map_err(|error| error.to_string())?;
    submission.initial = initial;
    Ok(from.forked(&record, submission, state))
}
