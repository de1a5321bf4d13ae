//! Peers that only look like a coordinator, for a client and for a worker.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::digest::Digest;
use common::id::{AssignmentId, Block, RunId, StepId, WorkerId};
use common::plan::{BlockPlan, Task};
use common::spec::Split;
use common::state::Layout;
use common::wire::codec::{self, Message};
use common::wire::message::{ToClient, ToWorker, Welcome};

use super::case::{Case, FAILED, LOST, check, noise};
use tests::logged::Logged;

/// Listens, and says these bytes to whoever connects once it has said
/// something; then hears it to its end. It goes on until the test's process
/// ends.
fn impostor(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            std::thread::spawn(move || answer(stream, &bytes));
        }
    });
    address
}

fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let mut heard = [0; 1024];
    // Whoever leaves early hears no more.
    let _ = stream.read(&mut heard);
    let _ = stream.write_all(bytes);
    while stream.read(&mut heard).is_ok_and(|count| count > 0) {}
}

/// One that closes at once.
fn closing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    address
}

fn encoded(message: impl Message) -> Vec<u8> {
    let frame = codec::encode(message);
    [frame.head, frame.body].concat()
}

/// Bytes after a right welcome.
fn welcome_and(more: &[u8]) -> Vec<u8> {
    let accepted = Welcome::Accepted {
        build: "1".into(),
        worker: Some(WorkerId(1)),
        heartbeat_timeout_ms: 1000,
    };
    [&encoded(accepted), more].concat()
}

fn refusal() -> Vec<u8> {
    encoded(Welcome::Refused { reason: "install another version".into(), may_pass: false })
}

const WEB_SERVER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

#[test]
fn for_a_client() {
    let status = |name: &str, address: String| {
        Case::coordinator(name, format!("status --coordinator {address}")).exits(LOST)
    };
    let says = |name: &str, bytes: Vec<u8>| status(name, impostor(bytes));
    let rejection = encoded(ToClient::Rejected { bad_input: true, reason: "not so".into() });
    check(vec![
        status("one that closes", closing()).says(&["lost the connection", "127.0.0.1:"]),
        says("a web server", WEB_SERVER.to_vec()).says(&[
            "127.0.0.1:",
            "a frame of 1213486160 bytes",
            "at most 16384",
            "another program may be listening there",
        ]),
        says("noise", noise(10_000)).says(&["127.0.0.1:", "a frame of"]),
        says("no welcome", encoded(ToClient::Heartbeat)).says(&["127.0.0.1:", "not a Welcome"]),
        says("silence", Vec::new()).says(&["127.0.0.1:", "no handshake within 5 s"]),
        says("silence after a welcome", welcome_and(&[])).says(&["127.0.0.1:", "silent for 1 s"]),
        says("a refusal", refusal())
            .exits(FAILED)
            .says(&["the coordinator refuses", "install another version"]),
        says("a rejection", welcome_and(&rejection)).exits(2).says(&["not so"]),
        says("a length of 4 GiB", welcome_and(&[0xff; 4]))
            .exits(LOST)
            .says(&["127.0.0.1:", "a frame of 4294967295 bytes"]),
        says("a worker's message", welcome_and(&encoded(ToWorker::CloseRun { run: RunId(1) })))
            .exits(FAILED)
            .says(&["127.0.0.1:", "not a ToClient"]),
        says("an answer to another question", {
            let (layout, digest) = (Layout::default(), Digest::of(b""));
            welcome_and(&encoded(ToClient::State {
                run: RunId(1),
                spec: String::new(),
                schema: String::new(),
                layout,
                digest,
                history_bytes: 0,
            }))
        })
        .exits(FAILED)
        .says(&["127.0.0.1:", "sent an unexpected message", "State"]),
    ]);
}

#[test]
fn for_a_worker() {
    let step = StepId { run: RunId(7), index: 0 };
    let block = Block { level: 0, index: 0 };
    let (task, positions) = (Task::Train, vec![0, 1]);
    let plan = BlockPlan { task, split: Split::Train, epoch: 0, positions };
    let unsorted = BlockPlan { positions: vec![2, 1], ..plan.clone() };
    let assign = |plan| {
        let assignment = AssignmentId(1);
        encoded(ToWorker::Assign { assignment, step, block, plan, confirm: false })
    };
    let segment = ToWorker::StateSegment { step, segment: 0, payload: vec![0; 4].into() };
    let pull = ToWorker::Pull { step, block, first: 0, count: 0 };
    let cases = [
        ("one that closes", closing(), "closed the connection"),
        ("a web server", impostor(WEB_SERVER.to_vec()), "a frame of 1213486160 bytes"),
        ("noise", impostor(noise(10_000)), "a frame of"),
        ("no welcome", impostor(encoded(ToWorker::Heartbeat)), "not a Welcome"),
        (
            "silence",
            impostor(Vec::new()),
            "within 5 s: check the address, as another program may be listening there",
        ),
        ("silence after a welcome", impostor(welcome_and(&[])), "silent"),
        ("a length of 4 GiB", impostor(welcome_and(&[0xff; 4])), "a frame of 4294967295 bytes"),
        (
            "a client's message",
            impostor(welcome_and(&encoded(ToClient::Accepted {
                run: RunId(1),
                passed_over: None,
            }))),
            "not a ToWorker",
        ),
        ("work of no run", impostor(welcome_and(&assign(plan))), "sent an invalid message"),
        ("positions that fall", impostor(welcome_and(&assign(unsorted))), "field `plan.positions`"),
        ("a state of no run", impostor(welcome_and(&encoded(segment))), "sent an invalid message"),
        ("a pull of nothing", impostor(welcome_and(&encoded(pull))), "field `count`"),
    ];
    std::thread::scope(|scope| {
        for (name, address, trouble) in &cases {
            scope.spawn(move || {
                let mut worker = Logged::worker("w", address, &[]);
                let line = worker.log.wait_for(|line| {
                    let message = line["message"].as_str().unwrap_or_default();
                    line["level"] == "WARN" && message.contains(trouble)
                });
                line.unwrap_or_else(|error| panic!("{name}: expected {trouble:?}: {error}"));
                // It tries again until it is told to leave.
                worker.leave();
            });
        }
    });
}

#[test]
fn a_worker_that_is_refused_leaves() {
    let mut worker = Logged::worker("w", &impostor(refusal()), &[]);
    assert_eq!(worker.wait(), Some(FAILED));
    let says = |line: &serde_json::Value| line.to_string().contains("install another version");
    worker.log.wait_for(says).expect("it says why");
}
