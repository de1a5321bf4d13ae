//! Turns an account of a run into sentences. Pure.

use super::account::{Account, KEPT_EVENTS, WorkerTime};
use crate::cli::listing::{on_one_line, short, utc};
use crate::cli::report::{bytes, plural};
use crate::ledger::{EventKind, EventRow, KILLED_FOR_MEMORY};
use common::run_state::RunEnd;
use common::worker_event::WorkerEvent;

/// Share of synchronisation in rounds from which on it counts as the bottleneck.
const MUCH_SYNCHRONISATION: f64 = 0.5;

/// A worker is slow if it takes this many times as long as the others.
const SLOW: f64 = 1.5;

/// Time outside of rounds is mentioned if its share is larger than this.
const MUCH_ELSEWHERE: f64 = 0.3;

/// The beginning of the command that a failure's reason may contain.
const REPLAY: &str = "coordinator replay ";

/// An account of a run, one or two sentences per line.
pub(super) fn explain(account: &Account) -> String {
    let mut story = Story { account, lines: Vec::new(), is_smooth: true };
    story.outcome();
    story.gaps();
    story.time();
    story.workers();
    story.unfit();
    story.repeats();
    story.losses();
    story.caches();
    story.resumes();
    story.passed_over();
    story.checkpoints();
    story.audits();
    if story.is_smooth && account.run.state == Some(RunEnd::Finished) {
        story.tell("Nothing delayed it.".into());
    }
    story.lines.concat()
}

struct Story<'a> {
    account: &'a Account,
    lines: Vec<String>,
    /// No problem has been reported so far.
    is_smooth: bool,
}

impl Story<'_> {
    fn tell(&mut self, line: String) {
        self.lines.push(line + "\n");
    }

    /// Reports a problem, or something that cost time.
    fn complain(&mut self, line: String) {
        self.is_smooth = false;
        self.tell(line);
    }

    fn outcome(&mut self) {
        let run = &self.account.run;
        let name = format!("Run {} ({})", run.run, on_one_line(&run.model));
        let done = format!("after {} of {}", run.round, plural(run.rounds, "round"));
        match run.state {
            Some(RunEnd::Finished) => {
                let time = seconds(run.ended_ms.unwrap_or(run.at_ms).saturating_sub(run.at_ms));
                let digest = run.digest.map(|digest| format!(", digest {}…", short(digest)));
                let rounds = plural(run.round, "round");
                let digest = digest.unwrap_or_default();
                self.tell(format!(
                    "{name} finished: {rounds}, {time} from queued to ended{digest}."
                ));
            }
            Some(RunEnd::Failed) => {
                let reason = run.reason.as_deref().unwrap_or("no reason is recorded");
                self.tell(format!("{name} failed {done}: {}", on_one_line(reason)));
                if let Some(command) = replay_command(reason) {
                    self.tell(format!(
                        "To run the shard alone, with its complete log: {command}{}",
                        self.account.flag
                    ));
                }
            }
            Some(RunEnd::Cancelled) => self.tell(format!("{name} was cancelled {done}.")),
            None => self.tell(format!(
                "{name} is unfinished, {done}: `coordinator status` shows whether a coordinator \
                 works on it."
            )),
        }
        if let (Some(from), Some(round)) = (run.forked_from, run.forked_round) {
            self.tell(format!("It was forked from run {from} after round {round}."));
        }
    }

    fn gaps(&mut self) {
        let run = &self.account.run;
        if run.missing > 0 {
            self.complain(format!(
                "{} of {} are missing in the history: it could not be written, or was lost. The \
                 figures below cover the others.",
                run.missing,
                plural(run.steps, "step")
            ));
        }
        if run.thinned > 0 {
            self.tell(format!(
                "The history has dropped the shards of {} to make room (--history-size of \
                 `coordinator serve`). The figures below about workers and shards cover the other \
                 steps.",
                plural(run.thinned, "step")
            ));
        }
    }

    fn time(&mut self) {
        let account = self.account;
        let whole = account.rounds_ms();
        if account.rounds == 0 || whole <= 0.0 {
            return self.tell("It has no recorded rounds.".into());
        }
        let share = account.synchronisation_ms / whole;
        let (computing, synchronising) = (100.0 * (1.0 - share), 100.0 * share);
        let text = format!(
            "Its {} took {}: {computing:.0} % computing, {synchronising:.0} % synchronisation \
             (sending, merging, waiting).",
            plural(account.rounds, "round"),
            seconds(whole as u64)
        );
        if share < MUCH_SYNCHRONISATION {
            self.tell(text);
        } else {
            self.complain(format!(
                "Synchronisation was the bottleneck. {text} Each round merged {} of partials. A \
                 larger `update_interval` gives the workers more to compute between two merges, but \
                 changes the bits; a faster network does not.",
                bytes(account.bytes / account.rounds)
            ));
        }
        let end = account.run.ended_ms.or(account.last_ms).unwrap_or(account.run.at_ms);
        let all = end.saturating_sub(account.run.at_ms) as f64;
        if all - whole > MUCH_ELSEWHERE * all {
            self.complain(format!(
                "Outside of its rounds it took {}: in the queue, waiting for workers, in \
                 evaluations, or while no coordinator was running.",
                seconds((all - whole) as u64)
            ));
        }
    }

    fn workers(&mut self) {
        let workers = &self.account.workers;
        let order =
            |a: &(&String, &WorkerTime), b: &(&String, &WorkerTime)| a.1.ms().total_cmp(&b.1.ms());
        let (Some(fastest), Some(slowest)) =
            (workers.iter().min_by(order), workers.iter().max_by(order))
        else {
            return;
        };
        let mut others = WorkerTime::default();
        workers
            .iter()
            .filter(|(name, _)| *name != slowest.0)
            .for_each(|(_, work)| others.add(*work));
        let (name, ms) = (on_one_line(slowest.0), slowest.1.ms());
        if workers.len() == 1 {
            let shards = plural(slowest.1.shards, "shard");
            self.tell(format!(
                "One worker, {name}, computed {shards} of rounds in {ms:.1} ms each."
            ));
        } else if ms >= SLOW * others.ms() {
            self.complain(format!(
                "Worker {name} was slow: {ms:.1} ms per shard, {:.1} times as long as the others' \
                 {:.1} ms. It computed {} of {} of rounds.",
                ms / others.ms().max(1e-9),
                others.ms(),
                slowest.1.shards,
                plural(others.shards + slowest.1.shards, "shard")
            ));
        } else {
            self.tell(format!(
                "{} workers were about equally fast: {:.1} ({}) to {ms:.1} ms ({name}) per shard.",
                workers.len(),
                fastest.1.ms(),
                on_one_line(fastest.0)
            ));
        }
    }

    fn unfit(&mut self) {
        let events = self.account.events.get(&EventKind::Worker(WorkerEvent::Cannot));
        for event in events.into_iter().flat_map(|events| &events.first) {
            self.complain(format!("A worker could not work on it: {}.", about(event)));
        }
    }

    fn repeats(&mut self) {
        let account = self.account;
        if account.repeated > 0 {
            let causes: Vec<String> = [
                (account.count(EventKind::Worker(WorkerEvent::Lost)), "lost worker"),
                (account.count(EventKind::Worker(WorkerEvent::Left)), "departed worker"),
                (account.shards(EventKind::Worker(WorkerEvent::Slow)), "slow shard"),
                (account.count(EventKind::Worker(WorkerEvent::Failed)), "error"),
            ]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, cause)| plural(count, cause))
            .collect();
            let on_record = if causes.is_empty() {
                String::new()
            } else {
                format!(" Recorded causes: {}.", causes.join(", "))
            };
            self.complain(format!(
                "{} of {} {} handed out more than once, at most {} times.{on_record}",
                account.repeated,
                plural(account.shards, "shard"),
                if account.repeated == 1 { "was" } else { "were" },
                account.attempts
            ));
        } else if account.shards > 0 {
            let of =
                if account.run.state == Some(RunEnd::Finished) { "" } else { " of a merged step" };
            self.tell(format!("No shard{of} was handed out more than once."));
        }
        let duplicates = account.shards(EventKind::Worker(WorkerEvent::Duplicate));
        if duplicates > 0 {
            self.tell(format!("{} arrived twice and counted once.", plural(duplicates, "shard")));
        }
        let last = account
            .events
            .get(&EventKind::Worker(WorkerEvent::Failed))
            .and_then(|errors| errors.last.as_ref());
        if let Some(error) = last {
            self.complain(format!("The last error: {}.", about(error)));
        }
    }

    fn losses(&mut self) {
        let run = self.account.run.run;
        let Some(lost) = self.account.events.get(&EventKind::Worker(WorkerEvent::Lost)) else {
            return;
        };
        for event in &lost.first {
            let memory = if event.detail.contains(KILLED_FOR_MEMORY) {
                " Give it more memory, or lower its --memory-limit so that it runs fewer shards at \
                 once, which does not change the bits. If the model is your own, check that it \
                 declares all memory of an instance (`replica_bytes`)."
            } else {
                ""
            };
            self.complain(format!("Lost: {}.{memory}", about(event)));
        }
        if lost.count > KEPT_EVENTS as u64 {
            self.complain(format!(
                "Workers were lost {} more: see `coordinator show {run}{} --events`.",
                plural(lost.count - KEPT_EVENTS as u64, "time"),
                self.account.flag
            ));
        }
    }

    fn caches(&mut self) {
        let Some(small) = self.account.events.get(&EventKind::SmallCache) else { return };
        for event in &small.first {
            self.complain(format!(
                "Small cache: {}. It fetches the same chunks repeatedly. A larger --cache-limit (or \
                 --memory-limit) of the worker avoids that and does not change the bits; a smaller \
                 `dataset.shuffle_window` needs fewer chunks, but changes the bits.",
                about(event)
            ));
        }
    }

    fn resumes(&mut self) {
        let resumed = self.account.count(EventKind::Resumed);
        let offered =
            plural(self.account.shards(EventKind::Worker(WorkerEvent::Offered)), "finished shard");
        let offered = match self.account.count(EventKind::Worker(WorkerEvent::Offered)) {
            0 => None,
            _ => Some(format!("{offered} were delivered and not computed again")),
        };
        match (resumed, offered) {
            (0, None) => {}
            (0, Some(offered)) => {
                self.complain(format!("After workers had lost their connection, {offered}."));
            }
            (_, offered) => {
                let offered = offered.map(|offered| format!("; {offered}")).unwrap_or_default();
                self.complain(format!("It was resumed {}{offered}.", times(resumed)));
            }
        }
        let events = self.account.events.get(&EventKind::Resumed);
        let is_short = |event: &&EventRow| event.detail.contains(KILLED_FOR_MEMORY);
        for event in events.into_iter().flat_map(|events| &events.first).filter(is_short) {
            self.complain(format!(
                "Resumed: {}. Give the coordinator more memory: it needs about two and a half \
                 times the state, and `--data-memory` for examples.",
                about(event)
            ));
        }
    }

    fn checkpoints(&mut self) {
        let account = self.account;
        if account.checkpoints > 0 {
            let each = account.checkpoint_ms / account.checkpoints as f64;
            let checkpoints = plural(account.checkpoints, "checkpoint");
            let mut text = format!("{checkpoints} took {each:.1} ms on average to write");
            // A prediction has checkpoints, and no rounds.
            if account.rounds_ms() > 0.0 {
                let share = 100.0 * account.checkpoint_ms / account.rounds_ms();
                text += &format!(", in parallel to the rounds: {share:.1} % of their time");
            }
            self.tell(text + ".");
        } else if account.rounds > 0 {
            self.tell("It has no recorded checkpoints.".into());
        }
        let failed = account.events.get(&EventKind::CheckpointFailed);
        if let Some((failed, last)) =
            failed.and_then(|failed| Some((failed, failed.last.as_ref()?)))
        {
            self.complain(format!(
                "{} could not be written; the last time: {}.",
                plural(failed.count, "checkpoint"),
                about(last)
            ));
        }
    }

    fn passed_over(&mut self) {
        let events = self.account.events.get(&EventKind::PassedOver);
        for event in events.into_iter().flat_map(|events| &events.first) {
            self.complain(format!("A damaged checkpoint was skipped: {}.", about(event)));
        }
    }

    fn audits(&mut self) {
        let account = self.account;
        for event in account.events.get(&EventKind::Audit).into_iter().flat_map(|it| &it.first) {
            self.complain(format!("Two workers computed differently: {}.", about(event)));
        }
        // The last event includes the counts of the earlier ones.
        let last = |kind| account.events.get(&kind).and_then(|events| events.last.as_ref());
        if let Some(event) = last(EventKind::Audited) {
            self.tell(format!("Audited: {}.", on_one_line(&event.detail)));
        }
        if let Some(event) = last(EventKind::Unaudited) {
            self.tell(format!("Not audited: {}.", on_one_line(&event.detail)));
        }
    }
}

/// An event: its worker, time and detail.
fn about(event: &EventRow) -> String {
    let worker = event.worker.as_deref().map(|name| format!("{}, ", on_one_line(name)));
    let step = event.step.map(|step| format!(" at step {step}")).unwrap_or_default();
    let detail = on_one_line(event.detail.trim_end_matches(['.', '\n']));
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("{}{} UTC{step}{detail}", worker.unwrap_or_default(), utc(event.at_ms))
}

/// The command in a reason, up to its end.
fn replay_command(reason: &str) -> Option<&str> {
    let command = &reason[reason.find(REPLAY)?..];
    let end = command.find(['`', '"', '\'', ';', ',', '\n', ')']).unwrap_or(command.len());
    Some(command[..end].trim_end_matches(['.', ' ']))
}

fn seconds(ms: u64) -> String {
    match ms / 1000 {
        s if s < 120 => format!("{:.1} s", ms as f64 / 1e3),
        s if s < 7200 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}
