//! The examples of assignments: which chunks they need, which of them must be
//! asked for, and reading from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::{DatasetError, ExampleSource, SplitManifest};
use common::id::{Block, RunId};
use common::plan::{EpochOrder, RunPlan, Step};
use common::spec::Split;

/// Chunks in one request.
pub(super) const CHUNKS_PER_REQUEST: usize = 16;

/// Chunks asked for and not yet received, at most: enough to keep the link
/// busy, few enough that they do not delay the states behind them.
const CHUNKS_IN_FLIGHT: usize = 2 * CHUNKS_PER_REQUEST;

/// The chunks of a split that one assignment reads.
#[derive(Debug)]
pub(super) struct PinnedChunks {
    /// The split.
    pub(super) split: Split,
    /// Its manifest.
    pub(super) manifest: Arc<SplitManifest>,
    /// By place in the manifest.
    pub(super) chunks: BTreeMap<usize, Bytes>,
}

impl ExampleSource for PinnedChunks {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        features: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DatasetError> {
        for &example in examples {
            let place = self.manifest.chunk_of(example);
            let chunk = self.chunks.get(&place).filter(|_| split == self.split);
            let chunk = chunk.ok_or(DatasetError::MissingChunk(place, split))?;
            self.manifest.read_example(chunk, example, features, labels);
        }
        Ok(())
    }
}

/// Places of the chunks that hold the examples of `block`, ascending.
pub(super) fn needed_chunks(
    plan: &RunPlan,
    step: &Step,
    block: Block,
    order: Option<&EpochOrder>,
    manifest: &SplitManifest,
) -> Vec<usize> {
    let mut needed = vec![false; manifest.chunks.len()];
    for replica in block.replicas(step.replicas) {
        let positions = plan.positions(step, replica);
        match order {
            Some(order) => {
                for example in order.examples(positions) {
                    needed[manifest.chunk_of(example)] = true;
                }
            }
            None if positions.is_empty() => {}
            None => {
                let last = manifest.chunk_of(positions.end - 1);
                needed[manifest.chunk_of(positions.start)..=last].fill(true);
            }
        }
    }
    needed.iter().enumerate().filter_map(|(place, needed)| needed.then_some(place)).collect()
}

/// A chunk on its way: run, split, place.
pub(super) type Wanted = (RunId, Split, u32);

/// Asks for chunks, each once, a bounded number at a time.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeSet<Wanted>,
    in_flight: BTreeSet<Wanted>,
    /// Those that have come and are being checked: they count as being on their way.
    checking: BTreeSet<Wanted>,
}

impl Requests {
    /// Wants a chunk, unless it is wanted already.
    pub(super) fn want(&mut self, chunk: Wanted) {
        if !self.in_flight.contains(&chunk) && !self.checking.contains(&chunk) {
            self.waiting.insert(chunk);
        }
    }

    /// Takes in that a chunk has come, to be checked. Whether it was asked for.
    pub(super) fn received(&mut self, chunk: Wanted) -> bool {
        let is_wanted = self.in_flight.remove(&chunk);
        if is_wanted {
            self.checking.insert(chunk);
        }
        is_wanted
    }

    /// Takes in that a chunk is checked.
    pub(super) fn checked(&mut self, chunk: &Wanted) {
        self.checking.remove(chunk);
    }

    /// The next request to send now, if any: chunks of one split.
    pub(super) fn next(&mut self) -> Option<(RunId, Split, Vec<u32>)> {
        let on_their_way = self.in_flight.len() + self.checking.len();
        if on_their_way + CHUNKS_PER_REQUEST > CHUNKS_IN_FLIGHT {
            return None;
        }
        let (run, split, _) = *self.waiting.first()?;
        let chunks: Vec<u32> = self
            .waiting
            .range((run, split, 0)..=(run, split, u32::MAX))
            .take(CHUNKS_PER_REQUEST)
            .map(|chunk| chunk.2)
            .collect();
        for place in &chunks {
            self.waiting.remove(&(run, split, *place));
            self.in_flight.insert((run, split, *place));
        }
        Some((run, split, chunks))
    }

    /// Forgets all but what is here: the connection is gone. Who still needs a chunk
    /// wants it anew once its run is open again.
    pub(super) fn disconnected(&mut self) {
        self.waiting.clear();
        self.in_flight.clear();
    }

    /// Forgets a run.
    pub(super) fn forget(&mut self, run: RunId) {
        self.waiting.retain(|chunk| chunk.0 != run);
        self.in_flight.retain(|chunk| chunk.0 != run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_is_asked_for_once_and_few_are_in_flight() {
        let run = RunId(1);
        let mut requests = Requests::default();
        for place in (0..40).chain(0..40) {
            requests.want((run, Split::Train, place));
        }
        let mut asked = Vec::new();
        while let Some((_, split, places)) = requests.next() {
            assert_eq!(split, Split::Train);
            assert!(places.len() <= CHUNKS_PER_REQUEST);
            asked.extend(places);
        }
        assert_eq!(asked, (0..CHUNKS_IN_FLIGHT as u32).collect::<Vec<_>>());
        requests.want((run, Split::Train, 0));
        for place in &asked {
            assert!(requests.received((run, Split::Train, *place)));
            requests.want((run, Split::Train, *place));
        }
        assert_eq!(requests.next(), None, "they are being checked");
        asked.iter().for_each(|place| requests.checked(&(run, Split::Train, *place)));
        assert!(!requests.received((run, Split::Train, 0)));
        assert_eq!(requests.next(), Some((run, Split::Train, (32..40).collect())));
    }

    #[test]
    fn a_lost_connection_and_a_closed_run_end_requests() {
        let run = RunId(1);
        let mut requests = Requests::default();
        requests.want((run, Split::Test, 3));
        assert_eq!(requests.next(), Some((run, Split::Test, vec![3])));
        requests.want((run, Split::Test, 3));
        assert_eq!(requests.next(), None, "it is on its way");
        requests.disconnected();
        requests.want((run, Split::Test, 3));
        assert_eq!(requests.next(), Some((run, Split::Test, vec![3])));
        requests.want((run, Split::Test, 4));
        requests.forget(run);
        assert_eq!(requests.next(), None);
    }
}
