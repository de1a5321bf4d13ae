//! `coordinator resume`.

use clap::Args;
use common::id::RunId;
use common::run_settings::RunSettings;
use common::settings::check_log_filter;
use common::spec::RunSpec;

use super::exit::Failure;
use super::progress::tell;
use super::{Address, run_number};
use crate::client::Client;

/// The settings of a run that may change without changing its bits.
const SETTINGS: [&str; 5] =
    ["workers", "checkpoint_every", "keep_checkpoints", "log_level", "audit"];

#[derive(Debug, Args)]
#[command(after_help = "\
A run that failed or was cancelled continues from its last checkpoint and ends in
the same bits. (If the coordinator died, its runs continue when it is restarted.)
--set changes these settings:
  workers=N           workers to wait for before it starts
  checkpoint_every=W  rounds or seconds between two checkpoints: 10, 30s
  keep_checkpoints=N  checkpoints to keep
  log_level=FILTER    what the coordinator logs while the run is active
  audit=SHARE         share of the shards that two workers compute, 0 to 1
Anything else would change the bits. --fork starts a new run instead, which does
all rounds of its spec, starting from the last checkpoint's state.

Examples:
  coordinator resume 3
  coordinator resume 3 --set workers=4 --set checkpoint_every=100
  coordinator resume 3 --fork --set parameters.learning_rate=0.01 --set rounds=50")]
pub(super) struct ResumeFlags {
    /// The run's number, as `status` and `runs` print it
    #[arg(value_parser = run_number)]
    run: u64,
    /// Change a setting; with --fork, any field of the spec
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Start a new run from the state of this one
    #[arg(long)]
    fork: bool,
    #[command(flatten)]
    address: Address,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Resumes a run, and prints its number.
pub(super) fn resume(flags: ResumeFlags) -> Result<(), Failure> {
    let (settings, changes) = split(flags.set, flags.fork)?;
    let fork = flags.fork.then_some(changes);
    let tls = flags.address.tls()?;
    let (run, passed_over) = super::runtime()?.block_on(async {
        let mut client = Client::connect(&flags.address.coordinator, tls.as_ref()).await?;
        client.resume(RunId(flags.run), settings, fork).await
    })?;
    if let Some(what) = passed_over {
        tell(&[format!("warning: a damaged checkpoint was skipped: {what}")]);
    }
    super::print(&format!("{run}\n"))
}

/// Settings, and changes of the spec.
fn split(
    set: Vec<(String, String)>,
    fork: bool,
) -> Result<(RunSettings, Vec<(String, String)>), Failure> {
    let (mut settings, mut changes) = (RunSettings::default(), Vec::new());
    for (key, value) in set {
        if fork && !SETTINGS.contains(&key.as_str()) {
            changes.push((key, value));
        } else {
            let set = set_one(&mut settings, &key, value);
            set.map_err(|error| Failure::bad_input(format!("--set {key}{error}")))?;
        }
    }
    Ok((settings, changes))
}

/// Applies a setting. The error is the rest of a sentence that begins with its key.
fn set_one(settings: &mut RunSettings, key: &str, value: String) -> Result<(), String> {
    let fits = |found: Option<u32>| {
        let expected = || format!(": expected a number from 1, found {value:?}");
        found.filter(|number| *number > 0).ok_or_else(expected)
    };
    match key {
        "workers" | "min_workers" => settings.min_workers = Some(fits(value.parse().ok())?),
        "checkpoint_every" => {
            let every = value.parse().map_err(|error| format!(": {error}"))?;
            settings.checkpoint_every = Some(every);
        }
        "keep_checkpoints" => settings.keep_checkpoints = Some(fits(value.parse().ok())?),
        "log_level" => {
            check_log_filter(&value).map_err(|error| format!(": {error}"))?;
            settings.log_level = Some(value);
        }
        "audit" => {
            let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            let expected = || format!(": expected a share of the shards, 0 to 1, found {value:?}");
            settings.audit = Some(share.ok_or_else(expected)?);
        }
        known if RunSpec::has(known) => {
            return Err(format!(
                " would change the bits of the run: only {} may change; --fork starts a new run \
                 with it",
                SETTINGS.join(", ")
            ));
        }
        _ => {
            return Err(format!(
                ": no setting and no field of a spec has this name; expected one of {}",
                SETTINGS.join(", ")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::run_settings::CheckpointEvery;

    use super::*;

    fn set(pairs: &[(&str, &str)], fork: bool) -> Result<(RunSettings, usize), String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let split = split(pairs.collect(), fork);
        split.map(|(settings, changes)| (settings, changes.len())).map_err(|it| format!("{it:?}"))
    }

    #[test]
    fn only_what_keeps_the_bits_may_change() {
        let (settings, _) = set(&[("workers", "4"), ("checkpoint_every", "9s")], false).unwrap();
        assert_eq!(settings.min_workers, Some(4));
        assert_eq!(settings.checkpoint_every, Some(CheckpointEvery::Seconds(9)));
        let refused = set(&[("parameters.learning_rate", "1")], false).unwrap_err();
        assert!(refused.contains("parameters.learning_rate would change the bits"), "{refused}");
        let unknown = set(&[("chekpoint_every", "9s")], false).unwrap_err();
        let expected = "--set chekpoint_every: no setting and no field";
        assert!(unknown.contains(expected) && unknown.contains("checkpoint_every, "), "{unknown}");
        let (settings, _) = set(&[("audit", "0.25")], false).unwrap();
        assert_eq!(settings.audit, Some(0.25));
        for share in ["2", "-0.1", "NaN", "much"] {
            let error = set(&[("audit", share)], false).unwrap_err();
            assert!(error.contains("--set audit: expected a share"), "{error}");
        }
        assert_eq!(set(&[("audit", "1")], true).unwrap().1, 0);
        assert_eq!(set(&[("replicas", "4"), ("workers", "2")], true).unwrap().1, 1);
        assert!(set(&[("workers", "0")], false).unwrap_err().contains("from 1"));
    }

    #[test]
    fn errors_say_once_what_was_expected() {
        for (key, value) in [("checkpoint_every", "0"), ("log_level", "loud"), ("workers", "no")] {
            let error = set(&[(key, value)], false).unwrap_err();
            assert_eq!(error.matches("expected").count(), 1, "{error}");
            assert!(error.matches("found").count() <= 1, "{error}");
        }
    }
}
