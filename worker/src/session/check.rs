//! The invariants of the session.

use super::Session;
use super::work::Use;

/// Checks all invariants; the error names the violated one.
pub(super) fn check(session: &Session) -> Result<(), String> {
    let running: usize = session.works.values().map(|work| work.running.len()).sum();
    let slots = session.config.slots.max(1) as usize;
    ensure(running <= slots, || format!("{running} shards run on {slots} slots"))?;
    for (id, work) in &session.works {
        ensure(!work.running.is_empty() || !work.to_run.is_empty(), || {
            format!("{id} is done but not finished")
        })?;
        ensure(work.use_of != Use::Nothing || !work.running.is_empty(), || {
            format!("{id} is stopped but not dropped")
        })?;
        ensure(work.use_of != Use::Orphan || work.is_begun(), || {
            format!("{id} is of an old connection and was never begun")
        })?;
        ensure(session.link.is_open() || work.use_of != Use::Wanted, || {
            format!("{id} is wanted without a connection")
        })?;
    }
    let others = session.kept.of_other_steps();
    ensure(others <= session.config.kept_blocks, || {
        format!("{others} partials of other steps are kept")
    })?;
    ensure(session.link.is_open() || session.runs.values().all(|run| !run.is_open), || {
        "a run is open without a connection".into()
    })?;
    ensure(
        session.is_over() || session.poll_timeout().is_some() || session.link.is_connecting(),
        || "nothing is planned: the session would sleep forever".into(),
    )
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
