//! New authorities and identities.

use std::collections::BTreeMap;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::PrivateKeyDer;
use time::OffsetDateTime;

use super::{AUTHORITY_DAYS, Identity, Keys, KeysError, Member, Secret, Validity};
use super::{date, now};
use crate::digest::Digest;

const DAY: u64 = 24 * 60 * 60;

/// How long before now a certificate's validity starts, as clocks of hosts differ.
const CLOCK_SLACK: u64 = DAY;

/// Characters of a key's digest in the name of its authority.
const NAME_CHARS: usize = 16;

impl Keys {
    /// A new cluster: a new authority, and all identities, valid for `days`.
    /// Nothing is written; `path` is where it is going to be.
    pub fn generate(path: &Path, days: u32) -> Result<Self, KeysError> {
        Self::generate_at(path, days, now())
    }

    /// [`Keys::generate`] at another time, in seconds since 1970.
    pub fn generate_at(path: &Path, days: u32, now: u64) -> Result<Self, KeysError> {
        let key = KeyPair::generate()?;
        let validity = validity_of(AUTHORITY_DAYS, now);
        let mut about = authority(&key);
        (about.not_before, about.not_after) = (time_of(validity.from), time_of(validity.until));
        let mut keys = Self {
            path: path.to_owned(),
            authority: about.self_signed(&key)?.der().clone(),
            validity,
            authority_key: Some(private(&key)),
            identities: BTreeMap::new(),
        };
        keys.identities = keys.new_identities(days, now)?;
        Ok(keys)
    }

    /// The same cluster with new identities. Hosts with the old and the new file accept each
    /// other.
    pub fn renewed(&self, days: u32) -> Result<Self, KeysError> {
        let identities = self.new_identities(days, now())?;
        Ok(Self { identities, ..self.clone() })
    }

    /// The keys of one member only, which cannot create members.
    pub fn exported(&self, member: Member) -> Result<Self, KeysError> {
        let identity = self.identity(member, now())?.clone();
        let identities = [(member, identity)].into();
        Ok(Self { identities, authority_key: None, ..self.clone() })
    }

    fn new_identities(&self, days: u32, now: u64) -> Result<BTreeMap<Member, Identity>, KeysError> {
        let path = || self.path.display().to_string();
        let Some(key) = &self.authority_key else {
            return Err(KeysError::NoAuthority { path: path() });
        };
        let last = self.validity.until;
        if now >= last {
            return Err(KeysError::AuthorityExpired { path: path(), date: date(last) });
        }
        let key = KeyPair::try_from(key.reveal())?;
        let about = authority(&key);
        let issuer = Issuer::from_params(&about, &key);
        let mut validity = validity_of(days, now);
        validity.until = validity.until.min(last);
        let identity = |member| Ok((member, identity(member, validity, &issuer)?));
        Member::ALL.into_iter().map(identity).collect()
    }
}

fn identity(
    member: Member,
    validity: Validity,
    issuer: &Issuer<'_, &KeyPair>,
) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut about = CertificateParams::new([member.host().to_owned()])?;
    about.distinguished_name = named(member.name());
    about.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    about.extended_key_usages = vec![match member {
        Member::Coordinator => ExtendedKeyUsagePurpose::ServerAuth,
        Member::Worker | Member::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    about.use_authority_key_identifier_extension = true;
    (about.not_before, about.not_after) = (time_of(validity.from), time_of(validity.until));
    let certificate = about.signed_by(&key, issuer)?.der().clone();
    Ok(Identity { certificate, key: private(&key), validity })
}

/// The certificate parameters of an authority with this key. Its name contains the key's
/// digest, so that names of clusters differ.
fn authority(key: &KeyPair) -> CertificateParams {
    let digest = Digest::of(key.der_bytes()).to_string();
    let mut about = CertificateParams::default();
    about.distinguished_name = named(&format!("samebit cluster {}", &digest[..NAME_CHARS]));
    about.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    about.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    about
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn private(key: &KeyPair) -> Secret {
    Secret(PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn validity_of(days: u32, now: u64) -> Validity {
    Validity { from: now.saturating_sub(CLOCK_SLACK), until: now + u64::from(days) * DAY }
}

fn time_of(seconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
