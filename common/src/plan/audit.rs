//! Selects the shards to audit.

use crate::digest::Digest;

/// Prefix of the hashed bytes.
const PURPOSE: &[u8] = b"samebit-audit-1\n";

/// Whether a shard is audited (computed by two workers), if this share of all shards is. It
/// depends only on seed, step and replica, so that workers cannot influence it.
///
/// A shard is audited if the SHA-256 of the 16 bytes `samebit-audit-1\n`, the
/// seed, the step (u64) and the replica (u32; all little-endian) begins with a
/// u64 (little-endian) below `share` × 2⁶⁴.
pub(super) fn is_audited(share: f64, seed: u64, step: u64, replica: u32) -> bool {
    if share == 0.0 {
        return false;
    }
    let shard = [&seed.to_le_bytes()[..], &step.to_le_bytes(), &replica.to_le_bytes()];
    let digest = Digest::of(&[PURPOSE, &shard.concat()].concat());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    // Multiplying by a power of two does not round.
    u128::from(u64::from_le_bytes(first)) < (share * 2f64.powi(64)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(share: f64, seed: u64) -> usize {
        let shards = (0..100).flat_map(|step| (0..100).map(move |replica| (step, replica)));
        shards.filter(|(step, replica)| is_audited(share, seed, *step, *replica)).count()
    }

    #[test]
    fn about_the_share_is_audited() {
        assert_eq!((count(0.0, 1), count(1.0, 1)), (0, 10_000));
        for seed in 0..5 {
            let found = count(0.01, seed);
            assert!((60..140).contains(&found), "{found} of 10000");
        }
    }

    #[test]
    fn a_larger_share_has_all_of_a_smaller_one() {
        let is_in = |share, replica| is_audited(share, 7, 3, replica);
        assert!((0..1000).all(|replica| !is_in(0.1, replica) || is_in(0.2, replica)));
    }

    /// What is audited is fixed: a coordinator that continues another's run
    /// audits the same shards.
    #[test]
    fn the_choice_is_fixed() {
        let audited = |seed, step| -> Vec<u32> {
            (0..64).filter(|replica| is_audited(0.1, seed, step, *replica)).collect()
        };
        assert_eq!(audited(1, 0), [6, 9, 18, 27, 33, 34, 50, 51]);
        assert_eq!(audited(1, 1), [0, 3, 8, 18, 44, 61]);
        assert_eq!(audited(2, 0)[..5], [2, 8, 10, 11, 17]);
    }
}
