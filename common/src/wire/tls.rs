//! TLS for clusters with keys: both sides prove that they are members of the cluster, and
//! their roles.
//!
//! TLS 1.3 only. Sessions are never resumed, and nothing is sent before the handshake is
//! complete, so a replayed handshake is useless.

mod sentence;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::keys::{Identity, Keys, KeysError, Member, member_of, now};
use crate::wire::stream::{self, Carrier, Reader, Watched, Writer};

use sentence::of_caller;
pub use sentence::{TlsFailure, of_coordinator};

/// First byte of a TLS connection: a handshake record. A Samebit frame begins with 0, as no
/// frame has 2^24 bytes.
pub const FIRST_BYTE: u8 = 0x16;

/// TLS settings of a worker or client.
#[derive(Clone)]
pub struct CallerTls {
    config: Arc<ClientConfig>,
    path: String,
}

/// TLS settings of a coordinator.
#[derive(Clone)]
pub struct CoordinatorTls {
    config: Arc<ServerConfig>,
}

impl fmt::Debug for CallerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerTls").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for CoordinatorTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorTls").finish_non_exhaustive()
    }
}

impl CallerTls {
    /// Uses the identity of `member`, which must be valid now.
    pub fn new(keys: &Keys, member: Member) -> Result<Self, KeysError> {
        let (chain, key) = chain(keys.identity(member, now())?);
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(roots(keys))
            .with_client_auth_cert(chain, key)
            .expect("keys belong to their certificates");
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), path: keys.path().display().to_string() })
    }

    /// The cause of an error of [`CallerTls::secure`] or of the first read after it; `None`
    /// for errors of the network.
    pub fn trouble(&self, error: &io::Error) -> Option<TlsFailure> {
        of_caller(error, &self.path)
    }

    /// Performs the handshake with a coordinator of the same cluster. If the coordinator
    /// refuses this side, that may only show in the first read.
    pub async fn secure(&self, stream: TcpStream) -> io::Result<(Reader, Writer)> {
        let name = ServerName::try_from(Member::Coordinator.host()).expect("a name of ours");
        let connector = TlsConnector::from(self.config.clone());
        let secured = connector.connect(name, Watched::carry(stream, || {})).await?;
        Ok(stream::tls(secured.into()))
    }
}

impl CoordinatorTls {
    /// Uses the coordinator's identity, which must be valid now.
    pub fn new(keys: &Keys) -> Result<Self, KeysError> {
        let (chain, key) = chain(keys.identity(Member::Coordinator, now())?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(keys), provider())
            .build()
            .expect("the authority is one");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("keys belong to their certificates");
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config) })
    }

    /// Performs the handshake with a member of the cluster, and returns its role. `on_bytes` is
    /// notified of all received bytes, during and after the handshake. If the peer is not a member,
    /// it has been sent an alert when this returns the error and the socket.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        on_bytes: impl Fn() + Send + Sync + 'static,
    ) -> Result<Handshake, (io::Error, TcpStream)> {
        let accepting =
            TlsAcceptor::from(self.config.clone()).accept(Watched::carry(stream, on_bytes));
        let accepted = accepting.into_fallible().await;
        let secured = accepted.map_err(|(error, carrier)| (error, carrier.into_inner().stream))?;
        let certificates = secured.get_ref().1.peer_certificates();
        match certificates.and_then(|chain| chain.first()).and_then(member_of) {
            Some(member) => Ok(Handshake { member, secured: secured.into() }),
            None => {
                let error = io::Error::other("its certificate is not that of a member");
                Err((error, secured.into_inner().0.into_inner().stream))
            }
        }
    }
}

/// A completed handshake.
#[derive(Debug)]
pub struct Handshake {
    /// The peer's role.
    pub member: Member,
    secured: TlsStream<Carrier>,
}

impl Handshake {
    /// Both halves of its connection.
    pub fn split(self) -> (Reader, Writer) {
        stream::tls(self.secured)
    }
}

/// AES-128 comes first: it is the fastest, and as secure as the others for this purpose.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let first =
        |suite: &rustls::SupportedCipherSuite| *suite != cipher_suite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(first);
    Arc::new(provider)
}

fn roots(keys: &Keys) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(keys.authority().clone()).expect("an authority that has signed identities");
    Arc::new(roots)
}

fn chain(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (vec![identity.certificate.clone()], identity.key.reveal().clone_key())
}
