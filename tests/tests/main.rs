//! All integration tests, one binary.

mod bad_input;
mod cluster;
mod commands;
mod faults;
mod floors;
mod history;
mod kill;
mod readme;
mod resume;
mod secure;
mod simulation;
