//! The audited shards of a step that lack a second result, and the workers that were asked for
//! it.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Block, ProcessId};
use common::limits::OFFERS;

use super::in_flight::Assignment;

/// Most second copies that a process gets in one step. It keeps their results until the step is
/// merged, and offers all of them after a reconnect: this number leaves room in the queues.
const COPIES_OF_PROCESS: u32 = 256;

const _: () = assert!((COPIES_OF_PROCESS as usize) < OFFERS);

/// The audited shards of a step.
#[derive(Debug)]
pub(super) struct Audit {
    /// Those that lack a result.
    pub(super) open: BTreeMap<u32, OpenAudit>,
    /// Those with one result, and without an assigned second copy.
    pub(super) due: BTreeSet<u32>,
    /// Number of second copies that each process got.
    given: BTreeMap<ProcessId, u32>,
}

/// A shard that lacks a result.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenAudit {
    /// The process of the first result.
    pub(super) first: Option<ProcessId>,
    /// Second copies handed out.
    pub(super) copies: u32,
    /// The processes that got one.
    pub(super) tried: BTreeSet<ProcessId>,
}

impl Audit {
    pub(super) fn new(audited: Vec<u32>) -> Self {
        let open = audited.into_iter().map(|replica| (replica, OpenAudit::default())).collect();
        Self { open, due: BTreeSet::new(), given: BTreeMap::new() }
    }

    /// Whether nothing more is waited for.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a shard lacks a result.
    pub(super) fn is_open(&self, shard: Block) -> bool {
        self.open.contains_key(&replica_of(shard))
    }

    /// Whether a shard waits for a worker for its second copy.
    pub(super) fn is_due(&self, shard: Block) -> bool {
        self.due.contains(&replica_of(shard))
    }

    /// Records that a process has computed these replicas. Returns those that two processes have
    /// computed now.
    pub(super) fn answer(
        &mut self,
        replicas: std::ops::Range<u32>,
        process: ProcessId,
    ) -> Vec<u32> {
        let mut answered = Vec::new();
        for (replica, open) in self.open.range_mut(replicas) {
            match open.first {
                None => {
                    open.first = Some(process);
                    self.due.insert(*replica);
                }
                Some(first) if first == process => {}
                Some(_) => answered.push(*replica),
            }
        }
        answered.iter().for_each(|replica| self.close(*replica));
        answered
    }

    /// Records that assigned second copies have ended, with or without a result.
    pub(super) fn copies_ended<'a>(&mut self, ended: impl IntoIterator<Item = &'a Assignment>) {
        for it in ended {
            if it.is_audit && self.is_open(it.block) {
                self.due.insert(replica_of(it.block));
            }
        }
    }

    /// Number of second copies that a process may still get.
    pub(super) fn room(&self, process: ProcessId) -> u32 {
        COPIES_OF_PROCESS.saturating_sub(self.given.get(&process).copied().unwrap_or(0))
    }

    pub(super) fn handed_out(&mut self, replica: u32, process: ProcessId) {
        self.due.remove(&replica);
        *self.given.entry(process).or_default() += 1;
        if let Some(open) = self.open.get_mut(&replica) {
            open.copies += 1;
            open.tried.insert(process);
        }
    }

    pub(super) fn close(&mut self, replica: u32) {
        self.open.remove(&replica);
        self.due.remove(&replica);
    }
}

/// The replica of a block with only one replica.
fn replica_of(shard: Block) -> u32 {
    shard.start() as u32
}
