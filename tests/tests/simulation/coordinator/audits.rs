//! Who has answered which shard of a step, and whether what was to be audited
//! was: the scheduler's promise, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, ProcessId};

use super::super::context::Context;
use super::super::faults::Fault;
use super::Coordinator;

/// Second copies of a shard that the scheduler hands out at most.
const COPIES: u32 = 3;

/// The answers to the shards of a step.
#[derive(Debug, Default)]
pub(super) struct Answers {
    replicas: u32,
    audited: BTreeSet<u32>,
    /// The first answer to each, and all who gave one.
    given: BTreeMap<u32, (u64, BTreeSet<ProcessId>)>,
    /// How often each was handed out alone once there was an answer.
    copies: BTreeMap<u32, u32>,
    excused: BTreeSet<u32>,
    /// Shards that gave an error.
    failed: BTreeSet<u32>,
}

impl Answers {
    pub(super) fn new(replicas: u32, audited: &[u32]) -> Self {
        Self { replicas, audited: audited.iter().copied().collect(), ..Self::default() }
    }

    pub(super) fn handed_out(&mut self, block: Block) {
        for replica in block.replicas(self.replicas) {
            if block == Block::of_replica(replica) && self.given.contains_key(&replica) {
                *self.copies.entry(replica).or_default() += 1;
            }
        }
    }

    /// Takes in a process's answers. Gives a shard of which it differs from the
    /// first one.
    pub(super) fn take(
        &mut self,
        process: ProcessId,
        block: Block,
        wrong: &BTreeMap<u32, u64>,
    ) -> Option<u32> {
        let root = Block::root(self.replicas);
        if block.level > root.level || !root.contains(block) {
            return None;
        }
        let mut different = None;
        for replica in block.replicas(self.replicas) {
            let bits = wrong.get(&replica).copied().unwrap_or(0);
            let (first, by) = self.given.entry(replica).or_insert((bits, BTreeSet::new()));
            by.insert(process);
            if *first != bits {
                different = different.or(Some(replica));
            }
        }
        different
    }

    /// Takes in that a shard gave an error.
    pub(super) fn failed(&mut self, replica: u32) {
        self.failed.insert(replica);
    }

    /// Takes in that a shard is not audited, with these processes there that
    /// may be given work, and maybe others that died.
    pub(super) fn excuse(
        &mut self,
        replica: u32,
        there: &BTreeSet<ProcessId>,
        some_died: bool,
    ) -> Result<(), String> {
        self.excused.insert(replica);
        let by = self.given.get(&replica).map(|(_, by)| by);
        let copies = self.copies.get(&replica).copied().unwrap_or(0);
        let nobody_could = copies >= COPIES || by.is_some_and(|by| there.is_subset(by));
        // One that may have killed somebody is not given to two.
        if nobody_could || some_died || self.failed.contains(&replica) {
            return Ok(());
        }
        Err(format!("replica {replica} is not audited, with {there:?} there, {by:?} before"))
    }

    /// Whether all that was to be audited has two answers, of two processes.
    pub(super) fn are_audited(&self) -> Result<(), String> {
        let lacks = |replica: &&u32| {
            let answers = self.given.get(replica).map_or(0, |(_, by)| by.len());
            answers < 2 && !self.excused.contains(replica)
        };
        match self.audited.iter().find(lacks) {
            Some(replica) => Err(format!("replica {replica} is merged before it is audited")),
            None => Ok(()),
        }
    }

    /// A replica whose bits are wrong, though two processes agreed on them.
    pub(super) fn audited_in_vain(&self) -> Option<u32> {
        let is_wrong = |replica: &&u32| {
            self.given.get(replica).is_some_and(|(bits, by)| *bits != 0 && by.len() > 1)
        };
        self.audited.iter().find(is_wrong).copied()
    }
}

impl Coordinator {
    /// A shard is not audited: is there nobody who could?
    pub(super) fn unaudited(&mut self, context: &mut Context, replica: u32) {
        context.faults.fired(Fault::Unaudited);
        let there = self.fit().map(|worker| self.processes[&worker]).collect();
        if let Some(active) = &mut self.active {
            let some_died = self.deaths.get(&active.run).is_some_and(|died| !died.is_empty());
            let excused = active.answers.excuse(replica, &there, some_died);
            context.ensure(excused.is_ok(), || format!("{excused:?}"));
        }
    }
}
