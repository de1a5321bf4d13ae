//! Flags of the worker.

use super::case::{Case, check};

#[test]
fn flags() {
    check(vec![
        Case::worker("no such flag", "--threads 2").says(&["unexpected argument '--threads'"]),
        Case::worker("a word too many", "head:7700").says(&["unexpected argument 'head:7700'"]),
        Case::worker("no slots", "--slots 0").says(&["`slots`", "1 to 1024", "found 0"]),
        Case::worker("too many slots", "--slots 5000").says(&["`slots`", "1 to 1024", "5000"]),
        Case::worker("slots that are no number", "--slots many").says(&["'many'", "--slots"]),
        Case::worker("memory that is no size", "--memory-limit lots").says(&[
            "'lots'",
            "--memory-limit",
            "512MiB",
        ]),
        Case::worker("memory that nobody has", "--memory-limit 99999999TiB")
            .says(&["99999999TiB", "too large"]),
        Case::worker("memory for nothing", "--memory-limit 1KiB").says(&[
            "`memory_limit`",
            "16MiB",
            "1KiB",
        ]),
        Case::worker("a cache larger than all", "--memory-limit 64MiB --cache-limit 65MiB")
            .says(&["`cache_limit`", "64MiB", "65MiB"]),
        Case::worker("no name", "--name=").says(&["`name`", "1 to 128 bytes"]),
        Case::worker("a long name", format!("--name {}", "n".repeat(129)))
            .says(&["`name`", "1 to 128 bytes"]),
        Case::worker("a name that rings", "--name ring\u{7}").says(&["`name`", "control"]),
        Case::worker("an address without a port", "--coordinator head").says(&[
            "`coordinator`",
            "HOST:PORT",
            "\"head\"",
        ]),
        Case::worker("port zero", "--coordinator head:0").says(&["`coordinator`", "HOST:PORT"]),
        Case::worker("a log format that is none", "--log-format xml")
            .says(&["'xml'", "text, json"]),
    ]);
}
