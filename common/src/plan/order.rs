//! [`EpochOrder`]: the order of the examples in an epoch.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::dataset::SplitSize;

/// The purpose of a random stream. Each use of a seed has its own text, and so its own numbers:
/// for a split as a whole, for its chunks, and for the examples of a window.
const PURPOSE: [u8; 16] = *b"samebit/order/01";
const CHUNKS: [u8; 16] = *b"samebit/chunks/1";
const WINDOW: [u8; 16] = *b"samebit/window/1";

/// How the examples of a split are shuffled in each epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shuffle {
    examples: u64,
    /// Examples in the chunks of a window.
    window_bytes: u64,
    /// Examples of a chunk, and chunks of a window; `None` if the whole split is one window.
    window: Option<(u64, u64)>,
}

impl Shuffle {
    /// A split of this size in windows of this many MiB, rounded down to whole chunks, at least
    /// one. A split that is not larger is one window.
    pub(super) fn of(size: SplitSize, window_mib: u32) -> Self {
        let SplitSize { examples, chunk_examples, example_bytes, .. } = size;
        let (window, chunk_examples) = (u64::from(window_mib) << 20, chunk_examples.max(1));
        let all_bytes = examples.saturating_mul(example_bytes);
        let is_one = all_bytes <= window;
        let chunk_bytes = chunk_examples.saturating_mul(example_bytes).max(1);
        let chunks = (window / chunk_bytes).max(1);
        let window_bytes = all_bytes.min(chunks.saturating_mul(chunk_bytes));
        Self { examples, window_bytes, window: (!is_one).then_some((chunk_examples, chunks)) }
    }

    /// Bytes of the chunks of a window.
    pub(super) fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// The order of an epoch.
    pub(super) fn order(&self, seed: u64, epoch: u64) -> EpochOrder {
        match self.window {
            None => EpochOrder::new(seed, epoch, self.examples),
            Some((chunk, window)) => {
                EpochOrder::windowed(seed, epoch, (self.examples, chunk), window)
            }
        }
    }
}

/// The order of the training examples in one epoch: a permutation keyed by
/// (seed, epoch), by Fisher and Yates over a ChaCha8 stream.
///
/// The result of every run depends on it, so it is specified exactly. If the split is one
/// window:
/// - the ChaCha8 key is the seed and the epoch (u64, little-endian), then the
///   16 bytes `samebit/order/01`; stream 0, from its first 32-bit word;
/// - the list starts as 0, 1, 2, …; for `i` from the last place down to 1,
///   the entries `i` and `j` are swapped, where `j` is drawn from `0..=i`;
/// - a draw from `n` numbers takes words `w` until one is below the largest
///   multiple of `n` within 2³², and is `w mod n` (all numbers are equally likely).
///
/// If it has more than one window:
/// - the list of its chunks, by number, is shuffled in the same way, with
///   `samebit/chunks/1` in the key;
/// - in that order, every `window` chunks form a window; the last one may have fewer. The
///   examples of a window, in the order of its chunks and within each by number, are
///   shuffled in the same way, with `samebit/window/1` in the key and the window's
///   number, from 0, as the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOrder {
    order: Vec<u32>,
}

impl EpochOrder {
    /// The order of `examples` examples, at most
    /// [`EXAMPLES`](crate::limits::EXAMPLES).
    pub fn new(seed: u64, epoch: u64, examples: u64) -> Self {
        let mut order: Vec<u32> = (0..count(examples)).collect();
        shuffle(&mut order, stream(seed, epoch, PURPOSE, 0));
        Self { order }
    }

    /// The order of examples in chunks of `chunk`, shuffled in windows of `window`
    /// chunks; both are at least 1.
    pub fn windowed(seed: u64, epoch: u64, (examples, chunk): (u64, u64), window: u64) -> Self {
        let mut chunks: Vec<u32> = (0..count(examples.div_ceil(chunk))).collect();
        shuffle(&mut chunks, stream(seed, epoch, CHUNKS, 0));
        let mut order = Vec::with_capacity(count(examples) as usize);
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        for (number, chunks) in (0..).zip(chunks.chunks(window)) {
            let first = order.len();
            for place in chunks {
                let start = u64::from(*place) * chunk;
                order.extend(start as u32..count(examples.min(start + chunk)));
            }
            shuffle(&mut order[first..], stream(seed, epoch, WINDOW, number));
        }
        Self { order }
    }

    /// The examples at these positions.
    pub fn examples(&self, positions: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.order[positions.start as usize..positions.end as usize].iter().map(|at| u64::from(*at))
    }
}

/// A number of examples, or of chunks.
fn count(examples: u64) -> u32 {
    u32::try_from(examples).expect("limits::EXAMPLES fits 32 bits")
}

fn stream(seed: u64, epoch: u64, purpose: [u8; 16], number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..].copy_from_slice(&purpose);
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(number);
    stream
}

fn shuffle(list: &mut [u32], mut stream: ChaCha8Rng) {
    for i in (1..list.len()).rev() {
        let j = draw(&mut stream, i as u32 + 1);
        list.swap(i, j as usize);
    }
}

/// A number below `n`, from 1.
fn draw(stream: &mut ChaCha8Rng, n: u32) -> u32 {
    // The largest 2³² mod n words would make small numbers more likely.
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

    /// The same of orders in windows, worked out apart from this code as well.
    #[test]
    fn orders_in_windows_are_pinned() {
        let order = |seed, epoch, examples, chunk, window| -> Vec<u64> {
            let order = EpochOrder::windowed(seed, epoch, (examples, chunk), window);
            order.examples(0..examples).collect()
        };
        assert_eq!(order(1, 0, 11, 2, 2), [3, 5, 2, 4, 6, 9, 8, 7, 1, 0, 10]);
        assert_eq!(order(1, 1, 11, 2, 2), [2, 3, 4, 5, 7, 10, 6, 8, 9, 0, 1]);
        assert_eq!(order(u64::MAX, u64::MAX, 7, 3, 1), [6, 3, 5, 4, 1, 2, 0]);
        assert_eq!(order(1, 0, 7, 1, 3), [0, 3, 5, 6, 1, 4, 2]);
        let bytes: Vec<u8> =
            order(1, 3, 1437, 100, 4).into_iter().flat_map(u64::to_le_bytes).collect();
        let digest = "0b27a62ecfa0da9d24dc3aa24cb957e74ac01fe8e2bbdfd3a615d11cd5de0f6c";
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
