//! Refused peers, and whether they may retry.

use common::wire::codec::{decode, encode, frame_of};
use common::wire::handshake;
use common::wire::message::{FromClient, Role, Welcome};
use tokio::io::AsyncWriteExt;

use super::peers::TestServer;
use crate::server::ServerConfig;

#[tokio::test]
async fn who_was_not_understood_may_pass_where_that_was_no_fault_of_its_own() {
    let server = TestServer::start(ServerConfig::default());
    let hello = || encode(handshake::hello(Role::Client)).head.to_vec();
    let damaged = {
        let mut bytes = hello();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let cut = hello()[..9].to_vec();
    let cases = [
        (damaged, true, "expected the checksum"),
        (cut, true, "the connection ended inside a frame"),
        (encode(FromClient::Status).head.to_vec(), false, "a frame that is not a Hello"),
        (frame_of(&[0xc1; 4]).head.to_vec(), false, "a frame that is not a Hello"),
    ];
    for (bytes, is_to_try_again, words) in cases {
        let mut peer = server.connect();
        peer.writer.write_all(&bytes).await.unwrap();
        peer.writer.shutdown().await.unwrap();
        let answer = peer.frames.next().await.unwrap().expect("it is told why");
        let Welcome::Refused { reason, may_pass } = decode(&answer).unwrap() else {
            panic!("{words}: it is let in")
        };
        assert!(reason.contains(words), "{reason}");
        assert_eq!(may_pass, is_to_try_again, "{reason}");
    }
    server.shut_down().await;
}
