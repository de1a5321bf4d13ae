//! What is wrong with a handshake, in a sentence that says what to change.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::keys::date;

/// Why the two sides do not come together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What to change, in a sentence.
    pub sentence: String,
    /// Whether trying again may help with nothing changed on this side: the
    /// other side's certificate has to be renewed.
    pub passes: bool,
}

/// What a worker or client says of the coordinator that it did not come together
/// with, its own keys file being at `path`; nothing where the network is to
/// blame.
pub(super) fn of_caller(error: &io::Error, path: &str) -> Option<Trouble> {
    let lasting = |sentence: String| Some(Trouble { sentence, passes: false });
    match tls_error(error)? {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::ExpiredContext { not_after, .. } => Some(Trouble {
                sentence: format!(
                    "its certificate expired on {}: `coordinator keys renew` there, \
                     and start it again",
                    date(not_after.as_secs())
                ),
                passes: true,
            }),
            CertificateError::NotValidYetContext { not_before, .. } => Some(Trouble {
                sentence: format!(
                    "its certificate is valid from {} on: are both hosts' clocks right?",
                    date(not_before.as_secs())
                ),
                passes: true,
            }),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => lasting(format!(
                "it belongs to another cluster than the keys file {path}: \
                 copy the keys file of its host to this one"
            )),
            CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurposeContext { .. } => lasting(
                "who answers there is no coordinator, but shows the certificate of a worker \
                     or client: check the address, and who has got hold of the cluster's keys"
                    .into(),
            ),
            other => lasting(format!("its certificate is wrong: {other}")),
        },
        Error::AlertReceived(alert) => lasting(match alert {
            AlertDescription::CertificateExpired => format!(
                "it says that the certificate of the keys file {path} is not valid now: \
                 `coordinator keys renew {path}`, or set the clock of one of the hosts"
            ),
            AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
                "it says that the certificate of the keys file {path} is not of its cluster: \
                 copy the keys file of its host to this one"
            ),
            AlertDescription::ProtocolVersion => {
                "it does not speak TLS 1.3: is it a coordinator of this version?".into()
            }
            other => format!("it does not accept the keys file {path} ({other:?})"),
        }),
        Error::PeerIncompatible(_) => {
            lasting("it does not speak TLS 1.3: is it a coordinator of this version?".into())
        }
        Error::InvalidMessage(_) => lasting(
            "it does not speak TLS, so that it has no keys: start it with --keys FILE too, \
             or this side without"
                .into(),
        ),
        _ => None,
    }
}

/// What a coordinator says of somebody who did not get in.
pub fn of_coordinator(error: &io::Error) -> String {
    let Some(wrong) = tls_error(error) else { return error.to_string() };
    match wrong {
        Error::NoCertificatesPresented => {
            "it showed no certificate: it needs the cluster's keys, --keys FILE".into()
        }
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::ExpiredContext { not_after, .. } => format!(
                "its certificate expired on {}: `coordinator keys renew` for its host",
                date(not_after.as_secs())
            ),
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "its certificate is valid from {} on: are both hosts' clocks right?",
                date(not_before.as_secs())
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by this cluster's authority: it made that itself, \
                 or has it from another cluster"
                    .into()
            }
            CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is not that of a worker or client".into()
            }
            other => format!("its certificate is wrong: {other}"),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "it belongs to another cluster: its keys file has another authority".into()
            }
            AlertDescription::CertificateExpired => {
                "it says that this coordinator's certificate is not valid now: \
                 `coordinator keys renew`, or set the clock of one of the hosts"
                    .into()
            }
            other => format!("it does not accept this coordinator's certificate ({other:?})"),
        },
        Error::PeerIncompatible(_) => "it speaks an older TLS: expected TLS 1.3".into(),
        Error::InvalidMessage(_) => "it began with TLS, and then sent what is none".into(),
        Error::DecryptError => {
            "what it sent is not of this connection: somebody plays back what another one said, \
             or changes it on the way"
                .into()
        }
        other => format!("TLS: {other}"),
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
