//! The examples of assignments: the chunks that they need, the requests for missing chunks, and the
//! copies of the examples.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::dataset::{DatasetError, ExampleBuffer, ExampleSource, SplitManifest};
use common::id::{Block, RunId};
use common::limits;
use common::plan::{EpochOrder, RunPlan, Step};
use common::spec::Split;

/// Chunks in one request.
pub(super) const CHUNKS_PER_REQUEST: usize = 16;

/// Most chunks that are requested and not yet received: enough to keep the link busy, few enough
/// not to delay the states behind them.
const CHUNKS_IN_FLIGHT: usize = 2 * CHUNKS_PER_REQUEST;

/// The examples that one assignment reads, copied out of their chunks: this takes only the memory
/// of the examples, however many chunks they are spread over.
#[derive(Debug)]
pub(super) struct CopiedExamples {
    split: Split,
    manifest: Arc<SplitManifest>,
    /// Their numbers, ascending.
    examples: Vec<u64>,
    /// The bytes of each, in that order; zeros until the chunk has arrived.
    copies: Vec<u8>,
}

impl CopiedExamples {
    /// Memory for these examples, in any order. None is copied yet.
    pub(super) fn new(split: Split, manifest: Arc<SplitManifest>, mut examples: Vec<u64>) -> Self {
        examples.sort_unstable();
        let copies = vec![0; examples.len() * manifest.example_bytes()];
        Self { split, manifest, examples, copies }
    }

    /// Indexes of the chunks that contain them, ascending.
    pub(super) fn chunks(&self) -> Vec<usize> {
        let mut places: Vec<usize> =
            self.examples.iter().map(|example| self.manifest.chunk_of(*example)).collect();
        places.dedup();
        places
    }

    /// Copies the examples of a chunk, which was checked before.
    pub(super) fn copy_from(&mut self, place: usize, chunk: &[u8]) {
        let manifest = &self.manifest;
        let first = self.examples.partition_point(|example| manifest.chunk_of(*example) < place);
        let size = manifest.example_bytes();
        let rest = self.examples[first..].iter();
        let of_chunk = rest.take_while(|example| manifest.chunk_of(**example) == place);
        for (example, copy) in of_chunk.zip(self.copies[first * size..].chunks_exact_mut(size)) {
            manifest.copy_example(chunk, *example, copy);
        }
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.copies.len() + size_of_val(&self.examples[..])) as u64
    }
}

impl ExampleSource for CopiedExamples {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError> {
        let size = self.manifest.example_bytes();
        for example in examples {
            let found = self.examples.binary_search(example).ok().filter(|_| split == self.split);
            let chunk = self.manifest.chunk_of(*example);
            let place = found.ok_or(DatasetError::MissingChunk(chunk, split))?;
            let copy = &self.copies[place * size..(place + 1) * size];
            self.manifest.read_copy(copy, into);
        }
        Ok(())
    }
}

/// The examples of a block's shards.
pub(super) fn needed_examples(
    plan: &RunPlan,
    step: &Step,
    block: Block,
    order: Option<&EpochOrder>,
) -> Vec<u64> {
    let mut examples = Vec::new();
    for replica in block.replicas(step.replicas) {
        let positions = plan.positions(step, replica);
        match order {
            Some(order) => examples.extend(order.examples(positions)),
            None => examples.extend(positions),
        }
    }
    examples
}

/// A requested chunk: run, split, index.
pub(super) type Wanted = (RunId, Split, u32);

/// The chunks on their way may take one part in this many of the memory for examples: each is in
/// memory twice while it is checked.
const SHARES: u64 = 4;

/// Requests chunks, each once, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Requests {
    /// Most chunks on their way.
    most: usize,
    waiting: BTreeSet<Wanted>,
    in_flight: BTreeSet<Wanted>,
    /// Chunks that have arrived and are being checked: they count as on their way.
    checking: BTreeSet<Wanted>,
}

impl Requests {
    /// No requests yet, for a worker with this many bytes of memory for examples.
    pub(super) fn new(room: u64) -> Self {
        let chunks = room / SHARES / limits::PAYLOAD_BYTES as u64;
        Self {
            most: chunks.clamp(1, CHUNKS_IN_FLIGHT as u64) as usize,
            waiting: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            checking: BTreeSet::new(),
        }
    }

    /// Requests a chunk, unless it is requested already.
    pub(super) fn want(&mut self, chunk: Wanted) {
        if !self.in_flight.contains(&chunk) && !self.checking.contains(&chunk) {
            self.waiting.insert(chunk);
        }
    }

    /// Notes that a chunk has arrived, and is being checked. Returns whether it was requested.
    pub(super) fn received(&mut self, chunk: Wanted) -> bool {
        let is_wanted = self.in_flight.remove(&chunk);
        if is_wanted {
            self.checking.insert(chunk);
        }
        is_wanted
    }

    /// Notes that a chunk was checked.
    pub(super) fn checked(&mut self, chunk: &Wanted) {
        self.checking.remove(chunk);
    }

    /// The next request to send now, if any: chunks of one split.
    pub(super) fn next(&mut self) -> Option<(RunId, Split, Vec<u32>)> {
        let on_their_way = self.in_flight.len() + self.checking.len();
        let together = self.most.min(CHUNKS_PER_REQUEST);
        if on_their_way + together > self.most {
            return None;
        }
        let (run, split, _) = *self.waiting.first()?;
        let chunks: Vec<u32> = self
            .waiting
            .range((run, split, 0)..=(run, split, u32::MAX))
            .take(together)
            .map(|chunk| chunk.2)
            .collect();
        for place in &chunks {
            self.waiting.remove(&(run, split, *place));
            self.in_flight.insert((run, split, *place));
        }
        Some((run, split, chunks))
    }

    /// Drops all requests of chunks that have not arrived: the connection is gone. The assignments
    /// request them again once their run is open again.
    pub(super) fn disconnected(&mut self) {
        self.waiting.clear();
        self.in_flight.clear();
    }

    /// Drops the requests of a run.
    pub(super) fn forget(&mut self, run: RunId) {
        self.waiting.retain(|chunk| chunk.0 != run);
        self.in_flight.retain(|chunk| chunk.0 != run);
    }
}

#[cfg(test)]
mod tests {
    use common::dataset::{Examples, Features};

    use super::*;

    /// Chunks of three examples of two features, and a label each.
    fn split() -> Examples {
        let features = (0..20_u16).map(f32::from).collect();
        Examples::new(Features::F32(features), (0..10).collect(), 2, 10, 2.0).unwrap()
    }

    #[test]
    fn examples_outlive_the_chunks_that_they_were_copied_out_of() {
        let split = split();
        let manifest = Arc::new(SplitManifest { chunk_examples: 3, ..split.manifest() });
        // The layout of a chunk: all features, then all labels.
        let chunk = |place: usize| {
            let range = place * 3..(place * 3 + 3).min(10);
            let values = range.clone().flat_map(|at| [2 * at, 2 * at + 1]);
            let mut bytes: Vec<u8> = values.flat_map(|at| (at as f32).to_le_bytes()).collect();
            bytes.extend(range.flat_map(|at| (at as u32).to_le_bytes()));
            bytes
        };
        let wanted = [9, 0, 7, 1, 8];
        let mut copied = CopiedExamples::new(Split::Train, manifest, wanted.to_vec());
        assert_eq!(copied.chunks(), [0, 2, 3]);
        assert_eq!(copied.bytes(), 5 * (2 * 4 + 4) + 5 * 8);
        for place in [3, 0, 2, 1, 2] {
            copied.copy_from(place, &chunk(place));
        }
        let mut gathered = ExampleBuffer::default();
        copied.gather(Split::Train, &wanted, &mut gathered).unwrap();
        assert_eq!(gathered.classes, wanted.map(|at| at as u32));
        assert_eq!(gathered.features, [9.0, 9.5, 0.0, 0.5, 7.0, 7.5, 1.0, 1.5, 8.0, 8.5]);
        for (split, example) in [(Split::Train, 3), (Split::Test, 0)] {
            let missing = copied.gather(split, &[example], &mut gathered);
            assert!(matches!(missing, Err(DatasetError::MissingChunk(..))), "{missing:?}");
        }
    }

    #[test]
    fn each_chunk_is_asked_for_once_and_few_are_in_flight() {
        let run = RunId(1);
        let mut requests = Requests::new(u64::MAX);
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
    fn who_has_little_room_asks_for_few_at_a_time() {
        for (room, most) in [(0, 1), (16 << 20, 4), (64 << 20, 16), (1 << 40, 32)] {
            let mut requests = Requests::new(room);
            (0..40).for_each(|place| requests.want((RunId(1), Split::Train, place)));
            let asked = std::iter::from_fn(|| requests.next()).map(|(.., places)| places.len());
            assert_eq!(asked.sum::<usize>(), most, "{room} bytes");
        }
    }

    #[test]
    fn a_lost_connection_and_a_closed_run_end_requests() {
        let run = RunId(1);
        let mut requests = Requests::new(u64::MAX);
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
