//! The final state of a run that has finished, read from the runs folder.

use common::digest::Digest;
use common::id::RunId;
use common::state::NetworkState;

use crate::runs::{Restart, RunsError, RunsFolder};
use crate::server::run_table::Provenance;

/// The final state of a run, its source, and its digest; `None` if it is no longer kept.
///
/// # Errors
/// A file cannot be read, or is damaged.
pub(in crate::server) fn final_state(
    folder: &RunsFolder,
    run: RunId,
) -> Result<Option<(Provenance, NetworkState, Digest)>, RunsError> {
    let submission = folder.submission(run)?;
    let outcome = folder.outcome(&submission)?.filter(|outcome| outcome.unsaved.is_none());
    let Some(digest) = outcome.and_then(|outcome| outcome.digest) else { return Ok(None) };
    let Restart { checkpoint, damaged } = folder.restart(&submission, u64::MAX)?;
    match checkpoint.filter(|found| found.record.digest == digest) {
        Some(found) => {
            let provenance = Provenance::new(
                &submission.spec,
                &submission.schema,
                &found.record.progress.history,
            );
            Ok(Some((provenance, found.state, digest)))
        }
        // The state was kept, so its absence is damage.
        None => damaged.into_iter().next().map_or(Ok(None), Err),
    }
}
