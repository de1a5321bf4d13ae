//! States of many segments, merged on several threads.

use super::super::*;
use super::case::{Ended, Maps, Random, Tested};
use crate::id::Block;
use crate::state::{NetworkState, Tensor};

/// One tensor per rule, each of several segments and long enough for parallel
/// work.
fn large<T: Tested>(random: &mut Random) -> (NetworkState, Vec<Ended>) {
    let state = |random: &mut Random| {
        let rules = [MergeRule::Mean, MergeRule::Sum, MergeRule::Max, MergeRule::MeanBy];
        let mut tensors: Vec<_> = rules
            .map(|rule| (rule.to_string(), Tensor { data: random.reals::<T>(&[300, 1000]), rule }))
            .into();
        let data = random.reals::<T>(&[30, 10_000]);
        tensors.push(("fold".into(), Tensor { data, rule: MergeRule::Fold }));
        NetworkState::new(tensors).unwrap()
    };
    let base = state(random);
    let replicas = (0..3).map(|index| {
        let mut maps = UnitMaps::default();
        for unit in (0..10_000).filter(|unit| unit % 3 != index) {
            maps.units.push(unit);
            maps.a.push(random.value());
            maps.b.extend(random.values::<T>(30));
        }
        let examples = 1 + random.next() % 100;
        let mut ended = Ended {
            state: state(random),
            examples,
            counts: Default::default(),
            maps: Maps::new(),
            maps_f64: Maps::new(),
            gives: true,
        };
        T::maps(&mut ended).insert("fold".into(), maps);
        ended
    });
    let replicas = replicas.collect();
    (base, replicas)
}

#[test]
fn large_states_merge_the_same_on_any_number_of_threads() {
    merge_on_threads::<f32>();
    merge_on_threads::<f64>();
}

fn merge_on_threads<T: Tested>() {
    let (base, replicas) = large::<T>(&mut Random(1));
    let layout = base.layout();
    let next = |threads: usize, by_segment: bool| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let partials: Vec<Partial> = (0..)
                .zip(&replicas)
                .map(|(index, replica)| {
                    let results = Results { examples: replica.examples, ..Default::default() };
                    let (spare, mut replica) = (BufferPool::default(), replica.clone());
                    let hashed =
                        Partial::of_replica_in(&spare, &mut replica, index, &base, results);
                    let (partial, hashes) = hashed.unwrap();
                    assert_eq!(hashes, partial.segment_hashes(&base.layout()));
                    partial
                })
                .collect();
            if !by_segment {
                let mut tree = MergeTree::new(3);
                for (index, partial) in (0..).zip(partials) {
                    tree.insert(Block::of_replica(index), Some(partial));
                }
                return finish(&base, tree.into_root().as_ref()).digest();
            }
            let mut next = NetworkState::zeros(&layout).unwrap();
            for (at, segment) in layout.merge_segments().iter().enumerate() {
                let mut tree = MergeTree::new(3);
                for (index, partial) in (0..).zip(&partials) {
                    let payload = partial.segment(&layout, segment);
                    assert!(payload.len() <= crate::limits::PAYLOAD_BYTES);
                    let value =
                        Contribution::decode(&layout, at, segment, partial.weight, &payload.into());
                    tree.insert(Block::of_replica(index), value.unwrap());
                }
                finish_segment(&base, segment, tree.into_root().as_ref(), &mut next);
            }
            next.digest()
        })
    };
    let expected = next(1, false);
    for (threads, by_segment) in [(3, false), (1, true), (4, true)] {
        assert_eq!(next(threads, by_segment), expected);
    }
}
