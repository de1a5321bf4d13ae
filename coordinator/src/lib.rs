//! The coordinator: distributes a run's rounds over workers, merges their results, and ends
//! in the same bits whatever happens to the workers.
//!
//! ```text
//! cli                          F5  commands, flags, output for people
//! server  client  local  runs  F4  sockets, timers, processes, files
//! ledger                       F4  the history of runs
//! scheduler                    F3  pure: which worker does what, which is lost
//! reference                    F1  a whole run in one process, no socket
//! ```

pub mod cli;
pub mod client;
pub mod ledger;
pub mod local;
pub mod reference;
pub mod rerun;
pub mod runs;
pub mod scheduler;
pub mod server;

pub use cli::run;
pub use reference::ParallelBatchProcessor;

/// Whether bugs can be switched on in the scheduler (`scheduler::injected_bugs`): for tests
/// alone, and never in a program that is shipped.
pub const PLANTED: bool = cfg!(feature = "injected_bugs");
