//! A worker: processes the blocks that its coordinator hands it.
//!
//! ```text
//! cli                          F5  flags
//! driver                       F4  socket, timers, rayon pool, data cache
//! session                      F3  pure: what to run, keep, offer and say
//! ```

pub mod cli;
pub mod driver;
pub mod session;

pub use cli::run;
