//! Properties of the merge: all six rules on all types, whole and by segment, over random
//! clusters. A case is a function of its seed.

mod case;
mod large;
mod refused;
mod rules;

use proptest::prelude::*;

use self::case::{Random, blocks, case, short_segments, state};
use super::*;
use crate::id::Block;
use crate::state::NetworkState;

proptest! {
    #[test]
    fn any_split_and_order_gives_the_same_bits(seed: u64) {
        let random = &mut Random(seed);
        let case = case(random);
        let expected = case.merged(case.root());
        let next = finish(&case.base, expected.as_ref());
        let layout = case.base.layout();

        // Workers merge their blocks, of replicas in any order.
        let mut partials = Vec::new();
        for block in blocks(random, case.root(), case.count()) {
            let mut tree = MergeTree::of_block(block, case.count());
            for block in blocks(random, block, case.count()) {
                let mut replicas: Vec<u32> = block.replicas(case.count()).collect();
                while !replicas.is_empty() {
                    let index = replicas.swap_remove(random.below(replicas.len()));
                    tree.insert(Block::of_replica(index), case.partial(index));
                }
            }
            prop_assert!(tree.is_complete());
            partials.push((block, tree.into_root()));
        }

        // The coordinator merges the blocks whole.
        let mut tree = MergeTree::new(case.count());
        for (block, partial) in &partials {
            prop_assert!(!tree.is_complete());
            tree.insert(*block, partial.clone());
        }
        let whole = tree.into_root();
        prop_assert_eq!(&whole, &expected);
        prop_assert_eq!(finish(&case.base, whole.as_ref()).digest(), next.digest());

        // The coordinator merges segment by segment, in any order.
        let mut segments = short_segments(random, &layout);
        let mut by_segment = NetworkState::zeros(&layout).unwrap();
        copy_kept(&case.base, &mut by_segment);
        while !segments.is_empty() {
            let segment = segments.swap_remove(random.below(segments.len()));
            let mut tree = MergeTree::new(case.count());
            for (block, partial) in &partials {
                let value = partial.as_ref().and_then(|partial| {
                    let payload = partial.segment(&layout, &segment);
                    Contribution::decode(&layout, 0, &segment, partial.weight, &payload.into()).unwrap()
                });
                tree.insert(*block, value);
            }
            finish_segment(&case.base, &segment, tree.into_root().as_ref(), &mut by_segment);
        }
        prop_assert_eq!(by_segment.digest(), next.digest());
    }

    #[test]
    fn segments_come_back_as_they_went(seed: u64) {
        let random = &mut Random(seed);
        let case = case(random);
        let Some(partial) = case.merged(case.root()) else { return Ok(()) };
        let layout = case.base.layout();
        let segments = layout.merge_segments();
        let mut bytes = 0;
        let mut tensors = vec![None; layout.tensors.len()];
        for (index, segment) in segments.iter().enumerate() {
            let payload = partial.segment(&layout, segment);
            bytes += payload.len() as u64;
            tensors[segment.tensor] =
                Contribution::decode(&layout, index, segment, partial.weight, &payload.into()).unwrap();
        }
        prop_assert_eq!(bytes, partial.encoded_bytes(&layout));
        let back = Partial { tensors, ..partial.clone() };
        prop_assert_eq!(back.digest(&layout), partial.digest(&layout));
        let next = finish(&case.base, Some(&partial));
        prop_assert_eq!(finish(&case.base, Some(&back)).digest(), next.digest());
        let other = Partial { weight: partial.weight + 1, ..partial.clone() };
        prop_assert_ne!(other.digest(&layout), partial.digest(&layout));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        seed: u64,
        mut payload in prop::collection::vec(any::<u8>(), 0..200),
        count in 0..9_u8,
    ) {
        // A small count of units first gets further in.
        if let Some(bytes) = payload.first_chunk_mut::<4>() {
            *bytes = [count, 0, 0, 0];
        }
        let layout = state(&mut Random(seed)).layout();
        let payload = bytes::Bytes::from(payload);
        for (index, segment) in layout.merge_segments().iter().enumerate() {
            let decoded = Contribution::decode(&layout, index, segment, 5, &payload);
            if let Ok(Some(contribution)) = decoded {
                let mut tensors = vec![None; layout.tensors.len()];
                tensors[segment.tensor] = Some(contribution);
                let partial = Partial { weight: 5, results: Results::default(), tensors };
                prop_assert_eq!(partial.segment(&layout, segment), payload.to_vec());
            }
        }
    }
}
