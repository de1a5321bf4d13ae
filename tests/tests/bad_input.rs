//! Bad input of every kind: each gives an error that names the thing, the
//! process ends with the documented code or goes on, and nobody else notices.
//!
//! - `command_line`, `settings`, `specs`, `datasets`, `states`, `workers`: what
//!   a user gives to a command ([`case::Case`]).
//! - `impostors`: peers that only look like a coordinator.
//! - `greetings`, `client_frames`, `worker_frames`: what a peer sends to a
//!   living coordinator ([`live`]).

mod case;
mod client_frames;
mod command_line;
mod datasets;
mod greetings;
mod impostors;
mod live;
mod settings;
mod specs;
mod states;
mod stranger;
mod worker_frames;
mod workers;
