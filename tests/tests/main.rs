//! All integration tests, one binary.

mod bad_input;
mod cluster;
mod commands;
#[cfg(target_arch = "x86_64")]
mod crash_points;
// The program itself is built by cargo; its model is what is expected of it.
#[allow(dead_code)]
#[path = "../../examples/custom_model/src/main.rs"]
mod custom_model;
mod damage;
mod deadly;
mod examples;
mod faults;
mod floors;
mod history;
mod kill;
mod memory;
mod messages;
mod outputs;
mod predict;
mod program;
mod python_package;
mod python_worker;
mod readme;
mod real_files;
mod resume;
mod screen;
mod secure;
#[cfg(target_os = "linux")]
mod shared_memory;
mod simulation;
mod states;
mod targets;
mod template;
mod words;
