//! What the coordinator before this one tells by its last note, if it was ended.

use common::id::RunId;

use crate::runs::{MemoryNote, RunsFolder};
use crate::server::text::used_memory;

/// A coordinator that was ended while it worked on a run.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    run: RunId,
    /// Its memory, in a sentence without its end.
    memory: String,
}

impl Predecessor {
    /// The last one of a folder; `None` if it left in order, or had no run.
    pub(in crate::server) fn of(folder: &RunsFolder) -> Option<Self> {
        let note = folder.memory_note()?;
        let memory = describe(&note, common::memory::kills());
        Some(Self { run: note.run, memory })
    }

    /// Its memory, if this is the run that it worked on.
    pub(in crate::server) fn memory(&self, run: RunId) -> Option<&str> {
        (self.run == run).then_some(&self.memory)
    }
}

/// The memory that a coordinator had. Close to its limit it may have been killed for that, and also
/// if the system has since killed a process of its control group, which this process is in, too.
fn describe(note: &MemoryNote, kills: Option<(String, u64)>) -> String {
    let is_killed = match (&note.kills, kills) {
        (Some((group, before)), Some((here, now))) => *group == here && now > *before,
        _ => false,
    };
    let memory = used_memory(note.peak, note.limit, is_killed);
    format!("its coordinator was ended; it had used up to {memory}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::KILLED_FOR_MEMORY;

    #[test]
    fn memory_is_suspected_near_the_limit_or_after_a_kill() {
        let group = |kills| Some(("0::/a".to_owned(), kills));
        let note = |mib: u64, kills| MemoryNote {
            run: RunId(1),
            peak: mib << 20,
            limit: 256 << 20,
            kills,
        };
        let is_suspected = |note: &MemoryNote, now| describe(note, now).contains(KILLED_FOR_MEMORY);
        assert!(is_suspected(&note(250, None), None));
        assert!(!is_suspected(&note(128, group(2)), group(2)));
        assert!(is_suspected(&note(128, group(2)), group(3)));
        assert!(!is_suspected(&note(128, group(2)), Some(("0::/b".to_owned(), 3))));
        assert_eq!(
            describe(&note(128, None), None),
            "its coordinator was ended; it had used up to 128 of 256 MiB of memory"
        );
    }
}
