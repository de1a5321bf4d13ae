//! Shared memory with the workers on this host: what they are offered, and the Unix socket at which
//! they fetch it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use common::id::{MemoryToken, WorkerId};
use common::wire::codec::encode;
use common::wire::message::{FromWorker, ToWorker};
use common::wire::shared_memory::{
    MemoryError, PartialReader, StateSlots, about, await_token, is_socket_name, make_directory,
    send_regions, socket_name,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use super::event::Event;
use super::outbox::Outbox;
use super::peer::Permit;

/// Most connections to the Unix socket at one time. Each is over within the time limit of a
/// handshake.
pub(super) const SOCKET_CONNECTIONS: usize = 32;

/// Most workers that share memory. Each needs an open file; further ones are sent everything.
pub(super) const SHARING_WORKERS: usize = 96;

/// Wait after a connection to the socket could not be accepted.
const ACCEPT_WAIT: Duration = Duration::from_secs(1);

/// Most sockets that a coordinator looks at when it starts, to remove those of killed ones.
const ABANDONED_SOCKETS: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct MemorySharing {
    /// Name of the socket.
    name: String,
    states: Arc<StateSlots>,
    /// Offers that nobody has fetched.
    offers: Mutex<BTreeMap<MemoryToken, Arc<Offered>>>,
    /// How many more workers may share memory.
    regions: Arc<Semaphore>,
}

/// The memory of one worker's partials, once the worker has fetched it.
type Offered = OnceLock<(Arc<PartialReader>, OwnedSemaphorePermit)>;

/// The Unix socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct MemorySocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An offer to one worker. It can be fetched until it is dropped.
#[derive(Debug)]
pub(super) struct Offer {
    of: Arc<MemorySharing>,
    token: MemoryToken,
    offered: Arc<Offered>,
}

impl MemorySharing {
    /// Opens the socket of a coordinator that listens on `address`, in this directory.
    ///
    /// # Errors
    /// The directory or the socket cannot be made, others can write to the directory, or the
    /// system has no such memory.
    pub(in crate::server) fn open(
        directory: &Path,
        address: SocketAddr,
    ) -> std::io::Result<(Arc<Self>, MemorySocket)> {
        make_directory(directory)?;
        let name = socket_name(address, MemoryToken::draw()?.0 as u32);
        let path = directory.join(&name);
        let states = StateSlots::new()?;
        // It gets its name once it listens: another coordinator would take it for abandoned.
        let unnamed = directory.join(format!(".{name}.new"));
        let listener = UnixListener::bind(&unnamed).map_err(|error| about(&unnamed, &error))?;
        std::fs::rename(&unnamed, &path).map_err(|error| {
            let _ = std::fs::remove_file(&unnamed);
            about(&path, &error)
        })?;
        let (offers, regions) = (Mutex::default(), Arc::new(Semaphore::new(SHARING_WORKERS)));
        Ok((Arc::new(Self { name, states, offers, regions }), MemorySocket { listener, path }))
    }

    /// Hands out memory to those who fetch it, until the task is dropped.
    pub(in crate::server) async fn serve(self: &Arc<Self>, socket: &MemorySocket) {
        if let Some(directory) = socket.path.parent() {
            remove_abandoned(directory).await;
        }
        let room = Arc::new(Semaphore::new(SOCKET_CONNECTIONS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match socket.listener.accept().await {
                Ok((stream, _)) => {
                    let own = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = own.hand_out(stream).await {
                            debug!("shared memory was not handed out: {error}");
                        }
                        drop(permit);
                    });
                }
                // Usually for lack of file descriptors.
                Err(error) => {
                    let path = socket.path.display();
                    warn!("{path}: {error}; trying again in {ACCEPT_WAIT:?}");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
    }

    async fn hand_out(&self, mut stream: UnixStream) -> Result<(), MemoryError> {
        let token = await_token(&mut stream).await?;
        let Some(offered) = self.offers().remove(&token) else {
            debug!("a token that was not offered, or was used");
            return Ok(());
        };
        let Ok(permit) = self.regions.clone().try_acquire_owned() else {
            info!("a worker is sent everything: {SHARING_WORKERS} share memory, and no more may");
            return Ok(());
        };
        let partials = Arc::new(PartialReader::new()?);
        // The worker may say that it shares memory as soon as it has the descriptors.
        let (partials, _) = offered.get_or_init(|| (partials, permit));
        send_regions(&stream, self.states.region(), partials.region()).await
    }

    /// A new offer; `None` if the system has no random numbers.
    pub(super) fn offer(self: &Arc<Self>) -> Option<Offer> {
        let token = MemoryToken::draw().ok()?;
        let offered = Arc::new(Offered::new());
        self.offers().insert(token, offered.clone());
        Some(Offer { of: self.clone(), token, offered })
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<MemoryToken, Arc<Offered>>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offer {
    /// The message to the worker.
    pub(super) fn message(&self) -> ToWorker {
        ToWorker::OffersMemory { socket: self.of.name.clone(), token: self.token }
    }

    /// The slots of states.
    pub(super) fn states(&self) -> &Arc<StateSlots> {
        &self.of.states
    }

    /// The memory of the worker's partials, if it was fetched.
    pub(super) fn partials(&self) -> Option<Arc<PartialReader>> {
        self.offered.get().map(|(partials, _)| partials.clone())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.of.offers().remove(&self.token);
    }
}

/// Removes sockets that coordinators left when they were killed: nobody listens there.
async fn remove_abandoned(directory: &Path) {
    let Ok(files) = std::fs::read_dir(directory) else { return };
    let sockets = files.flatten().map(|file| file.path());
    for path in sockets.filter(|path| is_socket_name(path)).take(ABANDONED_SOCKETS) {
        let found = identity(&path);
        let refused = UnixStream::connect(&path).await.err().map(|error| error.kind());
        // Another coordinator may have put its own in this place meanwhile.
        if refused == Some(ErrorKind::ConnectionRefused) && identity(&path) == found {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Tells a file from a later one of the same name.
fn identity(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// One worker's connection, as far as it is about shared memory.
#[derive(Debug)]
pub(super) struct SharedLink {
    outbox: Arc<Outbox>,
    offer: Option<Offer>,
}

impl SharedLink {
    /// Tells the worker of the offer.
    pub(super) fn new(outbox: Arc<Outbox>, offer: Option<Offer>) -> Self {
        if let Some(offer) = &offer {
            outbox.control(encode(offer.message()));
        }
        Self { outbox, offer }
    }

    /// Handles a worker's message about shared memory. All others, and segments in shared memory,
    /// are events for the engine.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub(super) fn on_message(
        &self,
        worker: WorkerId,
        message: FromWorker,
        permit: Permit,
    ) -> Result<Option<Event>, String> {
        match message {
            FromWorker::SharesMemory => {
                let offer = self.offer.as_ref().filter(|offer| offer.partials().is_some());
                let offer = offer.ok_or("it shares no memory: it has fetched none")?;
                if self.outbox.shares_memory() {
                    return Err("it shares memory already".into());
                }
                if let Some(partials) = offer.partials() {
                    self.outbox.share_memory(offer.states().clone(), partials);
                }
                Ok(None)
            }
            FromWorker::SlotsRead { slots } => {
                if self.outbox.states_read(&slots) {
                    return Ok(None);
                }
                Err(format!("it has read slots {slots:?} of states, not all of which it was sent"))
            }
            FromWorker::SegmentInMemory { step, block, segment, slot, bytes } => {
                let outbox = self.outbox.clone();
                let partials = self.offer.as_ref().and_then(Offer::partials);
                let partials = partials
                    .filter(|_| self.outbox.shares_memory())
                    .ok_or("a segment in shared memory, which it does not share")?;
                let named = partials.named(slot, bytes, move |slot| outbox.partial_read(slot));
                let slot = named.map_err(|error| error.to_string())?;
                let place = (step, block, segment);
                Ok(Some(Event::SegmentInMemory { worker, place, slot, permit }))
            }
            message => Ok(Some(Event::FromWorker { worker, message, permit })),
        }
    }
}
