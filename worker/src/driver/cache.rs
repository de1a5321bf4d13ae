//! The cache of example chunks: by content, bounded in bytes, evicting the least recently used
//! first. Runs that share data share chunks.
//!
//! Assignments copy the examples that they read, so running shards never miss an evicted chunk: the
//! size of the cache determines how often chunks are sent again, but never a result. Its effective
//! limit is what the worker's other data leaves of the configured one.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::digest::Digest;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ChunkCache {
    limit: u64,
    /// Bytes of the limit that other data uses.
    taken: u64,
    used: u64,
    clock: u64,
    chunks: BTreeMap<Digest, (Bytes, u64)>,
    by_use: BTreeMap<u64, Digest>,
}

impl ChunkCache {
    /// An empty cache of at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            taken: 0,
            used: 0,
            clock: 0,
            chunks: BTreeMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// The chunk of this digest, which becomes the most recently used.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<Bytes> {
        let (bytes, used_at) = self.chunks.get_mut(digest)?;
        self.by_use.remove(used_at);
        self.clock += 1;
        *used_at = self.clock;
        self.by_use.insert(self.clock, *digest);
        Some(bytes.clone())
    }

    /// Keeps a chunk whose digest was checked. A chunk larger than the whole cache is not kept.
    pub(super) fn insert(&mut self, digest: Digest, bytes: Bytes) {
        let size = bytes.len() as u64;
        if size > self.room() || self.get(&digest).is_some() {
            return;
        }
        self.clock += 1;
        self.used += size;
        self.chunks.insert(digest, (bytes, self.clock));
        self.by_use.insert(self.clock, digest);
        self.shrink();
    }

    /// Evicts chunks until they fit into the limit minus `taken` bytes of other data.
    pub(super) fn leave_room(&mut self, taken: u64) {
        self.taken = taken;
        self.shrink();
    }

    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.taken)
    }

    fn shrink(&mut self) {
        while self.used > self.room() {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some((bytes, _)) = self.chunks.remove(&oldest) {
                self.used -= bytes.len() as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(seed: u8, len: usize) -> (Digest, Bytes) {
        let bytes = Bytes::from(vec![seed; len]);
        (Digest::of(&bytes), bytes)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = ChunkCache::new(30);
        let chunks: Vec<_> = (0..4).map(|seed| chunk(seed, 10)).collect();
        for (digest, bytes) in &chunks[..3] {
            cache.insert(*digest, bytes.clone());
        }
        assert!(cache.get(&chunks[0].0).is_some());
        cache.insert(chunks[3].0, chunks[3].1.clone());
        assert!(cache.get(&chunks[1].0).is_none(), "1 is the least recently used");
        for at in [0, 2, 3] {
            assert_eq!(cache.get(&chunks[at].0).as_ref(), Some(&chunks[at].1));
        }
    }

    #[test]
    fn what_else_is_held_takes_its_room() {
        let mut cache = ChunkCache::new(30);
        let chunks: Vec<_> = (0..3).map(|seed| chunk(seed, 10)).collect();
        chunks.iter().for_each(|(digest, bytes)| cache.insert(*digest, bytes.clone()));
        cache.leave_room(15);
        assert_eq!(cache.used, 10);
        assert!(cache.get(&chunks[2].0).is_some(), "the last one was used most recently");
        cache.leave_room(100);
        assert_eq!(cache.used, 0);
        cache.insert(chunks[0].0, chunks[0].1.clone());
        assert_eq!(cache.used, 0);
        cache.leave_room(0);
        cache.insert(chunks[0].0, chunks[0].1.clone());
        assert_eq!(cache.used, 10);
    }

    #[test]
    fn what_an_assignment_holds_outlives_the_cache() {
        let mut cache = ChunkCache::new(10);
        let (digest, bytes) = chunk(1, 10);
        cache.insert(digest, bytes);
        let pinned = cache.get(&digest).unwrap();
        let (other, bytes) = chunk(2, 10);
        cache.insert(other, bytes);
        assert!(cache.get(&digest).is_none());
        assert_eq!(pinned, vec![1; 10]);
    }

    #[test]
    fn a_chunk_larger_than_the_cache_is_not_kept() {
        let mut cache = ChunkCache::new(5);
        let (digest, bytes) = chunk(1, 6);
        cache.insert(digest, bytes);
        assert!(cache.get(&digest).is_none());
        assert_eq!(cache.used, 0);
    }

    proptest! {
        #[test]
        fn its_books_always_balance(uses in prop::collection::vec((0u8..8, any::<bool>()), 0..64)) {
            let mut cache = ChunkCache::new(64);
            for (seed, put) in uses {
                let (digest, bytes) = chunk(seed, 1 + 9 * usize::from(seed));
                if put {
                    cache.insert(digest, bytes);
                } else if let Some(found) = cache.get(&digest) {
                    prop_assert_eq!(found, bytes);
                }
                let held: usize = cache.chunks.values().map(|(bytes, _)| bytes.len()).sum();
                prop_assert_eq!(held as u64, cache.used);
                prop_assert!(cache.used <= cache.limit);
                prop_assert_eq!(cache.chunks.len(), cache.by_use.len());
            }
        }
    }
}
