//! The keys file of a cluster: its authority and its identities.
//!
//! ```text
//! authority ── signs ──▶ coordinator   worker   client     identities
//! ```
//!
//! Each of the four is a certificate and its key. An exported file ([`Keys::exported`]) has
//! one identity only and lacks the authority's key: its owner is a worker, for example, and
//! cannot create members.
//!
//! | file | what |
//! |---|---|
//! | `make` | new authorities and identities |
//! | `certificate` | the member and the dates of a certificate |
//! | `file` | reading and writing, and the file's mode |

mod certificate;
mod file;
mod make;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::digest::Digest;

pub use certificate::{Validity, date, member_of};

/// Default validity of an identity, in days.
pub const IDENTITY_DAYS: u32 = 365;

/// Validity of an authority, in days. No identity is valid longer.
pub const AUTHORITY_DAYS: u32 = 3650;

/// The role of a member of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Hands out work; workers and clients connect to it.
    Coordinator,
    /// Computes shards, and may do nothing else.
    Worker,
    /// Submits, watches and cancels runs.
    Client,
}

impl Member {
    /// All of them, in the order of a file.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Worker, Self::Client];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Client => "client",
        }
    }

    /// The DNS name in its certificate. It is never resolved.
    pub fn host(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator.samebit",
            Self::Worker => "worker.samebit",
            Self::Client => "client.samebit",
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A private key. It is never printed.
pub struct Secret(PrivateKeyDer<'static>);

impl Secret {
    /// The key itself.
    pub fn reveal(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// An identity: a certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: Secret,
    /// Its validity.
    pub validity: Validity,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// The content of a keys file. Its identities are signed by its authority, and its keys
/// match their certificates; [`Keys::identity`] checks the dates.
#[derive(Clone)]
pub struct Keys {
    /// The path it was read from, for messages.
    path: PathBuf,
    authority: CertificateDer<'static>,
    /// When the authority is valid.
    validity: Validity,
    /// The key that signs identities; not in every file.
    authority_key: Option<Secret>,
    identities: BTreeMap<Member, Identity>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("path", &self.path)
            .field("cluster", &self.fingerprint())
            .field("members", &self.identities.keys())
            .finish_non_exhaustive()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file cannot be read.
    #[error(
        "keys file {path}: {error}; copy the file from the host on which the cluster's keys were \
         created, or create keys for a new cluster with `coordinator keys new`"
    )]
    Read {
        /// The file.
        path: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// Users other than its owner may read the file.
    #[error(
        "keys file {path}: expected mode 0600, found {mode:04o}, with which others can access it: \
         run `chmod 600 {path}`; if others may have read it, create new keys"
    )]
    Open {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// The content is not that of a cluster's file.
    #[error("keys file {path}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// An identity is not signed by the file's authority.
    #[error(
        "keys file {path}: its {member} certificate is not signed by the authority in the file: \
         the file mixes two clusters, or was not created by `coordinator keys`; copy it again"
    )]
    SelfMade {
        /// The file.
        path: String,
        /// Whose certificate.
        member: Member,
    },
    /// The file lacks the needed identity.
    #[error(
        "keys file {path}: expected an identity of a {member}, found only: {found}; create a file \
         for a {member} with `coordinator keys export`"
    )]
    Missing {
        /// The file.
        path: String,
        /// The needed identity.
        member: Member,
        /// The identities in the file.
        found: String,
    },
    /// An identity has expired.
    #[error(
        "keys file {path}: its {member} certificate expired on {date}: renew it with \
         `coordinator keys renew {path}`, and copy the file to the hosts that use it"
    )]
    Expired {
        /// The file.
        path: String,
        /// Whose certificate.
        member: Member,
        /// The last day.
        date: String,
    },
    /// An identity is not valid yet.
    #[error(
        "keys file {path}: its {member} certificate is valid from {date} on: check this host's \
         clock"
    )]
    NotYet {
        /// The file.
        path: String,
        /// Whose certificate.
        member: Member,
        /// The first day.
        date: String,
    },
    /// The file lacks the authority's key, so it cannot create members.
    #[error(
        "keys file {path} lacks the authority's key, as it was exported for one role: use the \
         file that `coordinator keys new` created"
    )]
    NoAuthority {
        /// The file.
        path: String,
    },
    /// The authority has expired.
    #[error(
        "keys file {path}: its authority expired on {date}: create a new file with \
         `coordinator keys new`, and copy it to all hosts"
    )]
    AuthorityExpired {
        /// The file.
        path: String,
        /// The last day.
        date: String,
    },
    /// The file exists already.
    #[error("{path} exists already, and keys are never overwritten: name another file")]
    Exists {
        /// The file.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// A certificate cannot be created.
    #[error("cannot create a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl Keys {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The authority's certificate, against which other members are checked.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// The authority's validity.
    pub fn authority_validity(&self) -> Validity {
        self.validity
    }

    /// Whether the file can create identities.
    pub fn has_authority_key(&self) -> bool {
        self.authority_key.is_some()
    }

    /// The identity of the cluster: SHA-256 of the authority's certificate.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.authority)
    }

    /// All identities, valid or not.
    pub fn identities(&self) -> impl Iterator<Item = (Member, &Identity)> {
        self.identities.iter().map(|(member, identity)| (*member, identity))
    }

    /// The identity of `member`, if it is there and valid at `now` (seconds
    /// since 1970).
    pub fn identity(&self, member: Member, now: u64) -> Result<&Identity, KeysError> {
        let path = self.path.display().to_string();
        let Some(identity) = self.identities.get(&member) else {
            let found: Vec<_> = self.identities.keys().map(|member| member.name()).collect();
            return Err(KeysError::Missing { path, member, found: found.join(", ") });
        };
        let Validity { from, until } = identity.validity;
        if now > until {
            return Err(KeysError::Expired { path, member, date: date(until) });
        }
        if now < from {
            return Err(KeysError::NotYet { path, member, date: date(from) });
        }
        Ok(identity)
    }
}

/// Seconds since 1970, by this host's clock.
pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
