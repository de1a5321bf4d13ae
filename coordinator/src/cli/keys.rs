//! `coordinator keys`: creates and shows the keys of a cluster.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use common::keys::{self, IDENTITY_DAYS, Keys, KeysError, Member};

use super::exit::Failure;
use super::report::table;

/// Longest validity of an identity, in days.
const DAYS: std::ops::RangeInclusive<i64> = 1..=keys::AUTHORITY_DAYS as i64;

#[derive(Debug, Args)]
#[command(after_help = "\
A cluster whose coordinator listens beyond its own host needs keys: one file, made
once and copied to every host over a channel that you trust. A host with the file
is a member of the cluster; docs/SECURITY.md explains what that means.

Examples:
  coordinator keys new cluster.pem
  coordinator serve --listen 10.0.0.1:7700 --keys cluster.pem
  worker --coordinator 10.0.0.1:7700 --keys cluster.pem
  SAMEBIT_KEYS=cluster.pem coordinator status --coordinator 10.0.0.1:7700")]
pub(super) struct KeysFlags {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create the keys of a new cluster
    #[command(after_help = "\
Examples:
  coordinator keys new cluster.pem
  coordinator keys new cluster.pem --days 90
  coordinator keys new /keys/cluster.pem --if-missing")]
    New {
        /// The file to create, readable by its owner only; never overwritten
        file: PathBuf,
        /// Days until the identities have to be renewed
        #[arg(long, default_value_t = IDENTITY_DAYS, value_parser = days())]
        days: u32,
        /// Do nothing if the file exists already
        #[arg(long)]
        if_missing: bool,
    },
    /// Show a file's cluster, roles and expiry, but no key
    #[command(after_help = "Examples:\n  coordinator keys show cluster.pem")]
    Show {
        /// The file
        file: PathBuf,
    },
    /// Renew the identities of a cluster; old and new files work together
    #[command(after_help = "\
Copies of the old file stay valid until they expire. To lock out a host at once,
create a new cluster.

Examples:
  coordinator keys renew cluster.pem
  coordinator keys renew cluster.pem --days 90")]
    Renew {
        /// The file, which is replaced atomically
        file: PathBuf,
        /// Days until they have to be renewed again
        #[arg(long, default_value_t = IDENTITY_DAYS, value_parser = days())]
        days: u32,
    },
    /// Create a file for one role, without the rights of the others
    #[command(after_help = "\
Examples:
  coordinator keys export cluster.pem worker.pem --role worker
  coordinator keys export cluster.pem laptop.pem --role client")]
    Export {
        /// The file of the cluster
        file: PathBuf,
        /// The file to create
        output: PathBuf,
        /// Its role
        #[arg(long)]
        role: RoleFlag,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleFlag {
    /// Hands out work; cannot create members
    Coordinator,
    /// Works; cannot submit or cancel runs
    Worker,
    /// Submits, follows and cancels runs
    Client,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(DAYS)
}

/// Performs the command, and prints what it did.
pub(super) fn keys(flags: KeysFlags) -> Result<(), Failure> {
    let text = match flags.command {
        KeysCommand::New { file, days, if_missing } => new(&file, days, if_missing),
        KeysCommand::Show { file } => Keys::load(&file).map(|keys| show(&keys)),
        KeysCommand::Renew { file, days } => renew(&file, days),
        KeysCommand::Export { file, output, role } => export(&file, &output, role),
    };
    super::print(&text.map_err(failure)?)
}

fn new(file: &Path, days: u32, if_missing: bool) -> Result<String, KeysError> {
    let keys = Keys::generate(file, days)?;
    let path = file.display();
    match keys.write_new() {
        Ok(()) => Ok(format!(
            "{path}: keys of a new cluster, valid for {days} days\n\
             copy it to every host; a host with this file is a member of the cluster\n"
        )),
        Err(KeysError::Exists { .. }) if if_missing => {
            let fingerprint = Keys::load(file)?.fingerprint();
            Ok(format!("{path}: exists already, with keys of the cluster {fingerprint}\n"))
        }
        Err(error) => Err(error),
    }
}

fn renew(file: &Path, days: u32) -> Result<String, KeysError> {
    Keys::load(file)?.renewed(days)?.replace()?;
    Ok(format!(
        "{}: new identities, valid for {days} days; restart the coordinator and the workers to \
         use them\n",
        file.display()
    ))
}

fn export(file: &Path, output: &Path, role: RoleFlag) -> Result<String, KeysError> {
    let member = match role {
        RoleFlag::Coordinator => Member::Coordinator,
        RoleFlag::Worker => Member::Worker,
        RoleFlag::Client => Member::Client,
    };
    Keys::load(file)?.exported(member)?.at(output).write_new()?;
    Ok(format!("{}: keys for a {member} only\n", output.display()))
}

fn show(keys: &Keys) -> String {
    let header = ["for", "valid", ""].map(str::to_owned).to_vec();
    let now = keys::now();
    let rows = keys.identities().map(|(member, identity)| {
        let state = match keys.identity(member, now) {
            Err(KeysError::Expired { .. }) => "expired: `coordinator keys renew`",
            Err(_) => "not valid yet",
            Ok(_) => "",
        };
        vec![member.to_string(), identity.validity.to_string(), state.to_owned()]
    });
    let makes = if keys.has_authority_key() { "yes: it can create further members" } else { "no" };
    format!(
        "cluster  {}\nvalid    {}\nmakes    {makes}\n\n{}",
        keys.fingerprint(),
        keys.authority_validity(),
        table(header, rows)
    )
}

/// A file that cannot be written, or a missing source of randomness, is a failure of the
/// system; everything else is bad input.
fn failure(error: KeysError) -> Failure {
    match error {
        KeysError::Write { .. } | KeysError::Make(_) => Failure::failed(error),
        _ => Failure::bad_input(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_key() {
        let keys = Keys::generate(Path::new("cluster.pem"), 10).unwrap();
        let text = show(&keys);
        assert!(text.starts_with(&format!("cluster  {}\n", keys.fingerprint())), "{text}");
        for member in Member::ALL {
            assert!(text.contains(member.name()), "{text}");
        }
        assert!(!text.contains("PRIVATE") && !text.contains("expired"), "{text}");
        let old = Keys::generate_at(Path::new("cluster.pem"), 1, 1_000_000_000).unwrap();
        assert_eq!(show(&old).matches("expired: `coordinator keys renew`").count(), 3);
    }
}
