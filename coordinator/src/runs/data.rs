//! Chunks of examples, by digest, so that a run can continue without the client that sent
//! them.

use std::io::ErrorKind;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::limits;

use super::error::RunsError;
use super::files;
use super::folder::{DATA, RunsFolder, read_bounded};

impl RunsFolder {
    /// Writes a chunk to disk, unless it exists. A file of its name with other content is
    /// damaged, and replaced.
    pub fn write_chunk(&self, digest: Digest, content: &[u8]) -> Result<(), RunsError> {
        let path = self.path.join(DATA).join(digest.to_string());
        let there = read_bounded(&path, limits::PAYLOAD_BYTES as u64);
        if there.is_ok_and(|there| there == content) {
            return Ok(());
        }
        // Clients may send the same chunks at the same time.
        let temporary = files::temporary_of_its_own(&path);
        files::write_atomically(&*self.files, &temporary, &path, &mut |out| out.write_all(content))
            .map_err(|error| RunsError::io(&path, error))
    }

    /// Checks that the chunks of a split exist with the right lengths, without reading them.
    pub fn check_chunks(&self, manifest: &SplitManifest) -> Result<(), RunsError> {
        for (index, digest) in manifest.chunks.iter().enumerate() {
            let path = self.path.join(DATA).join(digest.to_string());
            let expected = manifest.chunk_bytes(index) as u64;
            match path.metadata() {
                Ok(file) if file.len() == expected => {}
                Ok(file) => {
                    let found = format!("{} bytes", file.len());
                    return Err(RunsError::content(&path, format!("{expected} bytes"), found));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let (path, chunks) = (path.display().to_string(), manifest.chunks.len());
                    return Err(RunsError::MissingChunk { path, index, chunks });
                }
                Err(error) => return Err(RunsError::io(&path, error)),
            }
        }
        Ok(())
    }

    /// Chunk `index` of a split, checked.
    pub fn chunk(&self, manifest: &SplitManifest, index: usize) -> Result<Bytes, RunsError> {
        let digest = manifest.chunks[index];
        let path = self.path.join(DATA).join(digest.to_string());
        let content = match read_bounded(&path, limits::PAYLOAD_BYTES as u64) {
            Err(RunsError::Io { path, error }) if error.kind() == ErrorKind::NotFound => {
                let chunks = manifest.chunks.len();
                return Err(RunsError::MissingChunk { path, index, chunks });
            }
            read => Bytes::from(read?),
        };
        manifest.check_chunk(index, &content).map_err(|error| {
            RunsError::content(&path, "the chunk of examples that its name says", error)
        })?;
        Ok(content)
    }
}
