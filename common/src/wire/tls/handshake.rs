//! The handshake of TLS: rustls decides, this moves bytes.
//!
//! rustls is handed whole records and no byte more, so that what follows the
//! handshake is still encrypted when it is over, and is read by
//! [`records`](super::records).

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes before every record: its type, its version, its length.
pub(super) const HEADER_BYTES: usize = 5;

/// Most bytes of a record after its header.
pub(super) const RECORD_BYTES: usize = (16 << 10) + 256;

/// Most bytes of a handshake that are held at one time.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// One side of a handshake.
pub(super) trait Session: Sized {
    /// What rustls says of itself.
    type Data: Send + 'static;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn is_over(&self) -> bool;

    /// Whether there is something to say.
    fn has_words(&self) -> bool;

    fn peer_certificate(&self) -> Option<CertificateDer<'static>>;

    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error>;
}

/// Makes new secrets for either direction, when the old ones have served.
pub(super) trait Secrets: Send {
    fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
    fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
}

impl<D: Send> Secrets for KernelConnection<D> {
    fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_tx_secret()
    }

    fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_rx_secret()
    }
}

/// What a handshake has come to.
pub(super) struct Established {
    pub(super) suite: SupportedCipherSuite,
    /// The first secrets of both directions.
    pub(super) first: ExtractedSecrets,
    /// Where the next ones come from.
    pub(super) secrets: Box<dyn Secrets>,
    pub(super) peer: Option<CertificateDer<'static>>,
    /// Bytes that came after the handshake, still encrypted.
    pub(super) rest: Vec<u8>,
}

/// Shakes hands. A peer that fails is told by an alert, as far as it listens.
pub(super) async fn shake_hands<S, T>(mut session: S, stream: &mut T) -> io::Result<Established>
where
    S: Session,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    // So many of the incoming bytes are shown to rustls.
    let mut shown = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = session.process(&mut incoming[..shown]);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(data)) => Ok(encode(data, &mut outgoing)),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Next::Send)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Next::Receive),
            // A server could send by now, although its peer has proved nothing.
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Receive),
            Ok(_) => Err(Error::HandshakeNotComplete),
            Err(error) => Err(error),
        };
        incoming.drain(..discard);
        shown -= discard;
        match next {
            Ok(Next::Again) => {}
            Ok(Next::Send) => {
                stream.write_all(&outgoing).await?;
                outgoing.clear();
            }
            Ok(Next::Receive) if session.is_over() => {
                let peer = session.peer_certificate();
                let (first, kernel) = session.finish().map_err(invalid)?;
                let suite = kernel.negotiated_cipher_suite();
                let secrets = Box::new(kernel);
                return Ok(Established { suite, first, secrets, peer, rest: incoming });
            }
            Ok(Next::Receive) => {
                shown = receive(stream, &mut incoming, shown).await?;
            }
            Err(error) => {
                outgoing.append(&mut last_words(&mut session, &mut incoming[..shown]));
                // It may be gone; what went wrong is what counts.
                let _ = stream.write_all(&outgoing).await;
                return Err(invalid(error));
            }
        }
    }
}

/// What is to be done before rustls is asked again.
enum Next {
    Again,
    Send,
    Receive,
}

/// Appends what rustls wants to say.
fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> Next {
    let at = outgoing.len();
    outgoing.resize(at + HEADER_BYTES + RECORD_BYTES, 0);
    let written = match data.encode(&mut outgoing[at..]) {
        Ok(written) => written,
        Err(EncodeError::InsufficientSize(size)) => {
            outgoing.resize(at + size.required_size, 0);
            data.encode(&mut outgoing[at..]).unwrap_or(0)
        }
        Err(EncodeError::AlreadyEncoded) => 0,
    };
    outgoing.truncate(at + written);
    Next::Again
}

/// Reads until one more record is whole, and gives its end.
async fn receive<T: AsyncRead + Unpin>(
    stream: &mut T,
    incoming: &mut Vec<u8>,
    shown: usize,
) -> io::Result<usize> {
    loop {
        if let Some(end) = record_end(&incoming[shown..]) {
            return Ok(shown + end);
        }
        if incoming.len() >= HANDSHAKE_BYTES {
            return Err(io::Error::other("a handshake without end"));
        }
        if stream.read_buf(incoming).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The end of the first record; of what can be none, all that is there, for
/// rustls to say so.
fn record_end(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    if !(20..=24).contains(&first) {
        return Some(bytes.len());
    }
    let length = bytes.get(3..HEADER_BYTES)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    match HEADER_BYTES + length {
        end if length <= RECORD_BYTES => (end <= bytes.len()).then_some(end),
        _ => Some(bytes.len()),
    }
}

/// What rustls has to say after an error: an alert. It is asked for nothing
/// else, for it would go on where the error was.
fn last_words<S: Session>(session: &mut S, incoming: &mut [u8]) -> Vec<u8> {
    let mut outgoing = Vec::new();
    while session.has_words() {
        match session.process(incoming).state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut outgoing),
            _ => break,
        };
    }
    outgoing
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Session for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_over(&self) -> bool {
        !self.is_handshaking()
    }

    fn has_words(&self) -> bool {
        self.wants_write()
    }

    fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.peer_certificates()?.first().cloned()
    }

    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }
}

impl Session for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_over(&self) -> bool {
        !self.is_handshaking()
    }

    fn has_words(&self) -> bool {
        self.wants_write()
    }

    fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.peer_certificates()?.first().cloned()
    }

    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::pki_types::ServerName;

    use super::*;
    use crate::keys::{Keys, Member};
    use crate::wire::tls::{CallerTls, CoordinatorTls};

    /// The next of a sequence of numbers that looks like none.
    fn next(state: &mut u64) -> usize {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    /// A whole handshake, and then others in which either side's bytes are
    /// changed, doubled, or cut off: they fail, and nobody panics.
    #[tokio::test]
    async fn changed_handshakes_fail_on_both_sides() {
        let keys = Keys::generate(Path::new("cluster.pem"), 1).unwrap();
        let caller = CallerTls::new(&keys, Member::Worker).unwrap().config;
        let coordinator = CoordinatorTls::new(&keys).unwrap().config;
        let mut random = 1;
        for case in 0..400 {
            let (mut ours, mut between) = tokio::io::duplex(1 << 16);
            let (mut behind, mut theirs) = tokio::io::duplex(1 << 16);
            let name = ServerName::try_from(Member::Coordinator.host()).unwrap();
            let ask = UnbufferedClientConnection::new(caller.clone(), name).unwrap();
            let answer = UnbufferedServerConnection::new(coordinator.clone()).unwrap();
            let (changes, flight) = (case > 0, next(&mut random) % 3);
            let carry = async {
                let mut piece = vec![0; 1 << 16];
                for number in 0..3 {
                    let (from, to) = match number {
                        1 => (&mut behind, &mut between),
                        _ => (&mut between, &mut behind),
                    };
                    let count = from.read(&mut piece).await.unwrap_or(0);
                    let mut said = piece[..count].to_vec();
                    let changed = number == flight && changes && count > 0;
                    if changed {
                        let at = next(&mut random) % count;
                        match next(&mut random) % 4 {
                            0 => said.truncate(at),
                            1 => said.extend_from_within(at..),
                            _ => said[at] ^= 1 << (next(&mut random) % 8),
                        }
                    }
                    let _ = to.write_all(&said).await;
                    if changed {
                        // Whoever waits for more hears that there is none.
                        break;
                    }
                }
                drop((between, behind));
            };
            let (asked, answered, ()) = tokio::join!(
                async {
                    let asked = shake_hands(ask, &mut ours).await.map(drop);
                    drop(ours);
                    asked
                },
                async {
                    let answered = shake_hands(answer, &mut theirs).await.map(drop);
                    drop(theirs);
                    answered
                },
                carry
            );
            match case {
                0 => assert!(asked.is_ok() && answered.is_ok(), "{asked:?} {answered:?}"),
                // What is doubled of the last flight comes after the handshake.
                _ if flight == 2 => {}
                _ => assert!(answered.is_err(), "case {case}, flight {flight}: {asked:?}"),
            }
        }
    }
}
