//! A client's wish to take a run up again that is over, or to fork it.

use common::id::RunId;
use common::run_settings::RunSettings;

use super::connection::ClientId;
use super::engine::{Engine, Event};
use super::reading::{Reading, Stage, Wish, cannot_be_taken_up};
use super::run::Phase;

impl Engine {
    /// Reads a run from the folder to take it up again, one at a time for each
    /// connection.
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
        let wish = match fork {
            Some(changes) => match self.next_run() {
                Ok(number) => Wish::Fork(client, number, changes),
                Err(reason) => return self.reject(client, false, reason),
            },
            None => {
                if let Some(of) = self.runs.get_mut(&run) {
                    // Nobody else is to take it up meanwhile.
                    of.is_rereading = true;
                }
                Wish::Resume(client)
            }
        };
        if let Some(about) = self.clients.get_mut(&client) {
            about.is_taking_up = true;
        }
        let Some(durable) = &self.durable else { return };
        // Behind the end of the run, which may not be written yet.
        durable.recorder.enqueue(move |folder| {
            let record = folder.submission(run).map(|mut record| {
                record.settings = settings.or(record.settings);
                Box::new(record)
            });
            let record = record.map_err(|error| cannot_be_taken_up(run, &error));
            Event::Reading(Box::new(Reading { run, wish, stage: Stage::Found(record) }))
        });
    }

    fn may_resume(&self, client: ClientId, of: RunId, is_fork: bool) -> Result<(), String> {
        if self.durable.is_none() {
            return Err("this coordinator keeps no runs: start it with --runs".into());
        }
        if self.clients.get(&client).is_some_and(|about| about.is_taking_up) {
            return Err("a run is being taken up for this client already: wait for that".into());
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

    /// A client may have the next run taken up.
    pub(super) fn has_taken_up(&mut self, client: ClientId) {
        if let Some(about) = self.clients.get_mut(&client) {
            about.is_taking_up = false;
        }
    }
}
