//! The cluster's file: who belongs to a cluster, and what proves it.
//!
//! ```text
//! authority ── signs ──▶ coordinator   worker   client     identities
//! ```
//!
//! Each of the four is a certificate and its key. A file may leave out the
//! authority's key and all identities but one ([`Keys::exported`]): whoever has
//! such a file is a worker, or a client, and can make nobody else one.
//!
//! | file | what |
//! |---|---|
//! | `make` | new authorities and identities |
//! | `certificate` | what is read off a certificate: its member, its dates |
//! | `file` | reading and writing, and who may read it |

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

/// Days that an identity is valid for, unless told otherwise.
pub const IDENTITY_DAYS: u32 = 365;

/// Days that an authority is valid for. No identity outlives it.
pub const AUTHORITY_DAYS: u32 = 3650;

/// Who somebody is in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Hands out work, and is who workers and clients connect to.
    Coordinator,
    /// Works, and may do nothing else.
    Worker,
    /// Submits, watches and cancels runs.
    Client,
}

impl Member {
    /// All of them, in the order of a file.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Worker, Self::Client];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Client => "client",
        }
    }

    /// The DNS name that a certificate says it by. Nobody looks it up.
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

/// A private key. It is never shown.
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

/// What proves who somebody is: a certificate, and the key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: Secret,
    /// When it is valid.
    pub validity: Validity,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// The content of a cluster's file. Its identities are signed by its authority,
/// and its keys belong to their certificates; dates are looked at by
/// [`Keys::identity`].
#[derive(Clone)]
pub struct Keys {
    /// Where it was read, for what is said about it.
    path: PathBuf,
    authority: CertificateDer<'static>,
    /// When the authority is valid.
    validity: Validity,
    /// What makes identities; not in every file.
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
        "keys file {path}: {error}; copy it from the host where the cluster's keys were made; \
         `coordinator keys new` makes those of a new cluster"
    )]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Others than its owner may read the file.
    #[error(
        "keys file {path} can be read by others (its mode is {mode:04o}): `chmod 600 {path}`; \
         and if somebody may have read it, make new keys"
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
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// An identity is not of the file's own authority.
    #[error(
        "keys file {path}: its {member} certificate is not signed by its own authority: somebody \
         made it without `coordinator keys`, or put two files together"
    )]
    SelfMade {
        /// The file.
        path: String,
        /// Whose certificate.
        member: Member,
    },
    /// The file has not what is needed.
    #[error(
        "keys file {path} has no identity of a {member}, only of: {found}; \
         `coordinator keys export` makes a file for one"
    )]
    Missing {
        /// The file.
        path: String,
        /// Who is needed.
        member: Member,
        /// Who is there.
        found: String,
    },
    /// An identity is not valid any more.
    #[error(
        "keys file {path}: its {member} certificate expired on {date}: \
         `coordinator keys renew {path}`, and copy the file to where it is used"
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
        "keys file {path}: its {member} certificate is valid from {date} on: \
         is this host's clock right?"
    )]
    NotYet {
        /// The file.
        path: String,
        /// Whose certificate.
        member: Member,
        /// The first day.
        date: String,
    },
    /// The file has no authority's key, so that it can make nobody a member.
    #[error(
        "keys file {path} lacks the authority's key: it was exported for one member; \
         do this with the file that `coordinator keys new` made"
    )]
    NoAuthority {
        /// The file.
        path: String,
    },
    /// The authority is not valid any more.
    #[error(
        "keys file {path}: its authority expired on {date}: make a new file with \
         `coordinator keys new`, and copy it to all hosts"
    )]
    AuthorityExpired {
        /// The file.
        path: String,
        /// The last day.
        date: String,
    },
    /// There is a file already.
    #[error("{path} is there already, and keys are never overwritten: name another file")]
    Exists {
        /// The file.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl Keys {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The authority's certificate: what others of the cluster are judged by.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// When the authority is valid.
    pub fn authority_validity(&self) -> Validity {
        self.validity
    }

    /// Whether the file can make identities.
    pub fn has_authority_key(&self) -> bool {
        self.authority_key.is_some()
    }

    /// Names the cluster: SHA-256 of the authority's certificate.
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
