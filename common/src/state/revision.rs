//! [`Revision`]: tells that a state still has the content that it had.

use std::sync::atomic::{AtomicU64, Ordering};

/// The content of a state, within this process: two states of one revision have the same tensors, to
/// the bit. The reverse does not hold: equal states may have different revisions.
///
/// A model that derives something large from its base may keep it for as long as the revision
/// stays. Comparing addresses would not do, as the memory of a state is reused for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision(u64);

impl Revision {
    /// A revision that no state has had. The default one is that of states without tensors.
    pub(super) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
