//! What the scheduler knows. What it does about it is decided in the files beside.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::WorkerId;

use super::active::{Active, Queued};
use super::event::Action;
use super::member::Member;
use super::planted::Plant;
use super::standing::Standings;

/// Settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Silence after which a worker is lost.
    pub heartbeat_timeout: Duration,
    /// Workers that may die of one shard, each of which had said that it begins it
    /// and had nothing else, before it fails the run.
    pub crash_limit: u32,
    /// Errors of one shard before it fails the run.
    pub shard_error_limit: u32,
    /// Blocks that a worker has in hands at one time, at least 1.
    pub assignments: usize,
    /// Assignments are numbered from the next one on. A coordinator that takes
    /// another's place begins above all that workers may still have at work.
    pub last_assignment: u64,
}

impl Default for Config {
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

impl Config {
    /// Blocks that a worker may be given beside so many. None before it has ended
    /// half of the most that it may have: to hand out is work, and so is done for
    /// many at once.
    pub(super) fn room_beside(&self, blocks: usize) -> usize {
        let most = self.assignments.max(1);
        if blocks <= most / 2 { most - blocks } else { 0 }
    }
}

/// See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: Config,
    pub(super) members: BTreeMap<WorkerId, Member>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) active: Option<Active>,
    pub(super) standings: Standings,
    pub(super) last_assignment: u64,
    pub(super) actions: VecDeque<Action>,
    #[cfg(any(test, feature = "planted"))]
    plant: Option<Plant>,
}

impl Scheduler {
    /// A scheduler without workers or runs.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            active: None,
            standings: Standings::default(),
            last_assignment: config.last_assignment,
            actions: VecDeque::new(),
            #[cfg(any(test, feature = "planted"))]
            plant: None,
        }
    }
}

#[cfg(any(test, feature = "planted"))]
impl Scheduler {
    /// A scheduler with a bug.
    pub fn planted(config: Config, plant: Plant) -> Self {
        Self { plant: Some(plant), ..Self::new(config) }
    }

    /// Whether this bug is switched on.
    pub(super) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }
}

#[cfg(not(any(test, feature = "planted")))]
impl Scheduler {
    /// No bug can be switched on.
    pub(super) const fn has(&self, _: Plant) -> bool {
        false
    }
}
