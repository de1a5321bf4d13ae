//! A client of a coordinator: submits runs, follows them, and fetches their final states.
//!
//! ```no_run
//! use samebit::client::Client;
//! use samebit::model::Registry;
//! use samebit::spec::RunSpec;
//!
//! let spec = RunSpec::from_toml("model = \"softmax\"\ndataset.source = \"digits\"")?;
//! let mut client = Client::connect("127.0.0.1:7700")?;
//! let run = client.submit(&Registry::standard(), spec, None)?;
//! for event in client.follow(run)? {
//!     println!("{:?}", event?);
//! }
//! println!("{}", client.fetch(run)?.state.digest());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::time::Duration;

use common::keys::{Keys, KeysError, Member};
use common::model::Registry;
use common::run_settings::RunSettings;
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::tls::CallerTls;
use coordinator::client::{self, Submission};
use tokio::runtime::{Builder, Runtime};

pub use common::id::{RunId, WorkerId};
pub use common::run_state::RunState;
pub use common::wire::message::{RunEvent, RunStatus, Status, WorkerStatus};
pub use common::worker_event::WorkerEvent;
pub use coordinator::client::{
    ClientError as ConnectionError, EvaluationPoint, Fetched, History, RoundPoint, SubmissionError,
};

/// A connection to a coordinator. Dropping it closes the connection; runs continue without it.
///
/// All calls block. Inside an async runtime they panic: call them from a thread where blocking is
/// allowed. A separate thread keeps the connection alive between calls.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    connection: client::Client,
    /// Whether events of a followed run may still arrive.
    follows: bool,
}

/// The reason why a request was not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The coordinator cannot be reached, or rejects the request.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The run to be submitted is wrong.
    #[error(transparent)]
    Submission(#[from] SubmissionError),
    /// The keys file is wrong.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No thread can be started.
    #[error("cannot start a thread for the connection: {0}")]
    Thread(#[from] std::io::Error),
}

impl Client {
    /// Connects to a coordinator at `HOST:PORT` that has no keys.
    pub fn connect(address: &str) -> Result<Self, ClientError> {
        Self::open(address, None)
    }

    /// Connects to a coordinator at `HOST:PORT` under TLS, by the keys file of its
    /// cluster, or a client's share of that.
    pub fn connect_with_keys(address: &str, keys: &Path) -> Result<Self, ClientError> {
        let tls = CallerTls::new(&Keys::load(keys)?, Member::Client)?;
        Self::open(address, Some(&tls))
    }

    fn open(address: &str, tls: Option<&CallerTls>) -> Result<Self, ClientError> {
        // The runtime's thread sends heartbeats between two calls.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let connection = runtime.block_on(client::Client::connect(address, tls))?;
        Ok(Self { runtime, connection, follows: false })
    }

    /// Loads the data of a spec, checks the run with these models, and submits it. Uploads
    /// only the data that the coordinator lacks. The run starts from `state`, if there is
    /// one, or from the model's initial state.
    pub fn submit(
        &mut self,
        registry: &Registry,
        spec: RunSpec,
        state: Option<NetworkState>,
    ) -> Result<RunId, ClientError> {
        let submission = Submission::prepare(registry, spec, state, RunSettings::default())?;
        self.stop_following()?;
        Ok(self.runtime.block_on(self.connection.submit(&submission))?)
    }

    /// The events of a run, from its beginning, each as it arrives. They end with the run, or with
    /// an error.
    pub fn follow(&mut self, run: RunId) -> Result<Events<'_>, ClientError> {
        self.stop_following()?;
        self.runtime.block_on(self.connection.follow(run))?;
        self.follows = true;
        Ok(Events { client: self })
    }

    /// The final state of a run that has finished, with its provenance. Its digest is checked.
    pub fn fetch(&mut self, run: RunId) -> Result<Fetched, ClientError> {
        self.stop_following()?;
        Ok(self.runtime.block_on(self.connection.fetch(run))?)
    }

    /// Cancels a run, whichever client submitted it, and waits until it has ended.
    pub fn cancel(&mut self, run: RunId) -> Result<(), ClientError> {
        self.stop_following()?;
        Ok(self.runtime.block_on(self.connection.cancel(run))?)
    }

    /// The workers and runs of the cluster.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.stop_following()?;
        Ok(self.runtime.block_on(self.connection.status())?)
    }

    /// Reconnects if a run was not followed to its end. Its events would arrive between the answers
    /// to other requests.
    fn stop_following(&mut self) -> Result<(), ClientError> {
        if std::mem::take(&mut self.follows) {
            self.runtime.block_on(self.connection.reconnect(Duration::ZERO))?;
        }
        Ok(())
    }
}

/// The events of a run ([`Client::follow`]).
#[derive(Debug)]
pub struct Events<'a> {
    client: &'a mut Client,
}

impl Iterator for Events<'_> {
    type Item = Result<RunEvent, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.client.follows {
            return None;
        }
        let event = self.client.runtime.block_on(self.client.connection.next_event());
        // After an error, the connection delivers nothing more.
        self.client.follows = event.as_ref().is_ok_and(|event| !event.is_last());
        Some(event.map_err(ClientError::from))
    }
}
