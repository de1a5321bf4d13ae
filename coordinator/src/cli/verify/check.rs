//! Compares a replay with the history, and words the result for people. Pure.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::id::RunId;
use common::plan::{RunPlan, StepKind};

use crate::cli::report::plural;
use crate::ledger::{ShardRow, step_digest};

/// Compares the results of a replay in order: for each step its shards, then the state.
///
/// The replay continues from its own states. If the recorded run continued from another
/// state, because a merge went wrong, all later shards differ, whichever worker computed
/// them. So a differing shard is blamed on its worker only if its initial state is known to
/// be as recorded.
#[derive(Debug)]
pub(super) struct Check<'a> {
    run: RunId,
    plan: &'a RunPlan,
    /// Recorded states, by the step that begins from them.
    states: BTreeMap<u64, Digest>,
    /// The last step known to begin from the recorded state.
    known: u64,
    /// For the current step: its shards so far, the differing ones, and the first of these.
    shards: u64,
    differing: u64,
    first: Option<Difference>,
    /// For a step whose shards the history has dropped: its recorded digest, and the digests
    /// of its shards now.
    whole: Option<(Digest, Vec<Digest>)>,
    /// Numbers of steps, shards and states that match.
    pub(super) same: Same,
    /// The flag that `coordinator replay` needs to find the run.
    flags: String,
}

/// Counts of what was compared and matches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Same {
    pub(super) steps: u64,
    pub(super) shards: u64,
    pub(super) states: u64,
    /// Steps for which only the digest of all shards together is recorded.
    pub(super) whole_steps: u64,
    /// Steps without any record.
    pub(super) gaps: u64,
    /// Replays that ended in a state without a record.
    pub(super) open: u64,
}

impl Same {
    /// The counts as a sentence.
    pub(super) fn sentence(&self) -> String {
        let open = match self.open {
            0 => String::new(),
            1 => "; the last state is not recorded, so its merge was not checked".into(),
            open => format!(
                "; {open} ranges of steps end in states that are not recorded, so their last merges \
                 were not checked"
            ),
        };
        let gaps = match self.gaps {
            0 => String::new(),
            gaps => format!("; {} more without any record", plural(gaps, "step")),
        };
        let whole = match self.whole_steps {
            0 => String::new(),
            whole => format!(
                "; {} more could only be compared as a whole, as the history was thinned, and {} as \
                 recorded",
                plural(whole, "step"),
                if whole == 1 { "is" } else { "are" }
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
        // An evaluation does not change the state: a record of one end is valid for both.
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

    /// Adds a shard of a step.
    pub(super) fn shard(&mut self, recorded: &ShardRow, found: Digest) {
        self.shards += 1;
        if recorded.digest != found {
            self.differing += 1;
            let recorded = recorded.clone();
            self.first.get_or_insert(Difference { recorded, found });
        }
    }

    /// Adds shards of a step, in the order of replicas, of which only the common digest is
    /// recorded.
    pub(super) fn part_of_step(
        &mut self,
        recorded: Digest,
        shards: impl IntoIterator<Item = Digest>,
    ) {
        self.whole.get_or_insert_with(|| (recorded, Vec::new())).1.extend(shards);
    }

    /// Called when all shards of a step are added. Returns the difference, if any.
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
            if self.known == step && self.is_pass(step) {
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
            "{}, replica {replica}: worker {worker} computed {}, this cluster {found}",
            self.name(step),
            recorded.digest
        );
        if self.known == step {
            return Err(format!(
                "{what}; {replay}: on a host that computes the first digest, look for faulty memory, \
                 another build, or a model that reads a clock, a thread count or the environment"
            ));
        }
        let differing = if self.differing == self.shards {
            "all shards of the step differ, as they do after a wrong state".to_owned()
        } else {
            format!("{} of {} differ", self.differing, plural(self.shards, "shard"))
        };
        Err(format!(
            "{what} ({differing}). Either worker {worker} or an earlier merge was wrong: that of {}. \
             No state after the initial state of {} is recorded to tell which; \
             `--checkpoint-every 1` of `run` and `serve` records more. {replay}",
            self.since(step - 1),
            self.name(self.known)
        ))
    }

    /// Adds the state after a step whose shards are as recorded.
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
             shard is as recorded, so a merge went wrong, that of {}: a worker sent values that do \
             not match its digests, or the coordinator added them wrongly. `coordinator show {}{} \
             --shards` lists the workers; look for faulty memory on their hosts and the \
             coordinator's, and for another build",
            self.name(step),
            self.since(step),
            self.run,
            self.flags
        ))
    }

    /// Compares all shards of a step together, if no more is recorded.
    fn step_is_in(&mut self, step: u64, recorded: Digest, found: Digest) -> Result<(), String> {
        if recorded == found {
            self.same.whole_steps += 1;
            if self.known == step && self.is_pass(step) {
                self.known = step + 1;
            }
            return Ok(());
        }
        let since = if self.known == step {
            String::new()
        } else {
            format!(", or by an earlier merge: that of {}", self.since(step - 1))
        };
        Err(format!(
            "{}: the digest of its shards was {recorded}, on this cluster {found}. The difference \
             was caused by a worker that computed one of them{since}; the history was thinned and \
             no longer has the shards of this step, so the worker cannot be named. A larger \
             `--history-size` of `serve` keeps more",
            self.name(step)
        ))
    }

    /// The replay has ended before this step.
    pub(super) fn end(&mut self, step: u64) {
        self.same.open += u64::from(self.known < step);
    }

    /// Whether the next step has the same base.
    fn is_pass(&self, step: u64) -> bool {
        let kind = self.plan.step(step).map(|step| step.kind);
        matches!(kind, Some(StepKind::Evaluate { .. } | StepKind::Predict { .. }))
    }

    /// The steps whose merges have not been checked yet, up to this one.
    fn since(&self, last: u64) -> String {
        if self.known == last {
            self.name(last)
        } else {
            format!("one from {} to {}", self.name(self.known), self.name(last))
        }
    }

    /// A step's name for people.
    fn name(&self, step: u64) -> String {
        match self.plan.step(step).map(|step| step.kind) {
            Some(StepKind::Train { round, .. }) => format!("step {step} (round {})", round + 1),
            Some(StepKind::Label { .. }) => format!("step {step} (a labelling)"),
            Some(StepKind::Evaluate { .. }) => format!("step {step} (an evaluation)"),
            Some(StepKind::Predict { .. }) => format!("step {step} (a part of a prediction)"),
            None => format!("step {step}"),
        }
    }
}

#[cfg(test)]
mod tests;
