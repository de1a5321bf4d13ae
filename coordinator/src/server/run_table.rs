//! The table of runs: their data, numbers, events and followers.

mod design;
mod events;
mod final_event;
mod new_run;
mod run;
mod submission;
mod table;
#[cfg(test)]
mod tests;
mod warnings;

pub(super) use design::Design;
pub(super) use final_event::{finished, not_kept, of_outcome, unkept_text};
pub(super) use new_run::{NewRun, Started};
pub(super) use run::Run;
pub(super) use submission::{Provenance, Restart, RunDefinition};
pub(super) use table::{RUNS_WITH_EVENTS, RunTable};
pub(super) use warnings::Warnings;

/// Bound on the events that may wait for one client: all kept events of a few runs fit.
const _: () = assert!(super::net::WAITING_EVENT_BYTES >= 4 * events::EVENT_BYTES);
