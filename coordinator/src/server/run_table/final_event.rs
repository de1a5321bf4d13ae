//! The last event of a run: the same when the run ends, and when its end is read from disk.

use common::digest::Digest;
use common::id::RunId;
use common::run_state::RunEnd;
use common::wire::message::RunEvent;

use super::warnings::Warnings;
use crate::runs::{Outcome, Progress};

/// The event of a run that finished.
pub(in crate::server) fn finished(
    run: RunId,
    rounds: u64,
    digest: Digest,
    progress: &Progress,
    unsaved: Option<String>,
) -> RunEvent {
    let warnings = Warnings::of_progress(progress);
    RunEvent::Finished {
        run,
        digest,
        rounds,
        examples: progress.examples,
        seconds: progress.seconds,
        loss: progress.evaluation_loss,
        accuracy: progress.evaluation_accuracy,
        synchronisation_share: progress.synchronisation_share(),
        warnings: warnings.total(),
        offered: progress.offered,
        audited: progress.audited,
        unaudited: progress.unaudited,
        unsaved,
    }
}

/// The last event of a run with this many rounds, by its outcome.
pub(in crate::server) fn of_outcome(run: RunId, rounds: u64, outcome: &Outcome) -> RunEvent {
    match (outcome.state, outcome.digest) {
        (RunEnd::Finished, Some(digest)) => {
            let progress = outcome.progress.clone().unwrap_or_default();
            finished(run, rounds, digest, &progress, outcome.unsaved.clone())
        }
        (RunEnd::Finished, None) => {
            let reason = "it finished, but its record on disk lacks the digest of the final state: \
                          run it again, the result has the same bits";
            RunEvent::Failed { run, reason: reason.into() }
        }
        (RunEnd::Failed, _) => {
            let reason = outcome.reason.clone();
            let reason = reason.unwrap_or_else(|| "the record on disk has no reason".into());
            RunEvent::Failed { run, reason }
        }
        (RunEnd::Cancelled, _) => RunEvent::Cancelled { run },
    }
}

/// The last event of a run whose end cannot be written.
pub(in crate::server) fn not_kept(event: RunEvent, error: &str) -> RunEvent {
    let text = unkept_text(error);
    match event {
        RunEvent::Failed { run, reason } => {
            RunEvent::Failed { run, reason: format!("{reason}; {text}") }
        }
        RunEvent::Cancelled { run } => {
            RunEvent::Failed { run, reason: format!("it was cancelled; {text}") }
        }
        RunEvent::Finished { .. } => with_unsaved(event, error),
        other => other,
    }
}

fn with_unsaved(mut event: RunEvent, error: &str) -> RunEvent {
    if let RunEvent::Finished { unsaved, .. } = &mut event {
        unsaved.get_or_insert_with(|| error.to_owned());
    }
    event
}

/// The consequence of an end that cannot be written, and the remedy.
pub(in crate::server) fn unkept_text(error: &str) -> String {
    format!(
        "the end of the run cannot be written: {error}; a coordinator that is started on this runs \
         folder again continues the run: free disk space or repair the folder, then cancel the run \
         again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::RunIdentity;

    fn outcome(state: RunEnd) -> Outcome {
        Outcome {
            run: RunId(3),
            identity: RunIdentity(1),
            at_ms: 1,
            state,
            round: 9,
            loss: None,
            digest: None,
            reason: None,
            progress: None,
            unsaved: None,
        }
    }

    #[test]
    fn an_end_that_holds_little_is_still_told() {
        let digest = Digest::of(b"state");
        let little = Outcome { digest: Some(digest), ..outcome(RunEnd::Finished) };
        let told = of_outcome(RunId(3), 9, &little);
        let RunEvent::Finished { digest: found, rounds: 9, examples: 0, .. } = told else {
            panic!("{told:?}")
        };
        assert_eq!(found, digest);
        let reason = "a shard".to_owned();
        let failed = Outcome { reason: Some(reason.clone()), ..outcome(RunEnd::Failed) };
        let told = of_outcome(RunId(3), 9, &failed);
        assert_eq!(told, RunEvent::Failed { run: RunId(3), reason });
        let told = of_outcome(RunId(3), 9, &outcome(RunEnd::Cancelled));
        assert_eq!(told, RunEvent::Cancelled { run: RunId(3) });
        let told = of_outcome(RunId(3), 9, &outcome(RunEnd::Finished));
        assert!(matches!(told, RunEvent::Failed { .. }), "{told:?}");
    }

    #[test]
    fn an_end_comes_back_from_disk_in_every_bit() {
        let progress = Progress {
            examples: 720,
            seconds: 0.1 + 0.2,
            training_seconds: 0.3,
            computing_seconds: 0.1,
            evaluation_loss: Some(1.0 / 3.0),
            training_warnings: [("mute".to_owned(), 2)].into(),
            evaluation_warnings: [("mute".to_owned(), 1)].into(),
            offered: 4,
            audited: 3,
            unaudited: 2,
            ..Progress::default()
        };
        let (digest, unsaved) = (Digest::of(b"state"), Some("no room".to_owned()));
        let event = finished(RunId(3), 9, digest, &progress, unsaved.clone());
        let (digest, progress) = (Some(digest), Some(progress));
        let kept = Outcome { digest, progress, unsaved, ..outcome(RunEnd::Finished) };
        let kept = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(of_outcome(RunId(3), 9, &kept), event);
    }
}
