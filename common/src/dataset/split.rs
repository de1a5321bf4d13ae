//! Which examples are held out for the test.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of the random stream, as each use of a seed has its own.
const PURPOSE: [u8; 16] = *b"samebit/split/01";

/// The examples to hold out, `count` of them, in ascending order: as many of each class as its
/// share of all, drawn by the seed. Where the shares leave a rest, the classes with the largest
/// fractions get one more each; of equal ones, the first.
///
/// The ChaCha8 key is the seed and the class (u64, little-endian), then the 16 bytes
/// `samebit/split/01`. From place 0 on, an example is exchanged for one at or behind its place: the
/// place `i` for `i + w mod n`, where `n` examples are left and `w` is the next 64-bit word.
pub(super) fn stratified(labels: &[u32], classes: u32, count: usize, seed: u64) -> Vec<usize> {
    // There may be many: they take four bytes each, and nothing to grow.
    let mut sizes = vec![0; classes as usize];
    for class in labels {
        if let Some(size) = sizes.get_mut(*class as usize) {
            *size += 1;
        }
    }
    let mut of_class: Vec<Vec<u32>> = sizes.into_iter().map(Vec::with_capacity).collect();
    for (example, class) in (0..).zip(labels) {
        if let Some(examples) = of_class.get_mut(*class as usize) {
            examples.push(example);
        }
    }
    let (all, count) = (labels.len().max(1) as u128, count.min(labels.len()));
    let share = |examples: &Vec<u32>| examples.len() as u128 * count as u128;
    let mut taken: Vec<usize> =
        of_class.iter().map(|examples| (share(examples) / all) as usize).collect();
    let mut by_rest: Vec<usize> = (0..of_class.len()).collect();
    by_rest.sort_by_key(|class| std::cmp::Reverse(share(&of_class[*class]) % all));
    let missing = count - taken.iter().sum::<usize>();
    by_rest.iter().take(missing).for_each(|class| taken[*class] += 1);
    let mut held_out = Vec::with_capacity(count);
    for (class, (examples, taken)) in of_class.iter_mut().zip(taken).enumerate() {
        let mut random = random(seed, class as u64);
        for place in 0..taken {
            let left = (examples.len() - place) as u64;
            examples.swap(place, place + (random.next_u64() % left) as usize);
        }
        held_out.extend(examples[..taken].iter().map(|example| *example as usize));
    }
    held_out.sort_unstable();
    held_out
}

fn random(seed: u64, class: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&class.to_le_bytes());
    key[16..].copy_from_slice(&PURPOSE);
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(labels: &[u32], held_out: &[usize], classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        held_out.iter().for_each(|example| counts[labels[*example] as usize] += 1);
        counts
    }

    #[test]
    fn each_class_gives_its_share() {
        let sorted: Vec<u32> = (0..150).map(|example| example / 50).collect();
        let held_out = stratified(&sorted, 3, 30, 1);
        assert_eq!(counts(&sorted, &held_out, 3), [10, 10, 10]);
        assert!(held_out.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(held_out, stratified(&sorted, 3, 30, 1));
        assert_ne!(held_out, stratified(&sorted, 3, 30, 2));
        let uneven: Vec<u32> = [vec![0; 7], vec![1; 2], vec![3; 1]].concat();
        assert_eq!(counts(&uneven, &stratified(&uneven, 4, 4, 1), 4), [3, 1, 0, 0]);
        assert_eq!(stratified(&uneven, 4, 99, 1), (0..10).collect::<Vec<_>>());
        assert!(stratified(&uneven, 4, 0, 1).is_empty() && stratified(&[], 1, 3, 1).is_empty());
    }

    #[test]
    fn the_draw_never_changes() {
        let labels = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
        assert_eq!(stratified(&labels, 2, 4, 7), [3, 6, 8, 9]);
    }
}
