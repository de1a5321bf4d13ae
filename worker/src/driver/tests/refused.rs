//! A worker that is refused.

use super::*;

impl Stage {
    /// Refuses the worker.
    async fn refuse(&self, may_pass: bool) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let welcome = Welcome::Refused { reason: "install another".into(), may_pass };
        codec::write(&mut stream, &codec::encode(welcome)).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_worker_gives_up() {
    let toy = TestRun::new(3, "");
    let stage = Stage::new(&toy).await;
    stage.refuse(false).await;
    assert_eq!(
        stage.end().await,
        End::Refused("refused by the coordinator: install another".into())
    );
}

#[tokio::test]
async fn a_worker_that_may_pass_later_tries_again() {
    let toy = TestRun::new(3, "");
    let stage = Stage::new(&toy).await;
    stage.refuse(true).await;
    let Stage { listener, signals: _signals, worker } = stage;
    let (stream, _) = tokio::select! {
        again = listener.accept() => again.unwrap(),
        end = worker => panic!("it has left: {end:?}"),
    };
    Peer::welcome(stream).await.open_run(&toy).await;
}
