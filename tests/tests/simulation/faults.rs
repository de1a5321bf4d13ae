//! What goes wrong, and the proof that it did.

use std::collections::BTreeMap;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A worker's process dies; its kernel closes the connection.
    Crash,
    /// A worker's machine dies: nobody closes anything.
    PowerLoss,
    /// A dead worker is started again.
    Restart,
    /// All workers die at once.
    MassDeath,
    /// Nothing gets through to and from several processes, from one moment on.
    RackSilent,
    /// All workers but one leave in good order.
    AllButOneLeave,
    /// Nothing gets through, either way.
    Partition,
    /// Nothing gets through, one way.
    OneWayPartition,
    /// A connection is slow for a while.
    Delay,
    /// A connection is reset: what was under way is lost.
    Reset,
    /// A message overtook one that was sent before on another connection.
    Reorder,
    /// A process that was taken for dead is back in the same run.
    Return,
    /// A result is sent a second time.
    Duplicate,
    /// A result arrived after its step was merged.
    LateResult,
    /// A worker is many times slower than others.
    SlowWorker,
    /// A worker is stopped for a while (SIGSTOP).
    Pause,
    /// A shard kills its worker, every time.
    Poison,
    /// A shard gives an error.
    ShardError,
    /// A new worker joins.
    Join,
    /// A worker leaves in good order (SIGTERM).
    Drain,
    /// A partial was to be pulled and was not there.
    PartialLost,
    /// A result, or a part of one, changed on its way.
    Altered,
    /// A worker says what makes no sense.
    Nonsense,
    /// A run is cancelled.
    Cancel,
    /// The coordinator dies and is started again, on its last durable rounds.
    CoordinatorRestart,
    /// The coordinator is stopped for a while (SIGSTOP).
    CoordinatorPause,
    /// A worker cannot work on the active run.
    Unfit,
    /// A machine computes wrong bits.
    WrongBits,
    /// Two answers of a shard differ.
    Difference,
    /// A shard is audited.
    Audited,
    /// A shard is not audited, because there is no second process.
    Unaudited,
}

impl Fault {
    pub(super) const ALL: [Self; 31] = [
        Self::Crash,
        Self::PowerLoss,
        Self::Restart,
        Self::MassDeath,
        Self::RackSilent,
        Self::AllButOneLeave,
        Self::Partition,
        Self::OneWayPartition,
        Self::Delay,
        Self::Reset,
        Self::Reorder,
        Self::Return,
        Self::Duplicate,
        Self::LateResult,
        Self::SlowWorker,
        Self::Pause,
        Self::Poison,
        Self::ShardError,
        Self::Join,
        Self::Drain,
        Self::PartialLost,
        Self::Altered,
        Self::Nonsense,
        Self::Cancel,
        Self::CoordinatorRestart,
        Self::CoordinatorPause,
        Self::Unfit,
        Self::WrongBits,
        Self::Difference,
        Self::Audited,
        Self::Unaudited,
    ];

    /// Those that are planned for a time, and not a consequence of others or
    /// a property of the cluster.
    pub(super) const PLANNED: [Self; 18] = [
        Self::Crash,
        Self::PowerLoss,
        Self::MassDeath,
        Self::RackSilent,
        Self::AllButOneLeave,
        Self::Partition,
        Self::OneWayPartition,
        Self::Delay,
        Self::Reset,
        Self::Duplicate,
        Self::Pause,
        Self::Join,
        Self::Drain,
        Self::PartialLost,
        Self::Altered,
        Self::Nonsense,
        Self::CoordinatorRestart,
        Self::CoordinatorPause,
    ];
}

/// How often each kind has fired.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    pub(super) fn fired(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    pub(super) fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}
