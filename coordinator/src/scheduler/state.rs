//! The state of the scheduler. The other files have its decisions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::WorkerId;

use super::active::{Active, Queued};
use super::event::Action;
use super::injected_bugs::InjectedBug;
use super::member::Member;
use super::standing::Standings;

/// Settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// Silence after which a worker is lost.
    pub heartbeat_timeout: Duration,
    /// Number of workers that one shard may kill before it fails the run. Only workers count that
    /// had announced its start and had no other block.
    pub crash_limit: u32,
    /// Errors of one shard before it fails the run.
    pub shard_error_limit: u32,
    /// Most blocks that are assigned to a worker at one time, at least 1.
    pub assignments: usize,
    /// Assignments are numbered from the next one on. A restarted coordinator begins above all
    /// numbers that workers may still use.
    pub last_assignment: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            heartbeat_timeout: common::limits::HEARTBEAT_TIMEOUT,
            crash_limit: common::limits::CRASH_LIMIT,
            shard_error_limit: common::limits::SHARD_ERROR_LIMIT,
            assignments: common::limits::ASSIGNMENTS,
            last_assignment: 0,
        }
    }
}

impl SchedulerConfig {
    /// Number of further blocks for a worker that has this many. 0 until it has finished half of
    /// its maximum, so that blocks are handed out in batches.
    pub(super) fn room_beside(&self, blocks: usize) -> usize {
        let most = self.assignments.max(1);
        if blocks <= most / 2 { most - blocks } else { 0 }
    }
}

/// See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) members: BTreeMap<WorkerId, Member>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) active: Option<Active>,
    pub(super) standings: Standings,
    pub(super) last_assignment: u64,
    pub(super) actions: VecDeque<Action>,
    #[cfg(any(test, feature = "injected_bugs"))]
    plant: Option<InjectedBug>,
}

impl Scheduler {
    /// A scheduler without workers or runs.
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            active: None,
            standings: Standings::default(),
            last_assignment: config.last_assignment,
            actions: VecDeque::new(),
            #[cfg(any(test, feature = "injected_bugs"))]
            plant: None,
        }
    }
}

#[cfg(any(test, feature = "injected_bugs"))]
impl Scheduler {
    /// A scheduler with an injected bug.
    pub fn with_bug(config: SchedulerConfig, plant: InjectedBug) -> Self {
        Self { plant: Some(plant), ..Self::new(config) }
    }

    /// Whether this bug is enabled.
    pub(super) fn has(&self, plant: InjectedBug) -> bool {
        self.plant == Some(plant)
    }
}

#[cfg(not(any(test, feature = "injected_bugs")))]
impl Scheduler {
    /// No bug can be enabled.
    pub(super) const fn has(&self, _: InjectedBug) -> bool {
        false
    }
}
