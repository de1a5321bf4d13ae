//! Draws the rounds that `--sample` repeats. Pure.
//!
//! A round is reached from the last state on disk before it, through the rounds in between.
//! These are compared as well, and count: so the requested share of rounds is repeated,
//! wherever the states are.

use std::ops::Range;

use common::digest::Digest;

/// Number of ranges that are named in the output, the first ones.
const NAMED_STRETCHES: usize = 16;

/// The drawn rounds, as indexes among the recorded rounds, from 0.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    /// Ranges of rounds, in order.
    pub(super) stretches: Vec<Range<usize>>,
    /// Number of rounds too far behind a state on disk to be drawn.
    pub(super) out_of_reach: usize,
}

impl Sample {
    /// The drawn rounds as a sentence. `rounds` are the step and number of each.
    pub(super) fn sentence(&self, rounds: &[(u64, u64)]) -> String {
        let drawn = self.stretches.iter().map(ExactSizeIterator::len).sum::<usize>();
        let all = rounds.len();
        let named = self.stretches.iter().take(NAMED_STRETCHES).map(|stretch| {
            let (first, last) = (rounds[stretch.start].1, rounds[stretch.end - 1].1);
            if first == last { first.to_string() } else { format!("{first} to {last}") }
        });
        let more = if self.stretches.len() > NAMED_STRETCHES { ", …" } else { "" };
        let named = named.collect::<Vec<_>>().join(", ");
        let mut text = format!("repeating {drawn} of {all} rounds: {named}{more}\n");
        if self.out_of_reach > 0 {
            text += &format!(
                "{} of them could not be drawn: a round is reached from the last state on disk \
                 before it, and the rounds in between count. A larger --sample reaches more; so do \
                 more states on disk (`coordinator run --checkpoint-every 10 --keep-checkpoints \
                 1000`); --rounds repeats any rounds\n",
                self.out_of_reach
            );
        }
        text
    }
}

/// Draws `count` of `rounds` rounds, by a seed. `bases` are the rounds that begin from states
/// on disk, in order, including the first round.
pub(super) fn draw(bases: &[usize], rounds: usize, count: usize, seed: u128) -> Sample {
    let mut bases: Vec<usize> = std::iter::once(0).chain(bases.iter().copied()).collect();
    bases.retain(|base| *base < rounds);
    bases.dedup();
    let before = |round: usize| bases.partition_point(|base| *base <= round).saturating_sub(1);
    let mut done = vec![0; bases.len()];
    let (mut left, mut out_of_reach) = (count, 0);
    for round in shuffled(rounds, seed) {
        let base = before(round);
        let way = round - bases[base] + 1;
        out_of_reach += usize::from(way > count);
        // If no round fits, `count` rounds are taken already: the next round of a range
        // always costs one.
        let cost = way.saturating_sub(done[base]);
        if cost <= left {
            done[base] += cost;
            left -= cost;
        }
    }
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (base, done) in bases.iter().zip(done).filter(|(_, done)| *done > 0) {
        match stretches.last_mut() {
            Some(last) if last.end == *base => last.end += done,
            _ => stretches.push(*base..base + done),
        }
    }
    Sample { stretches, out_of_reach }
}

/// The numbers below `rounds`, in an order that the seed decides.
fn shuffled(rounds: usize, seed: u128) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rounds).collect();
    order.sort_by_cached_key(|round| {
        Digest::of(&[&seed.to_le_bytes()[..], &round.to_le_bytes()].concat())
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sample: &Sample) -> usize {
        sample.stretches.iter().map(ExactSizeIterator::len).sum()
    }

    #[test]
    fn as_many_rounds_are_done_as_were_asked_for_wherever_the_states_are() {
        for bases in [&[][..], &[0], &[99], &[3, 4, 50], &[10, 20, 30, 40, 50, 60, 70, 80, 90]] {
            for asked in [1, 5, 60, 99, 100] {
                for seed in 0..20 {
                    let sample = draw(bases, 100, asked, seed);
                    assert_eq!(count(&sample), asked, "{bases:?} {asked} {sample:?}");
                    let begins = |it: &Range<usize>| it.start == 0 || bases.contains(&it.start);
                    assert!(sample.stretches.iter().all(begins), "{sample:?}");
                }
            }
        }
    }

    #[test]
    fn all_rounds_are_all_of_them_at_once() {
        let all = Sample { stretches: std::iter::once(0..3600).collect(), out_of_reach: 0 };
        assert_eq!(draw(&[3580, 3590, 3600], 3600, 3600, 1), all);
    }

    #[test]
    fn every_round_within_reach_is_drawn_some_time_and_no_other() {
        let drawn: Vec<Sample> = (0..200).map(|seed| draw(&[50], 100, 10, seed)).collect();
        let is_drawn = |round| {
            let has = |sample: &Sample| sample.stretches.iter().any(|it| it.contains(&round));
            drawn.iter().any(has)
        };
        let expected = |round: &usize| *round < 10 || (50..60).contains(round);
        assert!((0..100).all(|round| is_drawn(round) == expected(&round)));
        assert!(drawn.iter().all(|sample| sample.out_of_reach == 80));
        assert_ne!(drawn[0], drawn[1]);
    }

    #[test]
    fn what_is_drawn_and_what_never_is_are_told() {
        let rounds: Vec<(u64, u64)> = (0..100).map(|place| (place * 2, place + 1)).collect();
        let sample = Sample { stretches: vec![0..1, 49..60], out_of_reach: 80 };
        let text = sample.sentence(&rounds);
        assert!(
            text.starts_with("repeating 12 of 100 rounds: 1, 50 to 60\n80 of them could"),
            "{text}"
        );
        assert!(text.contains("--keep-checkpoints"), "{text}");
        let near = Sample { out_of_reach: 0, ..sample };
        assert_eq!(near.sentence(&rounds), "repeating 12 of 100 rounds: 1, 50 to 60\n");
    }

    #[test]
    fn nothing_is_drawn_of_no_rounds() {
        assert_eq!(draw(&[3], 0, 5, 1), Sample { stretches: vec![], out_of_reach: 0 });
    }
}
