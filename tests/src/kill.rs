//! Runs whose processes are killed and stopped at random, and what must be
//! true of them all the same.
//!
//! ```text
//! seed, number ── draw ──▶ Scenario ── ride ──▶ Report, or what was wrong
//! ```
//!
//! | file | what |
//! |---|---|
//! | `scenario` | a run and its faults, drawn from a seed; [`Fault`], [`Tally`] |
//! | `specs` | what is run, small |
//! | `ride` | carries a scenario out with the real binaries |
//! | `files` | records that are damaged, and final states |
//! | `check` | what must hold of a runs folder afterwards |
//! | `crash` | a coordinator killed at one of its writes |
//! | `trace` | how: with ptrace |

pub mod check;
#[cfg(target_arch = "x86_64")]
pub mod crash;
mod files;
mod ride;
mod scenario;
mod specs;
#[cfg(target_arch = "x86_64")]
mod trace;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use common::digest::Digest;

pub use ride::{Report, ride};
pub use scenario::{Fault, Planned, Scenario, Tally};
pub use specs::Spec;

/// What the one-process reference gives for a spec; worked out once for each.
pub fn reference(spec: &str) -> Digest {
    static KNOWN: Mutex<BTreeMap<String, Digest>> = Mutex::new(BTreeMap::new());
    // Others that ask wait: they may ask for the same.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(spec) {
        return *digest;
    }
    let digest = crate::expected::digest(spec);
    known.insert(spec.to_owned(), digest);
    digest
}
