//! [`SharedMemory`]: the memory that this worker shares with a coordinator on its host.

use std::sync::Arc;

use common::state::StateError;
use common::wire::shared_memory::{PartialSlots, Region};

/// The regions that a coordinator has made.
#[derive(Debug)]
pub(super) struct SharedMemory {
    /// Segments of states, which the coordinator writes.
    states: Region,
    /// Segments of partials, which this worker writes.
    pub(super) partials: Arc<PartialSlots>,
}

impl SharedMemory {
    /// Memory that was received.
    pub(super) fn new(states: Region, partials: Arc<PartialSlots>) -> Self {
        Self { states, partials }
    }

    /// Copies the segment of a state that has this hash.
    pub(super) fn read_state(
        &self,
        slot: u32,
        hash: u64,
        out: &mut [u8],
    ) -> Result<(), SegmentError> {
        match self.states.read_state(slot, out) {
            found if found == hash => Ok(()),
            found => Err(SegmentError::Hash { expected: hash, found }),
        }
    }
}

/// Why a segment of a state cannot be taken from shared memory.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    /// It is not what the coordinator has written.
    #[error(
        "a segment in shared memory with the hash {found:016x}: expected {expected:016x}; the \
         connection was given up there meanwhile, or bytes changed in the memory of this host"
    )]
    Hash { expected: u64, found: u64 },
    /// Its values are not valid.
    #[error(transparent)]
    State(#[from] StateError),
}
