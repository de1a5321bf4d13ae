//! The coordinator's chunks of example data, by digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;

/// Chunks that runs and submissions refer to, with a bound on their bytes. A chunk is removed when
/// nothing refers to it any more.
#[derive(Debug)]
pub(in crate::server) struct ChunkStore {
    chunks: BTreeMap<Digest, Entry>,
    bytes: u64,
    limit: u64,
}

#[derive(Debug)]
struct Entry {
    references: u64,
    size: u64,
    /// `None` until the chunk has arrived.
    content: Option<Bytes>,
}

/// The store would exceed its bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "the coordinator has {limit} bytes for the data of all runs: expected at most {free} more, found {found}; wait for other runs to end, or raise `data_memory`"
)]
pub(in crate::server) struct StoreFull {
    limit: u64,
    free: u64,
    found: u64,
}

impl ChunkStore {
    /// An empty store of at most `limit` bytes.
    pub(in crate::server) fn new(limit: u64) -> Self {
        Self { chunks: BTreeMap::new(), bytes: 0, limit }
    }

    /// Bytes in use.
    pub(in crate::server) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves `bytes` for data that is kept elsewhere.
    pub(in crate::server) fn reserve(&mut self, bytes: u64) -> Result<(), StoreFull> {
        let free = self.limit.saturating_sub(self.bytes);
        if bytes > free {
            return Err(StoreFull { limit: self.limit, free, found: bytes });
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Releases a reservation of [`ChunkStore::reserve`].
    pub(in crate::server) fn unreserve(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Adds references to all chunks of a split. Memory for missing chunks is reserved now, before
    /// any of their bytes arrive.
    fn refer(&mut self, manifest: &SplitManifest) -> Result<(), StoreFull> {
        let mut fresh = BTreeMap::new();
        for (index, digest) in manifest.chunks.iter().enumerate() {
            if !self.chunks.contains_key(digest) {
                fresh.insert(*digest, manifest.chunk_bytes(index) as u64);
            }
        }
        self.reserve(fresh.values().sum())?;
        for (digest, size) in fresh {
            self.chunks.insert(digest, Entry { references: 0, size, content: None });
        }
        for digest in &manifest.chunks {
            if let Some(entry) = self.chunks.get_mut(digest) {
                entry.references += 1;
            }
        }
        Ok(())
    }

    /// Removes the references of one [`ChunkStore::refer`].
    fn release(&mut self, manifest: &SplitManifest) {
        for digest in &manifest.chunks {
            let Some(entry) = self.chunks.get_mut(digest) else { continue };
            entry.references -= 1;
            if entry.references == 0 {
                let size = entry.size;
                self.chunks.remove(digest);
                self.unreserve(size);
            }
        }
    }

    /// [`ChunkStore::refer`] to both splits, or to neither.
    pub(in crate::server) fn refer_both(
        &mut self,
        train: &SplitManifest,
        test: &SplitManifest,
    ) -> Result<(), StoreFull> {
        self.refer(train)?;
        self.refer(test).inspect_err(|_| self.release(train))
    }

    /// Removes the references of one [`ChunkStore::refer_both`].
    pub(in crate::server) fn release_both(&mut self, train: &SplitManifest, test: &SplitManifest) {
        self.release(train);
        self.release(test);
    }

    /// Indexes in the manifest of the missing chunks, each digest once.
    pub(in crate::server) fn missing(&self, manifest: &SplitManifest) -> Vec<u32> {
        let mut seen = std::collections::BTreeSet::new();
        let lacks = |digest: &Digest| self.get(digest).is_none();
        let places = manifest.chunks.iter().enumerate();
        places
            .filter(|(_, digest)| lacks(digest) && seen.insert(**digest))
            .map(|(index, _)| index as u32)
            .collect()
    }

    /// Inserts a checked chunk. A chunk that nothing refers to is dropped.
    pub(in crate::server) fn insert(&mut self, digest: Digest, content: Bytes) {
        if let Some(entry) = self.chunks.get_mut(&digest) {
            entry.content = Some(content);
        }
    }

    /// The available chunks of splits, each once.
    pub(in crate::server) fn contents(
        &self,
        manifests: [&SplitManifest; 2],
    ) -> BTreeMap<Digest, Bytes> {
        let digests = manifests.into_iter().flat_map(|manifest| &manifest.chunks);
        digests.filter_map(|digest| Some((*digest, self.get(digest)?.clone()))).collect()
    }

    /// A chunk's bytes.
    pub(in crate::server) fn get(&self, digest: &Digest) -> Option<&Bytes> {
        self.chunks.get(digest)?.content.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::dataset::{FeatureType, TargetType};

    fn manifest(contents: &[&[u8]]) -> SplitManifest {
        SplitManifest {
            examples: contents.len() as u64,
            features: 4,
            shape: vec![4],
            targets: TargetType::Classes(2),
            element: FeatureType::U8,
            scale: 1.0,
            chunk_examples: 1,
            chunks: contents.iter().map(|content| Digest::of(content)).collect(),
        }
    }

    #[test]
    fn a_chunk_stays_while_something_refers_to_it() {
        let (one, two) = (manifest(&[b"a", b"b", b"a"]), manifest(&[b"b"]));
        let mut store = ChunkStore::new(100);
        store.refer(&one).unwrap();
        assert_eq!(store.missing(&one), [0, 1]);
        store.insert(Digest::of(b"a"), Bytes::from_static(b"a"));
        store.insert(Digest::of(b"b"), Bytes::from_static(b"b"));
        assert_eq!(store.missing(&one), [0; 0]);
        store.refer(&two).unwrap();
        store.release(&one);
        assert_eq!(store.get(&Digest::of(b"a")), None);
        assert_eq!(store.missing(&two), [0; 0]);
        store.release(&two);
        assert_eq!(store.bytes, 0);
        store.insert(Digest::of(b"a"), Bytes::from_static(b"a"));
        assert_eq!(store.get(&Digest::of(b"a")), None);
    }

    #[test]
    fn room_is_taken_before_bytes_come() {
        let mut store = ChunkStore::new(20);
        store.refer(&manifest(&[b"a", b"b"])).unwrap();
        let error = store.refer(&manifest(&[b"b", b"c"])).unwrap_err();
        assert!(error.to_string().contains("at most 4 more, found 8"), "{error}");
        assert_eq!(store.chunks.len(), 2);
    }
}
