//! The member and the dates of a certificate.
//!
//! There is no parser of certificates here: if the verifier is asked about a time that is
//! too early or too late, its error contains the certificate's dates.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::Member;

/// Far beyond any date of a certificate, in seconds since 1970.
const FAR: u64 = 1 << 48;

/// The validity of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: u64,
    /// The last second.
    pub until: u64,
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", date(self.from), date(self.until))
    }
}

/// The day of a time, as `2026-01-31`.
pub fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().map(time::OffsetDateTime::from_unix_timestamp);
    match time {
        Some(Ok(time)) => time.date().to_string(),
        _ => format!("second {seconds}"),
    }
}

/// The member of a certificate: the only name in it that is a member's.
pub fn member_of(certificate: &CertificateDer<'_>) -> Option<Member> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let names: Vec<&str> = certificate.valid_dns_names().collect();
    let [name] = names[..] else { return None };
    Member::ALL.into_iter().find(|member| member.host() == name)
}

/// The validity of a certificate; `None` if it is not a certificate.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let at = |seconds| verify(&certificate, &[], KeyUsage::client_auth(), seconds);
    match (at(0), at(FAR)) {
        (
            Err(Error::CertNotValidYet { not_before, .. }),
            Err(Error::CertExpired { not_after, .. }),
        ) => Some(Validity { from: not_before.as_secs(), until: not_after.as_secs() }),
        _ => None,
    }
}

/// Whether the authority has signed a certificate for this member, whatever its dates.
pub(super) fn is_signed_by(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    member: Member,
    at: u64,
) -> bool {
    let usage = match member {
        Member::Coordinator => KeyUsage::server_auth(),
        Member::Worker | Member::Client => KeyUsage::client_auth(),
    };
    let anchor = webpki::anchor_from_trusted_cert(authority);
    match (EndEntityCert::try_from(certificate), anchor) {
        (Ok(certificate), Ok(anchor)) => verify(&certificate, &[anchor], usage, at).is_ok(),
        _ => false,
    }
}

fn verify(
    certificate: &EndEntityCert<'_>,
    anchors: &[TrustAnchor<'_>],
    usage: KeyUsage,
    seconds: u64,
) -> Result<(), Error> {
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    certificate.verify_for_usage(algorithms, anchors, &[], time, usage, None, None).map(drop)
}
