//! `coordinator explain`.
//!
//! ```text
//! rows ──▶ Account (sums, a worker a line) ──▶ sentences
//! ```

mod account;
mod sentences;
#[cfg(test)]
mod tests;

use clap::Args;

use self::account::Account;
use super::exit::Failure;
use super::run_number;
use super::runs::HistoryFlags;
use crate::ledger::{LedgerError, LedgerReader, StoredRun};

#[derive(Debug, Args)]
#[command(after_help = "\
Reads the history of runs from its file, whether or not a coordinator is running.

Examples:
  coordinator explain 3
  coordinator explain 3 --runs /srv/samebit/runs")]
pub(super) struct ExplainFlags {
    /// The run's number, as `runs` prints it
    #[arg(value_parser = run_number)]
    run: u64,
    #[command(flatten)]
    history: HistoryFlags,
}

/// Prints an account of a run in sentences.
pub(super) fn explain(flags: &ExplainFlags) -> Result<(), Failure> {
    let (reader, run) = flags.history.find(flags.run)?;
    let account = Account { flag: flags.history.flag(), ..account(&reader, run)? };
    super::print(&sentences::explain(&account))
}

fn account(reader: &LedgerReader, run: StoredRun) -> Result<Account, LedgerError> {
    let id = run.run;
    let mut account = Account::new(run);
    reader.steps(id).try_for_each(|step| step.map(|step| account.take_step(&step)))?;
    let mut shards = reader.shards(id, 0..u64::MAX);
    shards.try_for_each(|shard| shard.map(|shard| account.take_shard(&shard)))?;
    reader.events(id).try_for_each(|event| event.map(|event| account.take_event(event)))?;
    let mut checkpoints = reader.checkpoints(id);
    checkpoints.try_for_each(|row| row.map(|row| account.take_checkpoint(&row)))?;
    Ok(account)
}
