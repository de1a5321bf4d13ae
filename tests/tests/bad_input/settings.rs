//! Settings files and variables.

use super::case::{Case, check};

/// `coordinator serve` with this settings file.
fn with_file(name: &str, text: &str) -> Case {
    let args = "serve --listen 127.0.0.1:0 --config DIR/settings.toml";
    Case::coordinator(name, args).file("settings.toml", text)
}

/// `coordinator serve` with this variable.
fn with_variable(name: &str, variable: &'static str, value: &'static str) -> Case {
    Case::coordinator(name, "serve").variable(variable, value)
}

#[test]
fn files() {
    check(vec![
        Case::coordinator("no such file", "serve --config DIR/none.toml")
            .says(&["settings file DIR/none.toml", "No such file"]),
        Case::coordinator("a file without end", "serve --config /dev/zero")
            .says(&["settings file /dev/zero", "at most 65536 bytes"]),
        Case::coordinator("a folder", "serve --config DIR").says(&["settings file DIR"]),
        with_file("not TOML", "crash_limit = = 3").says(&["DIR/settings.toml", "line 1"]),
        with_file("not text", "\u{0}\u{1}").says(&["DIR/settings.toml", "line 1"]),
        with_file("an unknown key", "heartbeat = 3").says(&[
            "DIR/settings.toml",
            "unknown key `heartbeat`",
            "heartbeat_timeout",
        ]),
        with_file("a wrong type", "crash_limit = \"three\"").says(&[
            "`crash_limit`",
            "DIR/settings.toml",
            "\"three\"",
        ]),
        with_file("a negative count", "crash_limit = -1").says(&["`crash_limit`", "-1"]),
        with_file("out of range", "heartbeat_timeout = 0.1").says(&[
            "`heartbeat_timeout`",
            "1.5 to 3600",
            "0.1",
        ]),
        with_file("not a number", "heartbeat_timeout = nan").says(&["`heartbeat_timeout`"]),
        with_file("no crash at all", "crash_limit = 0").says(&["`crash_limit`", "at least 1"]),
        with_file("a size that is none", "merge_memory = \"2 apples\"").says(&[
            "`merge_memory`",
            "512MiB",
            "\"2 apples\"",
        ]),
        with_file("a word that is none", "log_format = \"xml\"").says(&[
            "`log_format`",
            "xml",
            "`text`",
            "`json`",
        ]),
        with_file("a filter that is none", "log_level = \"verbose\"")
            .says(&["log filter \"verbose\"", "error, warn, info"]),
        with_file("a table", "[listen]\nport = 7700").says(&["`listen`", "DIR/settings.toml"]),
        Case::worker("of a worker", "--config DIR/settings.toml")
            .file("settings.toml", "slot = 2")
            .says(&["DIR/settings.toml", "unknown key `slot`", "slots"]),
    ]);
}

#[test]
fn variables() {
    check(vec![
        with_variable("no number", "SAMEBIT_CRASH_LIMIT", "few").says(&[
            "`crash_limit`",
            "SAMEBIT_CRASH_LIMIT",
            "few",
        ]),
        with_variable("no size", "SAMEBIT_DATA_MEMORY", "much").says(&[
            "`data_memory`",
            "SAMEBIT_DATA_MEMORY",
            "much",
        ]),
        with_variable("no truth", "SAMEBIT_INSECURE", "perhaps").says(&[
            "`insecure`",
            "SAMEBIT_INSECURE",
            "perhaps",
        ]),
        with_variable("no address", "SAMEBIT_LISTEN", "somewhere").says(&[
            "`listen`",
            "HOST:PORT",
            "\"somewhere\"",
        ]),
        Case::worker("of a worker", "").variable("SAMEBIT_SLOTS", "all").says(&[
            "`slots`",
            "SAMEBIT_SLOTS",
            "all",
        ]),
    ]);
}
