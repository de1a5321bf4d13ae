//! [`EpochOrder`]: in which order an epoch takes its examples.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What the stream is for. Another use of the same seed takes another text,
/// and so gets other numbers.
const PURPOSE: [u8; 16] = *b"samebit/order/01";

/// The order of the training examples in one epoch: a permutation keyed by
/// (seed, epoch), by Fisher and Yates over a ChaCha8 stream.
///
/// The outcome of every run depends on it, so it is fixed to the last detail:
/// - the ChaCha8 key is the seed and the epoch (u64, little-endian), then the
///   16 bytes `samebit/order/01`; stream 0, from its first 32-bit word;
/// - the list starts as 0, 1, 2, …; for `i` from the last place down to 1,
///   places `i` and `j` change, where `j` is drawn from `0..=i`;
/// - a draw from `n` numbers takes words `w` until one is below the largest
///   multiple of `n` that 2³² holds, and is `w mod n` (no number is favoured).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOrder {
    order: Vec<u32>,
}

impl EpochOrder {
    /// The order of `examples` examples, at most
    /// [`EXAMPLES`](crate::limits::EXAMPLES).
    pub fn new(seed: u64, epoch: u64, examples: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        key[16..].copy_from_slice(&PURPOSE);
        let mut stream = ChaCha8Rng::from_seed(key);

        let examples = u32::try_from(examples).expect("limits::EXAMPLES fits 32 bits");
        let mut order: Vec<u32> = (0..examples).collect();
        for i in (1..order.len()).rev() {
            let j = draw(&mut stream, i as u32 + 1);
            order.swap(i, j as usize);
        }
        Self { order }
    }

    /// The examples at these positions.
    pub fn examples(&self, positions: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.order[positions.start as usize..positions.end as usize].iter().map(|at| u64::from(*at))
    }
}

/// A number below `n`, from 1.
fn draw(stream: &mut ChaCha8Rng, n: u32) -> u32 {
    // 2³² mod n words at the top would favour the small numbers.
    let rejected = n.wrapping_neg() % n;
    loop {
        let word = stream.next_u32();
        if word <= u32::MAX - rejected {
            return word % n;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Digest;

    fn order(seed: u64, epoch: u64, examples: u64) -> Vec<u64> {
        EpochOrder::new(seed, epoch, examples).examples(0..examples).collect()
    }

    /// A change of these numbers changes the outcome of every run. They were
    /// worked out apart from this code, from the description above.
    #[test]
    fn orders_are_pinned() {
        assert_eq!(order(1, 0, 10), [3, 2, 6, 4, 8, 7, 1, 5, 0, 9]);
        assert_eq!(order(1, 1, 10), [8, 0, 2, 9, 3, 7, 4, 1, 5, 6]);
        assert_eq!(order(u64::MAX, u64::MAX, 5), [1, 0, 2, 4, 3]);
        assert_eq!(order(1, 0, 1), [0]);
        assert_eq!(order(1, 0, 0), Vec::<u64>::new());
        let bytes: Vec<u8> = order(1, 3, 1437).into_iter().flat_map(u64::to_le_bytes).collect();
        let digest = "29d70220bd11ffb4c59d2f302a140112a7dbaab027a811e3e7d5148efd5f5c92";
        assert_eq!(Digest::of(&bytes).to_string(), digest);
    }

    #[test]
    fn draws_favour_no_number() {
        // With n = 3·2³⁰ a quarter of the words is rejected; without that,
        // the first third would come up twice as often.
        let mut stream = ChaCha8Rng::from_seed([7; 32]);
        let n = 3 << 30;
        let low = (0..30_000).filter(|_| draw(&mut stream, n) < 1 << 30).count();
        assert!((9_600..10_400).contains(&low), "{low} of 30000 in the first third");
    }

    proptest! {
        #[test]
        fn every_order_is_a_permutation(seed: u64, epoch: u64, examples in 0..500u64) {
            let mut examples_seen = order(seed, epoch, examples);
            examples_seen.sort_unstable();
            prop_assert!(examples_seen.into_iter().eq(0..examples));
        }
    }
}
