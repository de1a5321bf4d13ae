//! What a replay gives, against what is recorded. Pure: sentences for people.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::id::RunId;
use common::plan::{RunPlan, StepKind};

use crate::cli::report::plural;
use crate::ledger::{ShardRow, step_digest};

/// Compares what comes of a replay, in its order: of each step the shards, and
/// then the state.
///
/// The replay goes on from states of its own. Where the recorded run went on from
/// another one, because a merge went wrong, all shards after it differ, whoever
/// computed them: so a shard tells of its worker only while the state that it
/// began from is known to be as recorded.
#[derive(Debug)]
pub(super) struct Check<'a> {
    run: RunId,
    plan: &'a RunPlan,
    /// Recorded states, by the step that begins from them.
    states: BTreeMap<u64, Digest>,
    /// The last step that is known to begin from the recorded state.
    known: u64,
    /// Of the step at hand: its shards so far, those that differ, and the first
    /// of these.
    shards: u64,
    differing: u64,
    first: Option<Difference>,
    /// Of a step whose shards made room in the history: its recorded digest, and
    /// what its shards give now.
    whole: Option<(Digest, Vec<Digest>)>,
    /// Steps, shards and states that are as recorded.
    pub(super) same: Same,
    /// What `coordinator replay` needs to find the run.
    flags: String,
}

/// What was compared and is as recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Same {
    pub(super) steps: u64,
    pub(super) shards: u64,
    pub(super) states: u64,
    /// Steps of which only the digest of all shards together is recorded.
    pub(super) whole_steps: u64,
    /// Steps of which nothing is recorded.
    pub(super) gaps: u64,
    /// Replays that ended in a state that is not recorded.
    pub(super) open: u64,
}

impl Same {
    /// What was compared, as people read it.
    pub(super) fn sentence(&self) -> String {
        let open = match self.open {
            0 => String::new(),
            1 => "; the last state is not recorded, so its merge is not checked".into(),
            open => format!(
                "; {open} stretches end in states that are not recorded, so their last merges are \
                 not checked"
            ),
        };
        let gaps = match self.gaps {
            0 => String::new(),
            gaps => format!("; of {} more nothing is recorded", plural(gaps, "step")),
        };
        let whole = match self.whole_steps {
            0 => String::new(),
            whole => format!(
                "; {} more could be compared as a whole only, as the history was thinned, and so \
                 {} as recorded",
                plural(whole, "step"),
                if whole == 1 { "is it" } else { "are they" }
            ),
        };
        format!(
            "{} of {} are as recorded, and {}{whole}{gaps}{open}",
            plural(self.shards, "shard"),
            plural(self.steps, "step"),
            plural(self.states, "state")
        )
    }
}

/// A shard that differs.
#[derive(Debug)]
struct Difference {
    recorded: ShardRow,
    found: Digest,
}

impl<'a> Check<'a> {
    /// `states` are recorded ones, by the step that begins from them.
    pub(super) fn new(
        (run, plan): (RunId, &'a RunPlan),
        mut states: BTreeMap<u64, Digest>,
        flags: String,
    ) -> Self {
        // An evaluation leaves the state as it is: either end tells of both.
        let is_evaluation = |step: &u64| {
            matches!(plan.step(*step).map(|step| step.kind), Some(StepKind::Evaluate { .. }))
        };
        for (step, digest) in states.clone() {
            if is_evaluation(&step) {
                states.entry(step + 1).or_insert(digest);
            }
            if step.checked_sub(1).as_ref().is_some_and(is_evaluation) {
                states.entry(step - 1).or_insert(digest);
            }
        }
        Self {
            run,
            plan,
            states,
            known: 0,
            shards: 0,
            differing: 0,
            first: None,
            whole: None,
            same: Same::default(),
            flags,
        }
    }

    /// A replay begins at a step, from the recorded state.
    pub(super) fn begin(&mut self, step: u64) {
        self.known = step;
        (self.shards, self.differing, self.first, self.whole) = (0, 0, None, None);
    }

    /// Takes in a shard of a step.
    pub(super) fn shard(&mut self, recorded: &ShardRow, found: Digest) {
        self.shards += 1;
        if recorded.digest != found {
            self.differing += 1;
            let recorded = recorded.clone();
            self.first.get_or_insert(Difference { recorded, found });
        }
    }

    /// Takes in shards of a step, in the order of replicas, of which only the
    /// digest of all is recorded.
    pub(super) fn part_of_step(
        &mut self,
        recorded: Digest,
        shards: impl IntoIterator<Item = Digest>,
    ) {
        self.whole.get_or_insert_with(|| (recorded, Vec::new())).1.extend(shards);
    }

    /// All shards of a step are in: says what is wrong with them.
    pub(super) fn shards_are_in(&mut self, step: u64) -> Result<(), String> {
        if let Some((recorded, shards)) = self.whole.take() {
            return self.step_is_in(step, recorded, step_digest(&shards));
        }
        let Some(Difference { recorded, found }) = self.first.take() else {
            let shards = std::mem::take(&mut self.shards);
            self.same.shards += shards;
            match shards {
                0 => self.same.gaps += 1,
                _ => self.same.steps += 1,
            }
            if self.known == step && self.is_evaluation(step) {
                self.known = step + 1;
            }
            return Ok(());
        };
        let (run, replica, worker) = (self.run, recorded.replica, &recorded.worker);
        let replay = format!(
            "`coordinator replay {run}{} --step {step} --replica {replica}` runs that shard alone",
            self.flags
        );
        let what = format!(
            "{}, replica {replica}: worker {worker} gave {}, this cluster {found}",
            self.name(step),
            recorded.digest
        );
        if self.known == step {
            return Err(format!(
                "{what}; {replay}: on a host that gives the first, look for bad memory, another \
                 build or a model that reads a clock, a thread count or the environment"
            ));
        }
        let differing = match self.differing == self.shards {
            true => "so do all shards of the step, as they do once a state is wrong".to_owned(),
            false => format!("{} of {} differ", self.differing, plural(self.shards, "shard")),
        };
        Err(format!(
            "{what} ({differing}). That is the fault of worker {worker}, or of a merge before it: \
             that of {}. No state after the one that {} began from is recorded to tell which; \
             `--checkpoint-every 1` of `run` and `serve` records more. {replay}",
            self.since(step - 1),
            self.name(self.known)
        ))
    }

    /// Takes in the state after a step, whose shards are as recorded.
    pub(super) fn state(&mut self, step: u64, found: Digest) -> Result<(), String> {
        let Some(recorded) = self.states.get(&(step + 1)) else { return Ok(()) };
        if self.known > step {
            return Ok(());
        }
        if *recorded == found {
            self.known = step + 1;
            self.same.states += 1;
            return Ok(());
        }
        Err(format!(
            "the state after {} is not as recorded: expected {recorded}, found {found}. Every \
             shard is, so a merge went wrong, that of {}: a worker sent other values than it \
             said, or the coordinator did not add them up right. `coordinator show {}{} --shards` \
             lists the workers; look for bad memory on their hosts and the coordinator's, and for \
             another build",
            self.name(step),
            self.since(step),
            self.run,
            self.flags
        ))
    }

    /// All shards of a step together, where no more is recorded.
    fn step_is_in(&mut self, step: u64, recorded: Digest, found: Digest) -> Result<(), String> {
        if recorded == found {
            self.same.whole_steps += 1;
            if self.known == step && self.is_evaluation(step) {
                self.known = step + 1;
            }
            return Ok(());
        }
        let since = match self.known == step {
            true => String::new(),
            false => format!(", or of a merge before it: that of {}", self.since(step - 1)),
        };
        Err(format!(
            "{}: its shards together were {recorded}, on this cluster {found}. That is the fault \
             of a worker that computed one of them{since}; which one cannot be told, as the \
             history was thinned and has no shards of this step any more. A larger \
             `--history-size` of `serve` keeps more",
            self.name(step)
        ))
    }

    /// The replay has ended before this step.
    pub(super) fn end(&mut self, step: u64) {
        self.same.open += u64::from(self.known < step);
    }

    fn is_evaluation(&self, step: u64) -> bool {
        matches!(self.plan.step(step).map(|step| step.kind), Some(StepKind::Evaluate { .. }))
    }

    /// The steps whose merges were not checked yet, up to this one.
    fn since(&self, last: u64) -> String {
        match self.known == last {
            true => self.name(last),
            false => format!("one from {} to {}", self.name(self.known), self.name(last)),
        }
    }

    /// A step as people know it.
    fn name(&self, step: u64) -> String {
        match self.plan.step(step).map(|step| step.kind) {
            Some(StepKind::Train { round, .. }) => format!("step {step} (round {})", round + 1),
            Some(StepKind::Label { .. }) => format!("step {step} (a labelling)"),
            Some(StepKind::Evaluate { .. }) => format!("step {step} (an evaluation)"),
            None => format!("step {step}"),
        }
    }
}

#[cfg(test)]
mod tests;
