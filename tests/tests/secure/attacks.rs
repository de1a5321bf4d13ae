//! Who a coordinator with keys turns away, and in which words.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::keys::{Keys, Member, now};
use common::wire::codec;
use common::wire::handshake;
use common::wire::message::{Role, Welcome};
use serde_json::Value;
use tests::client::Client;
use tests::expected;
use tests::logged::{Log, Logged};

use super::raw::{Proof, Raw, connect, proof_of, read_to_end, self_made, worker};
use super::{DAY, KeyFiles, coordinator, expired, status, text};
use crate::cluster::SOFTMAX;

/// The first message of a program that knows TLS 1.2 and nothing later, as
/// OpenSSL would send it.
const TLS_1_2_HELLO: &[u8] = b"\x16\x03\x01\x00\x4d\x01\x00\x00\x49\x03\x03\
    samebit-attack-table-of-32-bytes\x00\
    \x00\x04\xc0\x2b\xc0\x2f\x01\x00\
    \x00\x1c\
    \x00\x0a\x00\x04\x00\x02\x00\x17\
    \x00\x0b\x00\x02\x01\x00\
    \x00\x0d\x00\x06\x00\x04\x04\x03\x08\x04\
    \x00\x17\x00\x00";

/// Does something to a coordinator; gives its own address and what it was told.
type Act = Box<dyn Fn(&str) -> (String, String) + Send + Sync>;

/// Somebody, and what must come of it.
struct Attack {
    name: &'static str,
    act: Act,
    /// What it is told: the words of a refusal, or of an alert.
    told: &'static str,
    /// What the log says.
    logged: &'static str,
}

fn attack(
    name: &'static str,
    act: impl Fn(&str) -> (String, String) + Send + Sync + 'static,
    told: &'static str,
    logged: &'static str,
) -> Attack {
    Attack { name, act: Box::new(act), told, logged }
}

/// Shows a proof, then says `hello`.
fn under_tls(proof: Option<Proof>, role: Role) -> impl Fn(&str) -> (String, String) {
    move |address| {
        let proof = proof.as_ref().map(|(certificate, key)| (certificate.clone(), key.clone_key()));
        let mut raw = Raw::open(address, proof);
        raw.say_message(handshake::hello(role.clone()));
        told(raw)
    }
}

/// What a peer under TLS is told.
fn told(mut raw: Raw) -> (String, String) {
    let told = match raw.hear::<Welcome>() {
        Ok(Welcome::Refused { reason, .. }) => reason,
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    };
    (raw.address, told)
}

/// Says bytes without TLS.
fn in_plain(bytes: &'static [u8]) -> impl Fn(&str) -> (String, String) {
    move |address| {
        let mut stream = connect(address);
        let ours = stream.local_addr().expect("it is connected").to_string();
        stream.write_all(bytes).expect("it is open");
        (ours, String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned())
    }
}

fn plain_hello() -> &'static [u8] {
    let frame = codec::encode(handshake::hello(worker("plain")));
    Vec::leak([frame.head, frame.body].concat())
}

fn attacks(keys: &Keys, old: &Keys, files: &KeyFiles) -> Vec<Attack> {
    let foreign = files.new_cluster("foreign.pem");
    let ours = |member| Some(proof_of(keys, member));
    let silent = |words: &'static [u8]| in_plain(words);
    const NO_WORDS: &str = "";
    const EXPIRED: &str = "received fatal alert: CertificateExpired";
    const UNKNOWN: &str = "received fatal alert: UnknownCA";
    const NOT_OURS: &str = "is not signed by this cluster's authority";
    const LATE: &str = "no handshake within 5 s";
    vec![
        attack(
            "no certificate",
            under_tls(None, worker("w")),
            "received fatal alert: CertificateRequired",
            "it has no certificate: give it the cluster's keys with --keys FILE",
        ),
        attack(
            "a worker of another cluster",
            under_tls(Some(proof_of(&foreign, Member::Worker)), worker("w")),
            UNKNOWN,
            NOT_OURS,
        ),
        attack(
            "a client of another cluster",
            under_tls(Some(proof_of(&foreign, Member::Client)), Role::Client),
            UNKNOWN,
            NOT_OURS,
        ),
        attack("self-made", under_tls(Some(self_made()), worker("w")), UNKNOWN, NOT_OURS),
        attack(
            "expired",
            under_tls(Some(proof_of(old, Member::Worker)), worker("w")),
            EXPIRED,
            "its certificate expired on ",
        ),
        attack(
            "a coordinator's certificate",
            under_tls(ours(Member::Coordinator), Role::Client),
            "received fatal alert: UnsupportedCertificate",
            "its certificate is not that of a worker or client",
        ),
        attack(
            "a worker that gives orders",
            under_tls(ours(Member::Worker), Role::Client),
            "give it keys for a client",
            "its certificate is for a worker, but it connects as a client",
        ),
        attack(
            "a client that works",
            under_tls(ours(Member::Client), worker("w")),
            "give it keys for a worker",
            "its certificate is for a client, but it connects as a worker",
        ),
        attack("TLS 1.2", in_plain(TLS_1_2_HELLO), "\u{15}\u{3}", "expected TLS 1.3"),
        attack("plain text", in_plain(plain_hello()), "give --keys FILE", "asks for the cluster's"),
        attack("a browser", in_plain(b"GET / HTTP/1.1\r\n\r\n"), "--keys FILE", "asks for the"),
        attack("noise after TLS", in_plain(b"\x16\x03\x01\xff\xff"), "", "sent other bytes"),
        attack(
            "an oversized hello",
            {
                let proof = Mutex::new(ours(Member::Worker));
                move |address| {
                    let proof = proof.lock().expect("used once").take();
                    let mut raw = Raw::open(address, proof);
                    raw.say(&[&16385_u32.to_be_bytes()[..], &[0; 16385]].concat());
                    told(raw)
                }
            },
            "at most 16384",
            "a frame of 16385 bytes",
        ),
        attack(
            "a hello of 4 GiB",
            {
                let proof = Mutex::new(ours(Member::Client));
                move |address| {
                    let proof = proof.lock().expect("used once").take();
                    let mut raw = Raw::open(address, proof);
                    raw.say(&[0xff; 64]);
                    told(raw)
                }
            },
            "at most 16384",
            "a frame of 4294967295 bytes",
        ),
        attack("silence", silent(b""), NO_WORDS, LATE),
        attack("half a TLS hello", silent(TLS_1_2_HELLO.split_at(20).0), NO_WORDS, LATE),
        attack(
            "silence after TLS",
            {
                let proof = Mutex::new(ours(Member::Worker));
                move |address| {
                    let proof = proof.lock().expect("used once").take();
                    let mut raw = Raw::open(address, proof);
                    raw.say(&[0, 0]);
                    told(raw)
                }
            },
            LATE,
            LATE,
        ),
    ]
}

/// All of them at the same time, while a run of the cluster's own goes on.
#[test]
fn everybody_else_is_turned_away() {
    let files = KeyFiles::new();
    let [old, keys] = expired(&files);
    let attacks = attacks(&keys, &old, &files);
    let (mut coordinator, address) = coordinator(&keys);
    let flags = ["--keys", text(keys.path())];
    let mut worker = Logged::worker("ours", &address, &flags);
    let submit = [&["--coordinator", &address][..], &flags].concat();
    let mut client = Client::start(SOFTMAX, &submit);
    client.wait_for("started");
    let failures: Vec<String> = std::thread::scope(|scope| {
        let log = &coordinator.log;
        let threads: Vec<_> =
            attacks.iter().map(|attack| (attack, scope.spawn(|| (attack.act)(&address)))).collect();
        let failure = |(attack, thread): (&Attack, std::thread::ScopedJoinHandle<'_, _>)| {
            let (peer, told): (String, String) = thread.join().expect("it does not panic");
            println!("{}: told {told:?}", attack.name);
            if !told.contains(attack.told) {
                return Some(format!("{}: was told {told:?}", attack.name));
            }
            let said = refusal(log, &peer);
            println!("{}: logged {said:?}", attack.name);
            (!said.contains(attack.logged)).then(|| format!("{}: log says {said:?}", attack.name))
        };
        threads.into_iter().filter_map(failure).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(client.finish(), expected::digest(SOFTMAX));
    let status = status(&address, Some(keys.path()));
    assert_eq!(status["refused"], attacks.len() as u64, "{status}");
    assert_eq!(status["insecure"], false);
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(1), "{status}");
    worker.leave();
    coordinator.leave();
}

/// What the log says of whoever was refused at this address.
fn refusal(log: &Log, peer: &str) -> String {
    let is_it = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["peer"] == peer && message.starts_with("refused: ")
    };
    log.wait_for(is_it).expect("it is refused")["message"].to_string()
}

/// Not valid yet, and back from a renewal: the old file and the new one know
/// each other.
#[test]
fn old_and_new_files_work_together_and_tomorrows_do_not() {
    let files = KeyFiles::new();
    let [tomorrows, keys] =
        files.renewed_cluster("tomorrow.pem", "today.pem", 30, now() + 10 * DAY);
    let (mut coordinator, address) = coordinator(&keys);
    let early = under_tls(Some(proof_of(&tomorrows, Member::Worker)), worker("early"));
    let (peer, told) = early(&address);
    assert!(told.contains("CertificateExpired"), "{told}");
    let said = refusal(&coordinator.log, &peer);
    assert!(said.contains("its certificate is valid from "), "{said}");
    let again = files.write(keys.renewed(5).expect("keys").at(&files.path("again.pem")));
    let mut worker = Logged::worker("renewed", &address, &["--keys", text(again.path())]);
    let submit = ["--coordinator", &address, "--keys", text(again.path())];
    assert_eq!(Client::start(SOFTMAX, &submit).finish(), expected::digest(SOFTMAX));
    worker.leave();
    coordinator.leave();
}

/// What a worker said, said again to the same coordinator: a new connection has
/// a new secret, of which it is not.
#[test]
fn a_handshake_that_is_played_back_is_worth_nothing() {
    let files = KeyFiles::new();
    let keys = files.new_cluster("cluster.pem");
    let (mut coordinator, address) = coordinator(&keys);
    let (between, recorded) = recorder(&address);
    let flags = ["--keys", text(keys.path())];
    let mut worker = Logged::worker("recorded", &between, &flags);
    let submit = [&["--coordinator", &address][..], &flags].concat();
    assert_eq!(Client::start(SOFTMAX, &submit).finish(), expected::digest(SOFTMAX));
    worker.leave();

    let bytes = recorded.lock().expect("the recorder does not panic").clone();
    assert!(bytes.len() > 1000, "a whole run was recorded");
    let mut stream = connect(&address);
    let peer = stream.local_addr().expect("it is connected").to_string();
    // Whoever has heard enough may close before the last byte.
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let heard = read_to_end(&mut stream);
    // A server's first flight, then the alert `bad_record_mac`.
    assert!(heard.starts_with(&[0x16, 3, 3]), "{heard:x?}");
    let said = refusal(&coordinator.log, &peer);
    assert!(said.contains("do not belong to this connection"), "{said}");
    let status = status(&address, Some(keys.path()));
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(0), "{status}");
    coordinator.leave();
}

/// Stands between a worker and its coordinator, and writes down what the worker
/// says on its first connection.
fn recorder(target: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let (target, record) = (target.to_owned(), recorded.clone());
    std::thread::spawn(move || {
        let (mut worker, _) = listener.accept().expect("the worker comes");
        let mut coordinator = TcpStream::connect(target).expect("the coordinator listens");
        let (mut down, mut up) = (coordinator.try_clone(), worker.try_clone());
        let (Ok(down), Ok(up)) = (&mut down, &mut up) else { return };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = std::io::copy(down, up);
                let _ = up.shutdown(Shutdown::Write);
            });
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = worker.read(&mut piece) {
                record.lock().expect("no reader panics").extend(&piece[..count]);
                if coordinator.write_all(&piece[..count]).is_err() {
                    break;
                }
            }
            let _ = coordinator.shutdown(Shutdown::Write);
        });
    });
    (address, recorded)
}
