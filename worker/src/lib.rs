//! A worker: computes the blocks that its coordinator hands out.
//!
//! ```text
//! cli                          F5  flags
//! driver                       F4  socket, timers, rayon pool, data cache
//! session                      F3  pure: which blocks to run, keep, offer and report
//! ```

pub mod cli;
pub mod driver;
pub mod session;

pub use cli::run;
