//! Requests of clients to resume a run that has ended, or to fork one.

use common::id::RunId;
use common::run_settings::RunSettings;
use common::run_state::RunState;

use super::loading::{Loading, Purpose, Stage, cannot_be_taken_up};
use super::{Engine, Written};
use crate::server::net::ClientId;

impl Engine {
    /// Reads a run from the folder to resume it, one at a time for each connection.
    pub(super) fn resume(
        &mut self,
        client: ClientId,
        run: RunId,
        settings: RunSettings,
        fork: Option<Vec<(String, String)>>,
    ) {
        if let Err(reason) = self.may_resume(client, run, fork.is_some()) {
            return self.reject(client, true, reason);
        }
        let purpose = match fork {
            Some(changes) => match self.runs.next_number() {
                Ok(number) => Purpose::Fork(client, number, changes),
                Err(reason) => return self.reject(client, false, reason),
            },
            None => {
                if let Some(of) = self.runs.get_mut(run) {
                    // No other client may resume the run in the meantime.
                    of.set_rereading(true);
                }
                Purpose::Resume(client)
            }
        };
        self.resuming.insert(client);
        let Some(journal) = &self.journal else { return };
        // Queued behind the end of the run, which may not be written yet.
        journal.enqueue(move |folder| {
            let record = folder.submission(run).map(|mut record| {
                record.settings = settings.or(record.settings);
                Box::new(record)
            });
            let record = record.map_err(|error| cannot_be_taken_up(run, &error));
            Written::Loading(Box::new(Loading { run, purpose, stage: Stage::Found(record) }))
        });
    }

    fn may_resume(&self, client: ClientId, of: RunId, is_fork: bool) -> Result<(), String> {
        if self.journal.is_none() {
            return Err("this coordinator keeps no runs: start it with --runs".into());
        }
        if self.resuming.contains(&client) {
            return Err("a run is being resumed for this client already: wait for that".into());
        }
        let Some(run) = self.runs.get(of) else {
            return Err(format!("run {of} is unknown: `coordinator status` lists the runs"));
        };
        let state = run.told_phase().name();
        match run.phase() {
            _ if run.is_rereading() => Err(format!("run {of} is being resumed already")),
            RunState::Finished if !is_fork => Err(format!(
                "run {of} is finished: nothing is left to do; --fork makes a new run from its state"
            )),
            RunState::Queued | RunState::Running if !is_fork => Err(format!(
                "run {of} is {state} and continues by itself: `coordinator follow {of}` shows it"
            )),
            _ => Ok(()),
        }
    }
}
