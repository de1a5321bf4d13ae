//! A client against a coordinator that follows a script.

use std::collections::BTreeMap;

use common::dataset::Dataset;
use common::merge::MergeRule;
use common::spec::RunSpec;
use common::state::{Tensor, TensorData};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::*;
use common::wire::message::{Hello, Welcome};

/// The coordinator's end of a connection.
struct Peer {
    reader: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Peer {
    async fn accept(listener: TcpListener, answer: Welcome) -> Self {
        let (read, mut write) = listener.accept().await.unwrap().0.into_split();
        let mut reader = FrameReader::new(read, limits::HANDSHAKE_FRAME_BYTES);
        let hello: Hello = codec::decode(&reader.next().await.unwrap().unwrap()).unwrap();
        assert_eq!((hello.magic.as_str(), hello.role), ("samebit", Role::Client));
        codec::write(&mut write, &codec::encode(answer)).await.unwrap();
        reader.set_limit(limits::FRAME_BYTES);
        Self { reader, write }
    }

    async fn next(&mut self) -> FromClient {
        loop {
            let content = self.reader.next().await.unwrap().unwrap();
            match codec::decode(&content).unwrap() {
                FromClient::Heartbeat => {}
                message => return message,
            }
        }
    }

    async fn say(&mut self, message: ToClient) {
        codec::write(&mut self.write, &codec::encode(message)).await.unwrap();
    }
}

fn welcome() -> Welcome {
    Welcome::Accepted { build: "test".into(), worker: None, heartbeat_timeout_ms: 60_000 }
}

/// A connected client, and what is left of the script. A script that gives
/// its peer back keeps the connection open for as long as the test runs.
async fn start<S, F, T>(answer: Welcome, script: S) -> (Result<Client, ClientError>, JoinHandle<T>)
where
    S: FnOnce(Peer) -> F + Send + 'static,
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move { script(Peer::accept(listener, answer).await).await });
    (Client::connect(&address, None).await, peer)
}

fn state(value: f32) -> NetworkState {
    // Two segments, so that their order matters.
    let elements = limits::PAYLOAD_BYTES / 4 + 1;
    let data = TensorData::F32(ndarray::ArrayD::from_elem(vec![elements], value));
    NetworkState::new([("w".to_owned(), Tensor { data, rule: MergeRule::Mean })]).unwrap()
}

fn submission(state: Option<NetworkState>) -> Submission {
    let spec = RunSpec::default_digits();
    let dataset = Dataset::load(&spec.dataset).unwrap();
    let (train, test) = (dataset.train.manifest(), dataset.test.manifest());
    let settings = RunSettings { min_workers: Some(2), ..RunSettings::default() };
    let source = crate::client::submission::Source::Loaded(std::sync::Arc::new(dataset));
    let key = common::id::SubmissionKey(7);
    let schema = String::new();
    Submission { key, spec, schema, source, train, test, state, settings, replay: None }
}

#[tokio::test]
async fn a_submission_brings_state_and_missing_chunks_and_events_follow() {
    let sent = submission(Some(state(1.5)));
    let expected = sent.clone();
    let (client, peer) = start(welcome(), async move |mut peer: Peer| {
        let FromClient::Submit { train, state: layout, settings, .. } = peer.next().await else {
            panic!("no submission");
        };
        assert_eq!(train, expected.train);
        assert_eq!(settings.min_workers, Some(2));
        let wanted = ToClient::NeedChunks { split: Split::Train, chunks: vec![0] };
        peer.say(wanted).await;
        let mut received = NetworkState::zeros(&layout.unwrap()).unwrap();
        let segments = received.layout().state_segments();
        let (mut next_segment, mut chunks) = (0, BTreeMap::new());
        while next_segment < segments.len() || chunks.is_empty() {
            match peer.next().await {
                FromClient::StateSegment { segment, payload } => {
                    assert_eq!(segment as usize, next_segment);
                    let segment = &segments[next_segment];
                    received.write_segment(next_segment, segment, &payload).unwrap();
                    next_segment += 1;
                }
                FromClient::Chunk { split: Split::Train, chunk, payload } => {
                    expected.train.check_chunk(chunk as usize, &payload).unwrap();
                    chunks.insert(chunk, payload);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received, state(1.5));
        peer.say(ToClient::Accepted { run: RunId(7), passed_over: None }).await;
        assert_eq!(peer.next().await, FromClient::Follow { run: RunId(7) });
        peer.say(ToClient::Heartbeat).await;
        peer.say(ToClient::Event(RunEvent::Cancelled { run: RunId(7) })).await;
        peer
    })
    .await;
    let mut client = client.unwrap();
    assert_eq!(client.submit(&sent).await.unwrap(), RunId(7));
    client.follow(RunId(7)).await.unwrap();
    assert_eq!(client.next_event().await.unwrap(), RunEvent::Cancelled { run: RunId(7) });
    peer.await.unwrap();
}

#[tokio::test]
async fn a_state_comes_home_only_with_its_digest() {
    for honest in [true, false] {
        let (client, peer) = start(welcome(), async move |mut peer: Peer| {
            let state = state(2.5);
            assert_eq!(peer.next().await, FromClient::Fetch { run: RunId(1) });
            let digest = if honest { state.digest() } else { state_digest_of_another() };
            let (run, layout) = (RunId(1), state.layout());
            let spec = RunSpec::example().to_owned();
            let history = long_history();
            let history_bytes = history.len() as u64;
            let schema = String::new();
            peer.say(ToClient::State { run, spec, schema, layout, digest, history_bytes }).await;
            for (index, segment) in state.layout().state_segments().iter().enumerate() {
                let mut payload = Vec::new();
                state.read_segment(segment, &mut payload);
                let payload = payload.into();
                peer.say(ToClient::StateSegment { segment: index as u32, payload }).await;
            }
            for (piece, text) in history.as_bytes().chunks(limits::PAYLOAD_BYTES).enumerate() {
                let payload = text.to_vec().into();
                peer.say(ToClient::History { piece: piece as u32, payload }).await;
            }
            peer
        })
        .await;
        let fetched = client.unwrap().fetch(RunId(1)).await;
        match fetched {
            Ok(fetched) => {
                assert!(honest && fetched.state == state(2.5));
                assert_eq!(fetched.spec, RunSpec::from_toml(RunSpec::example()).unwrap());
                assert_eq!(fetched.history.to_json(), long_history());
            }
            Err(ClientError::Unexpected { what, .. }) => assert!(!honest, "{what}"),
            Err(other) => panic!("{other}"),
        }
        peer.await.unwrap();
    }
}

/// One that does not fit a frame.
fn long_history() -> String {
    let confusion = vec![u64::MAX; limits::RESULT_COUNTS];
    let text = super::super::History { confusion, ..Default::default() }.to_json();
    assert!(text.len() > limits::FRAME_BYTES);
    text
}

fn state_digest_of_another() -> common::digest::Digest {
    state(0.5).digest()
}

#[tokio::test]
async fn refusals_rejections_and_losses_are_told_apart() {
    let refused = Welcome::Refused { reason: "use the same build".into(), may_pass: false };
    let (client, _peer) = start(refused, async |_: Peer| {}).await;
    assert!(matches!(client, Err(ClientError::Refused { .. })), "{client:?}");

    let (client, _peer) = start(welcome(), async |mut peer: Peer| {
        let _ = peer.next().await;
        peer.say(ToClient::Rejected { bad_input: true, reason: "too much".into() }).await;
        peer
    })
    .await;
    let rejected = client.unwrap().submit(&submission(None)).await;
    let Err(ClientError::Rejected { bad_input: true, reason }) = rejected else {
        panic!("{rejected:?}");
    };
    assert_eq!(reason, "too much");

    let (client, _gone) = start(welcome(), async |_: Peer| {}).await;
    let lost = client.unwrap().next_event().await;
    assert!(matches!(lost, Err(ClientError::Lost { .. })), "{lost:?}");

    let (client, _peer) = start(welcome(), async |mut peer: Peer| {
        let _ = peer.next().await;
        let chunks = vec![u32::MAX];
        peer.say(ToClient::NeedChunks { split: Split::Test, chunks }).await;
        peer
    })
    .await;
    let unexpected = client.unwrap().submit(&submission(None)).await;
    assert!(matches!(unexpected, Err(ClientError::Unexpected { .. })), "{unexpected:?}");
}

#[tokio::test]
async fn nobody_at_the_address_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&address, None).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(error.to_string().contains(&address), "{error}");
}
