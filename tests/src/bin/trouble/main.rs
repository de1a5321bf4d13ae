//! A coordinator and a worker that have only models which break the rules:
//! `trouble coordinator …`, `trouble worker …`.

use std::process::ExitCode;

use tests::trouble::registry;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    let role = args.next().unwrap_or_default();
    let args = program.into_iter().chain(args);
    match role.to_str() {
        Some("coordinator") => coordinator::run(registry(), args),
        Some("worker") => worker::run(registry(), args),
        _ => {
            eprintln!("error: expected `coordinator` or `worker` as the first word");
            ExitCode::from(2)
        }
    }
}
