//! Turns an error of the TLS handshake into a sentence with what to change.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::keys::date;

/// Why the handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// A sentence with what to change.
    pub sentence: String,
    /// Whether a retry may help without a change on this side, as the other side's
    /// certificate has to be renewed.
    pub passes: bool,
}

/// The sentence for a worker or client about its coordinator. `path` is its own keys file.
/// `None` for errors of the network.
pub(super) fn of_caller(error: &io::Error, path: &str) -> Option<TlsFailure> {
    let lasting = |sentence: String| Some(TlsFailure { sentence, passes: false });
    match tls_error(error)? {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::ExpiredContext { not_after, .. } => Some(TlsFailure {
                sentence: format!(
                    "its certificate expired on {}: run `coordinator keys renew` on its host, and \
                     restart it",
                    date(not_after.as_secs())
                ),
                passes: true,
            }),
            CertificateError::NotValidYetContext { not_before, .. } => Some(TlsFailure {
                sentence: format!(
                    "its certificate is valid from {} on: check the clocks of both hosts",
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
                "the peer is not a coordinator: it has the certificate of a worker or client. \
                     Check the address, and whether the cluster's keys were stolen"
                    .into(),
            ),
            other => lasting(format!("its certificate is wrong: {other}")),
        },
        Error::AlertReceived(alert) => lasting(match alert {
            AlertDescription::CertificateExpired => format!(
                "it reports that the certificate in the keys file {path} is not valid now: run \
                 `coordinator keys renew {path}`, or correct the clocks of the hosts"
            ),
            AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
                "it reports that the certificate in the keys file {path} is of another cluster: \
                 copy the keys file of its host to this one"
            ),
            AlertDescription::ProtocolVersion => {
                "it does not speak TLS 1.3: check the address, and that it is a coordinator of this \
                 version"
                    .into()
            }
            other => format!("it does not accept the keys file {path} ({other:?})"),
        }),
        Error::PeerIncompatible(_) => {
            lasting(
                "it does not speak TLS 1.3: check the address, and that it is a coordinator of this \
                 version"
                    .into(),
            )
        }
        Error::InvalidMessage(_) => lasting(
            "it does not speak TLS, as it runs without keys: start it with --keys FILE, or this side \
             without"
                .into(),
        ),
        _ => None,
    }
}

/// The sentence for a coordinator about a peer that it refused.
pub fn of_coordinator(error: &io::Error) -> String {
    let Some(wrong) = tls_error(error) else { return error.to_string() };
    match wrong {
        Error::NoCertificatesPresented => {
            "it has no certificate: give it the cluster's keys with --keys FILE".into()
        }
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::ExpiredContext { not_after, .. } => format!(
                "its certificate expired on {}: run `coordinator keys renew`, and copy the file to \
                 its host",
                date(not_after.as_secs())
            ),
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "its certificate is valid from {} on: check the clocks of both hosts",
                date(not_before.as_secs())
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by this cluster's authority: it is self-made, or of \
                 another cluster"
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
                "it reports that this coordinator's certificate is not valid now: run \
                 `coordinator keys renew`, or correct the clocks of the hosts"
                    .into()
            }
            other => format!("it does not accept this coordinator's certificate ({other:?})"),
        },
        Error::PeerIncompatible(_) => "it speaks an older TLS: expected TLS 1.3".into(),
        Error::InvalidMessage(_) => "it began with TLS, and then sent other bytes".into(),
        Error::DecryptError => {
            "its bytes do not belong to this connection: they were replayed from another one, or \
             changed on the way"
                .into()
        }
        other => format!("TLS: {other}"),
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
