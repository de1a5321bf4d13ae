//! The worker's memory: its default limit, and the number of shards that fit.

use common::memory;

/// Assumed if the system does not report its memory.
const UNKNOWN_MEMORY: u64 = 2 << 30;

/// The memory that shards of a run need, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardMemory {
    /// Of a state.
    pub(super) state: u64,
    /// Of an instance of the model, as the model declares it (`replica_bytes`).
    pub(super) replica: u64,
}

impl ShardMemory {
    /// Of all shards: the base of the current step, and the next base while it arrives.
    fn bases(self) -> u64 {
        self.state.saturating_mul(2)
    }

    /// Of each shard at work: its instance and, at its end, a contribution as large as the state.
    fn shard(self) -> u64 {
        self.replica.saturating_add(self.state)
    }

    /// Number of shards that may run at the same time within `limit` bytes, from 1 to `slots`. The
    /// cache of examples is subtracted first.
    ///
    /// At least one shard runs, even if it does not fit: otherwise the run could never finish, and
    /// the limit is an estimate. The number of parallel shards never changes a batch, so the bits
    /// do not depend on it.
    pub(super) fn parallel_shards(self, limit: u64, cache: u64, slots: u32) -> u32 {
        let free = limit.saturating_sub(cache).saturating_sub(self.bases());
        let fit = free / self.shard().max(1);
        u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, slots.max(1))
    }

    /// The memory of one shard and of what all need, if that is more than `limit`.
    pub(super) fn beyond(self, limit: u64) -> Option<u64> {
        Some(self.bases().saturating_add(self.shard())).filter(|needed| *needed > limit)
    }
}

/// Memory that this process may use by default, in bytes: the limit of its control group or 80 % of
/// the machine's memory, whichever is less.
pub(crate) fn default_limit() -> u64 {
    let share = memory::machine().unwrap_or(UNKNOWN_MEMORY) / 5 * 4;
    memory::group().map_or(share, |limit| limit.min(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_caps_how_many_run_at_once() {
        // 1000 − 100 of cache − 2 × 50 of state leaves 800, with 150 per shard.
        let memory = ShardMemory { state: 50 * MIB, replica: 100 * MIB };
        assert_eq!(memory.parallel_shards(1000 * MIB, 100 * MIB, 64), 5);
        assert_eq!(memory.parallel_shards(1000 * MIB, 100 * MIB, 4), 4);
        assert_eq!(memory.parallel_shards(MIB, 100 * MIB, 4), 1);
        let (nothing, all) = (0, u64::MAX);
        assert_eq!(ShardMemory { state: nothing, replica: nothing }.parallel_shards(MIB, 0, 0), 1);
        assert_eq!(
            ShardMemory { state: nothing, replica: nothing }.parallel_shards(u64::MAX, 0, 3),
            3
        );
        assert_eq!(ShardMemory { state: all, replica: all }.parallel_shards(u64::MAX, 0, 3), 1);
    }

    #[test]
    fn one_shard_that_does_not_fit_is_noticed() {
        let memory = ShardMemory { state: 50 * MIB, replica: 100 * MIB };
        assert_eq!(memory.beyond(250 * MIB), None);
        assert_eq!(memory.beyond(249 * MIB), Some(250 * MIB));
    }

    #[test]
    fn the_default_is_no_more_than_the_system_allows() {
        assert!(default_limit() > 0 && default_limit() <= memory::hard_limit());
    }
}
