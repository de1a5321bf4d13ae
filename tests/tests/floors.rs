//! Imports only go down, and the pure modules stay pure. ARCHITECTURE.md
//! explains the floors; this is what keeps them.

use std::fs;
use std::path::Path;

use tests::binaries::workspace;
use tests::imports::{circles, imports};

/// What the files below a path may not name, and why.
struct Rule {
    why: &'static str,
    paths: &'static [&'static str],
    except: &'static [&'static str],
    banned: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        why: "the scheduler and the worker's session are pure: no I/O, clock, thread or tensor",
        paths: &["coordinator/src/scheduler", "worker/src/session"],
        except: &[],
        banned: &[
            "tokio",
            "rayon",
            "ndarray",
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::thread",
            "std::process",
            "SystemTime",
            "Instant::now",
            "thread_rng",
            "HashMap",
            "HashSet",
            "tracing",
            "common::state",
            "common::merge",
            "common::model",
            "common::dataset",
            "common::wire",
            "crate::server",
            "crate::client",
            "crate::local",
            "crate::driver",
            "crate::cli",
        ],
    },
    Rule {
        why: "the scheduler composes no sentence: the engine does, from its data",
        paths: &["coordinator/src/scheduler"],
        // What the invariants say is for the simulation alone.
        except: &["coordinator/src/scheduler/check", "coordinator/src/scheduler/tests"],
        banned: &["format!", "write!", "to_string"],
    },
    Rule {
        why: "what a round is depends on nothing but its input: no I/O, clock or host",
        paths: &[
            "common/src/merge",
            "common/src/model",
            "common/src/plan",
            "common/src/shard",
            "common/src/results",
            "common/src/id",
            "common/src/spec",
        ],
        except: &[],
        banned: &[
            "tokio",
            "std::fs",
            "std::net",
            "std::env",
            "std::thread",
            "SystemTime",
            "Instant",
            "thread_rng",
            "HashMap",
            "HashSet",
            "mul_add",
            "available_parallelism",
            "current_num_threads",
        ],
    },
    Rule {
        why: "floor 0 knows nothing above it",
        paths: &[
            "common/src/id",
            "common/src/digest",
            "common/src/limits",
            "common/src/results",
            "common/src/spec",
            "common/src/run_state",
            "common/src/worker_event",
            "common/src/memory",
            "common/src/merge_rule",
        ],
        except: &[],
        banned: &[
            "crate::state",
            "crate::merge",
            "crate::model",
            "crate::dataset",
            "crate::plan",
            "crate::shard",
            "crate::wire",
            "crate::settings",
        ],
    },
    Rule {
        why: "floor 1 knows neither the wire nor settings",
        paths: &[
            "common/src/state",
            "common/src/merge",
            "common/src/model",
            "common/src/dataset",
            "common/src/plan",
            "common/src/shard",
        ],
        except: &[],
        banned: &["crate::wire", "crate::settings"],
    },
    Rule {
        why: "keys know neither the wire nor settings",
        paths: &["common/src/keys"],
        except: &[],
        banned: &["crate::wire", "crate::settings", "crate::model", "tokio"],
    },
    Rule {
        why: "the wire knows no settings",
        paths: &["common/src/wire"],
        except: &[],
        banned: &["crate::settings", "crate::model", "crate::shard"],
    },
    Rule {
        why: "flags and settings files belong to floor 5",
        paths: &["common/src", "coordinator/src", "worker/src", "samebit/src"],
        except: &[
            "common/src/settings",
            "coordinator/src/cli",
            "worker/src/cli",
            "samebit/src/program",
        ],
        banned: &["clap::", "config::Config", "config::builder", "anyhow"],
    },
    Rule {
        why: "drivers do not know the command line",
        paths: &[
            "coordinator/src/server",
            "coordinator/src/client",
            "coordinator/src/ledger",
            "coordinator/src/local",
            "coordinator/src/reference",
            "worker/src/driver",
        ],
        except: &[],
        banned: &["crate::cli", "common::settings"],
    },
    Rule {
        why: "connections know no run: neither what it is, nor where it is kept",
        paths: &["coordinator/src/server/net"],
        except: &[],
        banned: &[
            "server::run_table",
            "super::run_table",
            "server::step",
            "super::step",
            "server::intake",
            "super::intake",
            "server::persistence",
            "super::persistence",
            "server::jobs",
            "super::jobs",
            "server::config",
            "super::config",
            "server::engine",
            "super::engine",
            "crate::runs",
            "crate::scheduler",
        ],
    },
    Rule {
        why: "the run table knows what runs are, and not what is done with them",
        paths: &["coordinator/src/server/run_table"],
        except: &[],
        banned: &[
            "server::step",
            "super::step",
            "server::intake",
            "super::intake",
            "server::persistence",
            "super::persistence",
            "server::config",
            "super::config",
            "server::engine",
            "super::engine",
            "crate::scheduler",
        ],
    },
    Rule {
        why: "submissions come in: what becomes of the runs is decided above",
        paths: &["coordinator/src/server/intake"],
        except: &[],
        banned: &[
            "server::step",
            "super::step",
            "server::persistence",
            "super::persistence",
            "server::config",
            "super::config",
            "server::engine",
            "super::engine",
            "crate::scheduler",
            "crate::ledger",
        ],
    },
    Rule {
        why: "the storage writer does what it is told, in order",
        paths: &["coordinator/src/server/persistence"],
        except: &[],
        banned: &[
            "server::net",
            "super::net",
            "server::step",
            "super::step",
            "server::intake",
            "super::intake",
            "server::jobs",
            "super::jobs",
            "server::engine",
            "super::engine",
            "crate::scheduler",
        ],
    },
    Rule {
        why: "a step is merged by what comes in: it knows neither files nor submissions",
        paths: &["coordinator/src/server/step"],
        except: &[],
        banned: &[
            "server::intake",
            "super::intake",
            "server::persistence",
            "super::persistence",
            "server::config",
            "super::config",
            "server::engine",
            "super::engine",
            "std::fs",
            "tokio::spawn",
            "spawn_blocking",
        ],
    },
    Rule {
        why: "what all rooms of the server may use knows none of them",
        paths: &[
            "coordinator/src/server/jobs",
            "coordinator/src/server/config",
            "coordinator/src/server/rate_limit",
            "coordinator/src/server/text",
            "coordinator/src/server/wall_clock",
        ],
        except: &[],
        banned: &[
            "server::net",
            "super::net",
            "server::run_table",
            "super::run_table",
            "server::step",
            "super::step",
            "server::intake",
            "super::intake",
            "server::persistence",
            "super::persistence",
            "server::engine",
            "super::engine",
        ],
    },
    Rule {
        why: "files and threads are for the rooms below the engine",
        paths: &["coordinator/src/server/engine"],
        except: &[],
        banned: &["std::fs", "std::thread::Builder", "spawn_blocking", "tokio::spawn"],
    },
    Rule {
        why: "only the history knows its database",
        paths: &["coordinator/src", "common/src", "worker/src", "samebit/src"],
        except: &["coordinator/src/ledger"],
        banned: &["rusqlite"],
    },
    Rule {
        why: "the history knows its rows alone",
        paths: &["coordinator/src/ledger"],
        except: &[],
        banned: &["tokio", "common::state", "crate::server", "crate::client", "crate::scheduler"],
    },
    Rule {
        why: "a picture depends on nothing but its numbers: no I/O, clock or libm of the host",
        paths: &["coordinator/src/cli/plot/draw"],
        except: &[],
        banned: &[
            "std::fs",
            "std::io",
            "std::env",
            "std::thread",
            "SystemTime",
            "Instant",
            "HashMap",
            "HashSet",
            "mul_add",
            "powf",
            "powi",
            "log10",
            "common::state",
            "crate::client",
        ],
    },
    Rule {
        why: "the coordinator and the worker meet in `samebit` and `tests` only",
        paths: &["coordinator/src", "coordinator/Cargo.toml"],
        except: &[],
        banned: &["use worker::", "worker.workspace", "worker = {", "samebit-worker"],
    },
    Rule {
        why: "the coordinator and the worker meet in `samebit` and `tests` only",
        paths: &["worker/src", "worker/Cargo.toml"],
        except: &[],
        banned: &[
            "use coordinator::",
            "coordinator.workspace",
            "coordinator = {",
            "samebit-coordinator",
        ],
    },
    Rule {
        why: "nothing below `samebit` knows it",
        paths: &[
            "common/src",
            "common/Cargo.toml",
            "coordinator/src",
            "coordinator/Cargo.toml",
            "worker/src",
            "worker/Cargo.toml",
        ],
        except: &[],
        banned: &["samebit::", "samebit.workspace", "samebit = {"],
    },
    Rule {
        why: "only `samebit::main` starts its own program again: a user's test or notebook must \
              not multiply",
        paths: &["common/src", "coordinator/src", "worker/src", "samebit/src", "python/src"],
        // That test measures the memory of a process that does one thing.
        except: &["samebit/src/program", "common/src/dataset/tests/memory"],
        banned: &["current_exe", "/proc/self/exe"],
    },
    Rule {
        why: "only the Python package knows Python",
        paths: &[
            "common/src",
            "common/Cargo.toml",
            "coordinator/src",
            "coordinator/Cargo.toml",
            "worker/src",
            "worker/Cargo.toml",
            "samebit/src",
            "samebit/Cargo.toml",
        ],
        except: &[],
        banned: &["pyo3::", "pyo3.workspace", "samebit-python"],
    },
    Rule {
        why: "the Python package is a client, and no command line or worker",
        paths: &["python/src"],
        // The program beside it in the wheel.
        except: &["python/src/bin"],
        banned: &["worker::", "samebit::", "coordinator::cli", "coordinator::server", "clap"],
    },
    Rule {
        why: "a run in this process starts no other, and opens no socket",
        paths: &["coordinator/src/reference"],
        except: &[],
        banned: &["std::process", "std::net", "tokio", "crate::local", "crate::server"],
    },
    Rule {
        why: "`unsafe` lives in the kernels, one mapping of memory, and a setting of the allocator",
        paths: &["common/src", "coordinator/src", "worker/src", "samebit/src", "python/src"],
        except: &[
            "common/src/memory/allocator",
            "common/src/model/kernel/elementwise",
            "common/src/model/kernel/sparse",
            "common/src/model/kernel/tile",
            "common/src/model/spiking/kernel",
            "common/src/model/vector",
            "common/src/wire/shared_memory/mapping",
        ],
        banned: &["unsafe {", "unsafe fn", "allow(unsafe_code)"],
    },
];

/// Longest `main.rs`, in lines.
const MAIN_LINES: usize = 60;

#[test]
fn floors_hold() {
    let broken = violations(&sources());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_rule_catches_a_breach() {
    for rule in RULES {
        for banned in rule.banned {
            let path = format!("{}/planted.rs", rule.paths[0]);
            // Below the line that tells of tests in a file of their own, too.
            let planted =
                (path, format!("#[cfg(test)]\nmod tests;\n\nfn planted() {{ {banned} }}\n"));
            let found = violations(&[planted]);
            assert!(
                found.iter().any(|line| line.contains(rule.why)),
                "`{banned}` in {} was not caught",
                rule.paths[0]
            );
        }
    }
    let long = ("samebit/src/main.rs".to_owned(), "\n".repeat(MAIN_LINES + 1));
    assert_eq!(violations(&[long]).len(), 1);
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut sources = sources();
    sources.retain(|(file, _)| file.ends_with(".rs"));
    let circles = circles(&imports(&sources).expect("all files are Rust"));
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Cargo builds a package once for all who ask for it in one build, with all the
/// features that any of them wants: only one that is never shipped may want this one.
#[test]
fn only_the_package_of_tests_wants_injected_bugs() {
    let manifests = [
        "",
        "common",
        "coordinator",
        "worker",
        "samebit",
        "python",
        "tests",
        "examples/custom_model",
    ];
    let wanting = manifests.into_iter().filter(|folder| {
        let path = workspace().join(folder).join("Cargo.toml");
        let text = fs::read_to_string(path).unwrap();
        text.lines().any(|line| !line.starts_with('#') && line.contains("\"injected_bugs\""))
    });
    assert_eq!(wanting.collect::<Vec<_>>(), ["tests"]);
    let root: toml::Table =
        fs::read_to_string(workspace().join("Cargo.toml")).unwrap().parse().unwrap();
    let built = root["workspace"]["default-members"].as_array().unwrap();
    assert!(!built.iter().any(|member| member.as_str() == Some("tests")), "{built:?}");
}

#[test]
fn every_rule_reads_something() {
    let sources = sources();
    for path in RULES.iter().flat_map(|rule| rule.paths.iter().chain(rule.except)) {
        assert!(sources.iter().any(|(file, _)| below(file, path)), "nothing lies at {path}");
    }
}

/// One line for each breach.
fn violations(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        if file.ends_with("src/main.rs") && text.lines().count() >= MAIN_LINES {
            found.push(format!("{file}: `main.rs` is {MAIN_LINES} lines or more"));
        }
        for rule in RULES {
            let applies = rule.paths.iter().any(|path| below(file, path));
            if !applies || rule.except.iter().any(|path| below(file, path)) {
                continue;
            }
            for (number, line) in product_code(text) {
                for banned in rule.banned.iter().filter(|banned| names(line, banned)) {
                    found.push(format!("{file}:{number}: names `{banned}`, but {}", rule.why));
                }
            }
        }
    }
    found
}

/// Whether `file` is the module `path` (`a/b.rs`) or lies below it (`a/b/…`).
fn below(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| matches!(rest, "" | ".rs") || rest.starts_with('/'))
}

/// Whether `line` has `word`, not as a part of a longer word.
fn names(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let open_end = word.ends_with(|c: char| !c.is_alphanumeric());
        !inside(line[..at].chars().next_back())
            && (open_end || !inside(line[at + word.len()..].chars().next()))
    })
}

/// Numbered lines without comments, up to the tests at a file's end. What else
/// is for tests alone, above them, counts as product code.
fn product_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = |line: &str| line.starts_with("mod tests {");
    text.lines()
        .enumerate()
        .take_while(move |(_, line)| !ends(line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// All source files and manifests of the four packages that are published, and of the Python package.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for package in ["common", "coordinator", "worker", "samebit", "python"] {
        let manifest = format!("{package}/Cargo.toml");
        let text = fs::read_to_string(workspace().join(&manifest)).expect("a manifest");
        found.push((manifest, text));
        collect(&workspace().join(package).join("src"), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            let name = path.strip_prefix(workspace()).expect("below the workspace");
            let text = fs::read_to_string(&path).expect("a source file");
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
}
