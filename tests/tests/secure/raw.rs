//! A peer that does with TLS whatever it likes: it believes any coordinator, and
//! shows any certificate.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::id::ProcessId;
use common::keys::{Keys, Member};
use common::wire::codec::{self, Message};
use common::wire::message::Role;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use tests::logged::PATIENCE;

/// What one shows to prove who it is.
pub(super) type Proof = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// That of a member, valid or not.
pub(super) fn proof_of(keys: &Keys, member: Member) -> Proof {
    let (_, identity) = keys.identities().find(|(of, _)| *of == member).expect("it is there");
    (identity.certificate.clone(), identity.key.reveal().clone_key())
}

/// One that nobody else has signed.
pub(super) fn self_made() -> Proof {
    let name = Member::Worker.host().to_owned();
    let made = rcgen::generate_simple_self_signed([name]).expect("a certificate");
    (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
}

/// A role as a worker says it.
pub(super) fn worker(name: &str) -> Role {
    let (name, process) = (name.to_owned(), ProcessId(5));
    Role::Worker { name, process, slots: 1, memory_limit: 1 << 30, cache_limit: 1 << 28 }
}

/// A connection under TLS, and its address for the other side's log.
pub(super) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    pub(super) address: String,
}

impl Raw {
    /// Connects; the handshake begins with the first word.
    pub(super) fn open(address: &str, proof: Option<Proof>) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible));
        let config = match proof {
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate], key).expect("a proof")
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("whoever.example").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let socket = connect(address);
        let address = socket.local_addr().expect("it is connected").to_string();
        Self { stream: StreamOwned::new(session, socket), address }
    }

    /// Says bytes. Whoever has heard enough may close before the last one.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// Says a message.
    pub(super) fn say_message(&mut self, message: impl Message) {
        let frame = codec::encode(message);
        self.say(&[frame.head, frame.body].concat());
    }

    /// The next message; at the end, or when TLS fails, how that came.
    pub(super) fn hear<M: Message>(&mut self) -> Result<M, std::io::Error> {
        let mut head = [0; codec::HEAD_BYTES];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, d, ..] = head;
        let mut content = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.stream.read_exact(&mut content)?;
        Ok(codec::decode(&content.into()).expect("a message"))
    }
}

/// A TCP connection that is read with patience.
pub(super) fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("somebody listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Everything until the end, however that comes.
pub(super) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end of the connection: {error}"),
    }
    all
}

/// Believes whoever answers.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
