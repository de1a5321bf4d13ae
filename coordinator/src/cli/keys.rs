//! `coordinator keys`: who belongs to a cluster.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use common::keys::{self, IDENTITY_DAYS, Keys, KeysError, Member};

use super::exit::Failure;
use super::report::table;

/// Most days that an identity may be valid for.
const DAYS: std::ops::RangeInclusive<i64> = 1..=keys::AUTHORITY_DAYS as i64;

#[derive(Debug, Args)]
#[command(after_help = "\
A cluster whose coordinator listens beyond its own host has keys: one file, made
once and copied to every host over a way that you trust. Whoever has it belongs
to the cluster; docs/SECURITY.md says what that means.

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
    /// Make the keys of a new cluster
    #[command(after_help = "\
Examples:
  coordinator keys new cluster.pem
  coordinator keys new cluster.pem --days 90
  coordinator keys new /keys/cluster.pem --if-missing")]
    New {
        /// The file to make, for its owner alone; never overwritten
        file: PathBuf,
        /// Days until the identities have to be renewed
        #[arg(long, default_value_t = IDENTITY_DAYS, value_parser = days())]
        days: u32,
        /// Leave a file alone that is there already
        #[arg(long)]
        if_missing: bool,
    },
    /// Show which cluster a file is of, for whom, and until when; never a key
    #[command(after_help = "Examples:\n  coordinator keys show cluster.pem")]
    Show {
        /// The file
        file: PathBuf,
    },
    /// Make new identities of the same cluster: old and new files work together
    #[command(after_help = "\
Identities that were copied elsewhere stay valid until their last day. To lock
somebody out at once, make a new cluster.

Examples:
  coordinator keys renew cluster.pem
  coordinator keys renew cluster.pem --days 90")]
    Renew {
        /// The file, which is replaced at once
        file: PathBuf,
        /// Days until they have to be renewed again
        #[arg(long, default_value_t = IDENTITY_DAYS, value_parser = days())]
        days: u32,
    },
    /// Make a file for one kind of host: it can be that, and nothing else
    #[command(after_help = "\
Examples:
  coordinator keys export cluster.pem worker.pem --role worker
  coordinator keys export cluster.pem laptop.pem --role client")]
    Export {
        /// The file of the cluster
        file: PathBuf,
        /// The file to make
        output: PathBuf,
        /// Who it is for
        #[arg(long)]
        role: RoleFlag,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleFlag {
    /// Hands out work, and can make nobody a member
    Coordinator,
    /// Works, and can give no orders
    Worker,
    /// Submits, follows and cancels runs
    Client,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(DAYS)
}

/// Does what the command says, and says what it did.
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
             copy it to every host; whoever has it belongs to the cluster\n"
        )),
        Err(KeysError::Exists { .. }) if if_missing => {
            let fingerprint = Keys::load(file)?.fingerprint();
            Ok(format!("{path}: keys of the cluster {fingerprint} are there already\n"))
        }
        Err(error) => Err(error),
    }
}

fn renew(file: &Path, days: u32) -> Result<String, KeysError> {
    Keys::load(file)?.renewed(days)?.replace()?;
    Ok(format!(
        "{}: new identities, valid for {days} days; coordinators and workers take them when \
         they are started\n",
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
    Ok(format!("{}: what a {member} needs, and no more\n", output.display()))
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
    let makes = match keys.has_authority_key() {
        true => "yes: with it, anybody can be made a member",
        false => "no",
    };
    format!(
        "cluster  {}\nvalid    {}\nmakes    {makes}\n\n{}",
        keys.fingerprint(),
        keys.authority_validity(),
        table(header, rows)
    )
}

/// Files that cannot be written, and randomness that is not there, are the
/// system's failure; all else is to be changed by the user.
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
