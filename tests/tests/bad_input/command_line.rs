//! Commands and flags.

use std::net::TcpListener;

use super::case::{Case, FAILED, LOST, check};

/// An address that nobody listens on: ports this low are not given out.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn commands_and_flags() {
    check(vec![
        Case::coordinator("no such command", "trian").says(&["unrecognized subcommand 'trian'"]),
        Case::coordinator("no such flag", "serve --fast").says(&["unexpected argument '--fast'"]),
        Case::coordinator("a flag without its value", "run --seed").says(&["--seed <N>"]),
        Case::coordinator("no run to cancel", "cancel").says(&["<RUN>"]),
        Case::coordinator("a run that is no number", "cancel first")
            .says(&["invalid value 'first'", "<RUN>"]),
        Case::coordinator("no state to evaluate", "evaluate").says(&["<STATE>"]),
        Case::coordinator("a number that is none", "run --replicas many")
            .says(&["invalid value 'many'", "--replicas"]),
        Case::coordinator("a negative number", "run --batch-size=-1")
            .says(&["invalid value '-1'", "--batch-size"]),
        Case::coordinator("a number that no spec can hold", "run --seed 18446744073709551615")
            .says(&["18446744073709551615", "--seed"]),
        Case::coordinator("epochs and rounds", "run --epochs 1 --rounds 2")
            .says(&["'--epochs <N>'", "'--rounds <N>'"]),
        Case::coordinator("no workers", "run --local 0").says(&["'0'", "--local", "1..=256"]),
        Case::coordinator("too many workers", "run --local 1000").says(&["'1000'", "1..=256"]),
        Case::coordinator("no slots", "run --local 1 --slots 0").says(&["'0'", "--slots"]),
        Case::coordinator("slots of workers elsewhere", "run --slots 2").says(&["--local <N>"]),
        Case::coordinator("more workers than can connect", "run --min-workers 5000").says(&[
            "'5000'",
            "--min-workers",
            "4096",
        ]),
        Case::coordinator("detached from a cluster of its own", "run --local 1 --detach")
            .says(&["'--local <N>'", "'--detach'"]),
        Case::coordinator("keys of no use", "run --local 1 --keys DIR/none.pem")
            .says(&["--keys DIR/none.pem cannot be used with --local"]),
        Case::coordinator("no worker's binary", "run --local 1 --worker-binary DIR/worker").says(
            &["expected the worker's binary at DIR/worker", "cargo build", "--worker-binary"],
        ),
        Case::coordinator(
            "a worker's binary that cannot run",
            "run --local 1 --worker-binary DIR/w",
        )
        .file("w", "text")
        .says(&["cannot start the worker DIR/w", "Permission denied"]),
        Case::coordinator("a timeout that is no number", "serve --heartbeat-timeout nan").says(&[
            "'nan'",
            "--heartbeat-timeout",
            "1.5 to 3600 seconds",
        ]),
        Case::coordinator("a timeout too short", "serve --heartbeat-timeout 1").says(&[
            "'1'",
            "--heartbeat-timeout",
            "1.5 to 3600 seconds",
        ]),
        Case::coordinator("a spec without end", "run /dev/zero")
            .says(&["spec /dev/zero", "at most 65536 bytes"]),
        Case::coordinator("no such spec", "run DIR/none.toml")
            .says(&["DIR/none.toml", "No such file"]),
        Case::coordinator("a folder for a spec", "run DIR").says(&["spec DIR", "directory"]),
        Case::coordinator("a setting without a value", "run --set replicas")
            .says(&["--set replicas", "KEY=VALUE"]),
        Case::coordinator("a setting of no field", "run --set speed=9 --coordinator localhost:1")
            .says(&["unknown field `speed`"]),
        Case::coordinator("a setting of the wrong type", "run --set batch_size=ten")
            .says(&["batch_size", "\"ten\""]),
        Case::coordinator("a setting whose key is no key", "run --set a..b=1")
            .says(&["--set", "\"a..b\""]),
        Case::coordinator("a setting inside a number", "run --set seed.value=1")
            .says(&["seed.value", "`seed` to be a table"]),
        Case::coordinator("a log level that is none", "run --log-level loud")
            .says(&["log filter \"loud\"", "error, warn, info"]),
        Case::coordinator("an address without a port", "status --coordinator head").says(&[
            "'head'",
            "--coordinator",
            "HOST:PORT",
        ]),
        Case::coordinator("a port that is none", "status --coordinator head:70000")
            .says(&["'head:70000'", "HOST:PORT"]),
        Case::coordinator("a variable without a port", "status")
            .variable("SAMEBIT_COORDINATOR", "head")
            .says(&["'head'", "HOST:PORT"]),
        Case::coordinator("nobody at the address", format!("status --coordinator {NOBODY}"))
            .exits(LOST)
            .says(&["cannot reach a coordinator at 127.0.0.1:", "coordinator serve"]),
        Case::coordinator("nobody to run it", format!("run --patience 0 --coordinator {NOBODY}"))
            .exits(LOST)
            .says(&["cannot reach a coordinator at 127.0.0.1:"]),
        Case::coordinator("nobody to cancel it", format!("cancel 1 --coordinator {NOBODY}"))
            .exits(LOST)
            .says(&["cannot reach a coordinator at 127.0.0.1:"]),
    ]);
}

#[test]
fn addresses_to_listen_on() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let taken_address = taken.local_addr().expect("an address");
    check(vec![
        Case::coordinator("a port that is taken", format!("serve --listen {taken_address}"))
            .exits(FAILED)
            .says(&["cannot listen on 127.0.0.1:", "If another program uses this port"]),
        Case::coordinator("an address that is none", "serve --listen nonsense").says(&[
            "setting `listen`",
            "HOST:PORT",
            "\"nonsense\"",
        ]),
        Case::coordinator("a port that is no port", "serve --listen 127.0.0.1:http").says(&[
            "setting `listen`",
            "HOST:PORT",
            "127.0.0.1:http",
        ]),
        Case::coordinator("open to all", "serve --listen 0.0.0.0:0").says(&[
            "setting `listen`",
            "0.0.0.0:0",
            "--insecure",
        ]),
        Case::coordinator("open to all of IPv6", "serve --listen [::]:0").says(&[
            "setting `listen`",
            "[::]:0",
            "--insecure",
        ]),
        Case::coordinator("an address of another host", "serve --listen 192.0.2.1:7700 --insecure")
            .exits(FAILED)
            .says(&["cannot listen on 192.0.2.1:7700"]),
    ]);
}
