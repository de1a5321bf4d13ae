//! A worker in memory, with a real worker's arithmetic and without waiting.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use common::dataset::{DatasetError, ExampleBuffer, ExampleSource, SplitManifest};
use common::digest::Digest;
use common::id::{AssignmentId, Block, StepId};
use common::limits;
use common::merge::{MergeTree, Partial, segment_hash};
use common::model::{DataShape, Model, TargetType};
use common::plan::RunPlan;
use common::shard::{self, ShardInput};
use common::spec::{RunSpec, Split};
use common::state::{ElementType, Layout, NetworkState, Segment};
use common::wire::message::{BlockDone, FromWorker, ShardDone, ToWorker};

use super::test_model;

/// Chunks, as a source of examples.
#[derive(Default)]
struct Chunks {
    manifests: BTreeMap<Split, SplitManifest>,
    chunks: BTreeMap<(Split, usize), Bytes>,
}

impl ExampleSource for Chunks {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError> {
        let manifest = &self.manifests[&split];
        for example in examples {
            let chunk = &self.chunks[&(split, manifest.chunk_of(*example))];
            manifest.read_example(chunk, *example, into);
        }
        Ok(())
    }
}

/// A run that a [`TestWorker`] has opened.
struct KnownRun {
    plan: RunPlan,
    model: Box<dyn Model>,
    layout: Layout,
}

/// A worker that does one thing at a time, and returns its messages when asked: nothing here waits.
pub(super) struct FakeWorker {
    said: Vec<FromWorker>,
    run: Option<KnownRun>,
    data: Chunks,
    incoming: Option<(StepId, NetworkState)>,
    bases: BTreeMap<StepId, Arc<NetworkState>>,
    assigned: Vec<(AssignmentId, StepId, Block)>,
    kept: BTreeMap<(StepId, Block), Partial>,
    /// Whether the next payload is changed in transit.
    alters_next: bool,
    lie: Lie,
}

/// The error in all messages of a worker, under correct digests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Lie {
    #[default]
    Nothing,
    /// A value of its partials is NaN.
    NotANumber,
    /// A block has an example more than it has.
    Weight,
    /// A shard of its block is missing.
    Shards,
    /// Its shards fail before it reports their results.
    Failure,
    /// It announces partials, and never sends them.
    Mute,
    /// It claims that the block beside its own, which was given to others, is done too.
    Beside,
}

impl FakeWorker {
    pub(super) fn new(lie: Lie) -> Self {
        Self {
            said: Vec::new(),
            run: None,
            data: Chunks::default(),
            incoming: None,
            bases: BTreeMap::new(),
            assigned: Vec::new(),
            kept: BTreeMap::new(),
            alters_next: false,
            lie,
        }
    }

    /// A worker whose first partial is changed in transit.
    pub(super) fn altered() -> Self {
        Self { alters_next: true, ..Self::new(Lie::Nothing) }
    }

    /// Its messages since the last call.
    pub(super) fn take_said(&mut self) -> Vec<FromWorker> {
        std::mem::take(&mut self.said)
    }

    /// Processes a block that it was given, if it has one and everything that the block needs.
    pub(super) fn work(&mut self) -> bool {
        let Some((assignment, step, block)) = self.next_block() else { return false };
        if self.lie == Lie::Failure {
            let (replica, error) = (block.start() as u32, "so it says".to_owned());
            let failed = FromWorker::ShardFailed { assignment, step, replica, fatal: false, error };
            self.said.push(failed);
        }
        self.process(step, block);
        true
    }

    /// Handles a message.
    pub(super) fn hear(&mut self, message: ToWorker) {
        match message {
            ToWorker::OpenRun { run, spec, train, test, layout, .. } => {
                let spec = RunSpec::from_toml(&spec).unwrap();
                let plan = RunPlan::new(&spec, train.size(), test.examples).unwrap();
                let shape = DataShape::new(1, TargetType::Classes(1));
                let model = test_model::registry().build("toy", &spec.parameters, shape, spec.seed);
                for (split, manifest) in [(Split::Train, train), (Split::Test, test)] {
                    let chunks = (0..manifest.chunks.len() as u32).collect();
                    self.said.push(FromWorker::NeedChunks { run, split, chunks });
                    self.data.manifests.insert(split, manifest);
                }
                self.run = Some(KnownRun { plan, model: model.unwrap(), layout });
            }
            ToWorker::Chunk { split, chunk, payload, .. } => {
                self.data.manifests[&split].check_chunk(chunk as usize, &payload).unwrap();
                self.data.chunks.insert((split, chunk as usize), payload);
            }
            ToWorker::StateSegment { step, segment, payload } => {
                let layout = &self.run.as_ref().unwrap().layout;
                if segment == 0 {
                    self.incoming = Some((step, NetworkState::zeros(layout).unwrap()));
                }
                let segments = layout.state_segments();
                let (of, state) = self.incoming.as_mut().unwrap();
                assert_eq!(*of, step);
                let index = segment as usize;
                state.write_segment(index, &segments[index], &payload).unwrap();
                if index + 1 == segments.len() {
                    let (_, state) = self.incoming.take().unwrap();
                    self.bases.insert(step, Arc::new(state));
                    self.forget_before(step);
                }
            }
            ToWorker::OffersMemory { .. } => {}
            ToWorker::StateInMemory { .. } | ToWorker::SlotsRead { .. } => {
                panic!("it shares no memory: {message:?}")
            }
            ToWorker::SameState { step, as_of } => {
                let base = self.bases[&as_of].clone();
                self.bases.insert(step, base);
            }
            ToWorker::Assign { assignment, step, block, confirm, .. } => {
                if confirm {
                    self.said.push(FromWorker::Started { assignment });
                }
                let run = self.run.as_ref().unwrap();
                let replicas = run.plan.step(step.index).unwrap().replicas;
                let beside = Block { index: block.index ^ 1, ..block };
                let is_one =
                    !beside.replicas(replicas).is_empty() && block != Block::root(replicas);
                if self.lie == Lie::Beside && is_one {
                    self.assigned.push((assignment, step, beside));
                }
                self.assigned.push((assignment, step, block));
            }
            ToWorker::Pull { .. } if self.lie == Lie::Mute => {}
            ToWorker::Pull { step, block, first, count } => {
                let layout = &self.run.as_ref().unwrap().layout;
                let segments = layout.merge_segments();
                for segment in first..first + count {
                    let partial = &self.kept[&(step, block)];
                    let mut payload = self.lie.told(partial, layout, &segments[segment as usize]);
                    flip_a_bit(&mut payload, &mut self.alters_next);
                    let payload = payload.into();
                    let piece = FromWorker::PartialSegment { step, block, segment, payload };
                    self.said.push(piece);
                }
            }
            ToWorker::StepDone { step } => {
                self.bases.remove(&step);
                self.kept.retain(|(of, _), _| *of != step);
                self.assigned.retain(|(_, of, _)| *of != step);
            }
            ToWorker::CloseRun { .. } => {
                self.bases.clear();
                self.assigned.clear();
                self.data = Chunks::default();
            }
            ToWorker::Revoke { .. } | ToWorker::Heartbeat | ToWorker::Goodbye { .. } => {}
        }
    }

    /// Once a step has its base, all before it are over.
    fn forget_before(&mut self, step: StepId) {
        self.bases.retain(|of, _| *of >= step);
        self.kept.retain(|(of, _), _| *of >= step);
        self.assigned.retain(|(_, of, _)| *of >= step);
    }

    /// A block that can be processed now.
    fn next_block(&mut self) -> Option<(AssignmentId, StepId, Block)> {
        let wanted: usize = self.data.manifests.values().map(|it| it.chunks.len()).sum();
        if self.data.chunks.len() < wanted {
            return None;
        }
        let ready = self.assigned.iter().position(|(_, step, _)| self.bases.contains_key(step))?;
        Some(self.assigned.remove(ready))
    }

    fn process(&mut self, id: StepId, block: Block) {
        let run = self.run.as_ref().unwrap();
        let step = run.plan.step(id.index).unwrap();
        let order = run.plan.order(&step);
        let base = &*self.bases[&id];
        let (plan, data) = (&run.plan, &self.data);
        let input = ShardInput { plan, step: &step, order: order.as_ref(), base, data };
        let mut tree = MergeTree::of_block(block, step.replicas);
        let mut shards = Vec::new();
        for replica in block.replicas(step.replicas) {
            let mut instance = run.model.replica().unwrap();
            let go_on = &mut |_, _| ControlFlow::Continue(());
            let partial = shard::run(&input, replica, instance.as_mut(), go_on).unwrap();
            let digest = match &partial {
                Some(partial) => {
                    let segments = run.layout.merge_segments();
                    let told = |segment| self.lie.told(partial, &run.layout, segment);
                    let hashes = segments.iter().map(|segment| segment_hash(&told(segment)));
                    let digest = Partial::digest_of(partial.weight, hashes);
                    Partial::shard_digest_of(digest, partial.results.digest())
                }
                None => Partial::shard_digest(None, &run.layout),
            };
            shards.push(ShardDone { digest, compute_us: 1 });
            tree.insert(Block::of_replica(replica), partial);
        }
        let partial = tree.into_root().unwrap_or_else(|| Partial {
            tensors: vec![None; run.layout.tensors.len()],
            ..Default::default()
        });
        let partial_bytes = partial.encoded_bytes(&run.layout);
        let is_inline = partial_bytes <= limits::INLINE_PARTIAL_BYTES;
        let mut hashes = Vec::new();
        let mut inline = Vec::new();
        for segment in &run.layout.merge_segments() {
            let payload = self.lie.told(&partial, &run.layout, segment);
            hashes.push(segment_hash(&payload));
            if is_inline {
                inline.put_u32(payload.len() as u32);
                inline.extend(payload);
            }
        }
        if is_inline {
            flip_a_bit(&mut inline, &mut self.alters_next);
        }
        let mut done = BlockDone {
            step: id,
            block,
            weight: partial.weight,
            results: partial.results.clone(),
            digest: Digest::of(b""),
            shards,
            partial_bytes,
            compute_us: 1,
            is_inline,
            payload: if is_inline {
                inline.into()
            } else {
                hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect()
            },
        };
        match self.lie {
            Lie::Weight => done.weight += 1,
            Lie::Shards => drop(done.shards.pop()),
            Lie::Nothing | Lie::NotANumber | Lie::Failure | Lie::Mute | Lie::Beside => {}
        }
        done.digest = done.digest_of(hashes);
        self.kept.insert((id, block), partial);
        self.said.push(FromWorker::BlockDone(done));
    }
}

impl Lie {
    /// The encoding of a segment.
    fn told(self, partial: &Partial, layout: &Layout, segment: &Segment) -> Vec<u8> {
        let mut payload = partial.segment(layout, segment);
        let is_f32 = layout.tensors[segment.tensor].element == ElementType::F32;
        if let Some(value) = payload.last_chunk_mut::<4>().filter(|_| is_f32)
            && self == Self::NotANumber
        {
            *value = f32::NAN.to_le_bytes();
        }
        payload
    }
}

/// Flips a bit of the last value, once.
fn flip_a_bit(payload: &mut [u8], flips: &mut bool) {
    if std::mem::take(flips)
        && let Some(value) = payload.last_chunk_mut::<4>()
    {
        value[0] ^= 1;
    }
}
