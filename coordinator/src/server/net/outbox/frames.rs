//! [`StateFrames`]: the messages of a whole state, shared by all connections.

use std::fmt;
use std::sync::{Arc, OnceLock};

use common::wire::Frame;

/// The frames of a whole state. Each frame is made when the first connection sends it, when its
/// bytes enter the processor's cache anyway, and is shared with all others: its checksum reads
/// every byte, and the engine has no time for that.
pub(in crate::server) struct StateFrames {
    made: Box<[OnceLock<Frame>]>,
    make: Box<dyn Fn(usize) -> Frame + Send + Sync>,
}

impl StateFrames {
    /// This many frames; `make` makes the frame of an index.
    pub(in crate::server) fn new(
        count: usize,
        make: impl Fn(usize) -> Frame + Send + Sync + 'static,
    ) -> Arc<Self> {
        let made = std::iter::repeat_with(OnceLock::new).take(count).collect();
        Arc::new(Self { made, make: Box::new(make) })
    }

    /// The frame of an index; `None` behind the last one.
    pub(super) fn get(&self, place: usize) -> Option<Frame> {
        let frame = self.made.get(place)?;
        Some(frame.get_or_init(|| (self.make)(place)).clone())
    }
}

impl fmt::Debug for StateFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFrames").field("count", &self.made.len()).finish_non_exhaustive()
    }
}
