//! Estimates the time of a shard on each worker from finished blocks, in whole nanoseconds, so
//! that comparisons are exact.

use std::time::Duration;

use common::id::StepId;

/// The assumed time of a shard before the first measurement, when only relations matter.
const UNMEASURED_NANOS: u64 = 1_000_000;

/// Weight of a new measurement: one part in this many.
const SMOOTHING: u64 = 4;

/// The measured time of a shard on one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throughput {
    smoothed: Option<u64>,
    /// The step and the value of the last measurement.
    last: Option<(StepId, u64)>,
}

impl Throughput {
    /// Records that a block of `shards` was done in `compute` on `slots` slots.
    pub(super) fn measure(&mut self, step: StepId, shards: u32, slots: u32, compute: Duration) {
        let nanos = per_shard(shards, slots, compute);
        self.last = Some((step, nanos));
        self.smoothed = Some(match self.smoothed {
            None => nanos,
            Some(old) => old - old / SMOOTHING + nanos / SMOOTHING,
        });
    }

    /// Records that a block of `shards` is not done after `elapsed`: a lower bound.
    pub(super) fn is_at_least(&mut self, shards: u32, slots: u32, elapsed: Duration) {
        let nanos = per_shard(shards, slots, elapsed);
        self.smoothed = Some(self.smoothed.unwrap_or(0).max(nanos));
    }

    /// Reduces the estimate if the last step had no measurement, so that a worker that was slow
    /// once is tried again later.
    pub(super) fn age(&mut self, before: StepId, mean: u64) {
        if self.last.is_none_or(|(step, _)| step != before)
            && let Some(nanos) = &mut self.smoothed
        {
            *nanos = *nanos - *nanos / 16 + mean / 16;
        }
    }

    /// Nanoseconds per shard, or `mean` before the first measurement.
    pub(super) fn nanos(&self, mean: u64) -> u64 {
        self.smoothed.unwrap_or(mean).max(1)
    }
}

/// Nanoseconds per shard, with `slots` shards at a time.
fn per_shard(shards: u32, slots: u32, elapsed: Duration) -> u64 {
    let waves = u64::from(shards.div_ceil(slots.max(1)).max(1));
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    // A peer's clock is not trusted. No shard takes a year, and this limit keeps products with
    // counts of shards within u64.
    const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;
    (nanos / waves).clamp(1, YEAR)
}

/// Sums over all workers, for means with or without one of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throughputs {
    smoothed: Sum,
    in_step: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    nanos: u128,
    count: u32,
}

impl Sum {
    fn add(&mut self, nanos: u64) {
        self.nanos += u128::from(nanos);
        self.count += 1;
    }

    fn without(self, nanos: Option<u64>) -> Self {
        match nanos {
            Some(nanos) => Self { nanos: self.nanos - u128::from(nanos), count: self.count - 1 },
            None => self,
        }
    }

    fn mean(self) -> Option<u64> {
        let count = u128::from(self.count);
        (count > 0).then(|| u64::try_from(self.nanos / count).unwrap_or(u64::MAX))
    }
}

impl Throughputs {
    /// Sums up all workers' estimates; `step` is the current one, if any.
    pub(super) fn of<'a>(
        throughputs: impl Iterator<Item = &'a Throughput>,
        step: Option<StepId>,
    ) -> Self {
        let mut sums = Self::default();
        for throughput in throughputs {
            if let Some(nanos) = throughput.smoothed {
                sums.smoothed.add(nanos);
            }
            if let Some(nanos) = throughput.in_step(step) {
                sums.in_step.add(nanos);
            }
        }
        sums
    }

    /// The estimate for a worker without a measurement.
    pub(super) fn mean(&self) -> u64 {
        self.smoothed.mean().unwrap_or(UNMEASURED_NANOS)
    }

    /// The expected time of a shard, from the other workers: in this step if one has finished a
    /// block, otherwise in earlier steps. For a worker that is alone, its own time. `None` before
    /// any measurement.
    pub(super) fn expected(&self, throughput: &Throughput, step: StepId) -> Option<u64> {
        self.in_step
            .without(throughput.in_step(Some(step)))
            .mean()
            .or_else(|| self.smoothed.without(throughput.smoothed).mean())
            .or(throughput.smoothed)
    }
}

impl Throughput {
    fn in_step(&self, step: Option<StepId>) -> Option<u64> {
        self.last.filter(|(at, _)| Some(*at) == step).map(|(_, nanos)| nanos)
    }
}
