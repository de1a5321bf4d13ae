//! All connected peers: what each worker was sent on its connection, which peers were active, and
//! which have new messages to send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::id::{AssignmentId, Block, RunId, StepId, WorkerId};
use common::limits;
use common::spec::Split;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{ToClient, ToWorker};

use super::outbox::{Receivers, StateFrames, Transfer};
use super::peer::{ClientId, Handle, Peer, WorkerInfo};
use super::worker::Worker;

/// How this side ends a worker's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Farewell {
    /// Without a message: the worker said goodbye itself.
    None,
    /// The worker is told the reason, and is assumed to be alive.
    Alive,
    /// The worker is told the reason if it can still receive it.
    Lost,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Peers {
    workers: BTreeMap<WorkerId, Worker>,
    clients: BTreeMap<ClientId, Handle>,
    /// Workers that left in this turn, for messages about them.
    departed: BTreeMap<WorkerId, Worker>,
    /// Connections with new messages to send.
    dirty: Vec<Peer>,
    worker_heartbeat: Frame,
    client_heartbeat: Frame,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            workers: BTreeMap::new(),
            clients: BTreeMap::new(),
            departed: BTreeMap::new(),
            dirty: Vec::new(),
            worker_heartbeat: encode(ToWorker::Heartbeat),
            client_heartbeat: encode(ToClient::Heartbeat),
        }
    }
}

/// The name of a worker if another worker has its own name, within the limit on the bytes of names.
fn distinct_name(name: &str, worker: WorkerId) -> String {
    let number = format!(" ({worker})");
    let room = limits::NAME_BYTES - number.len();
    format!("{}{number}", common::text::beginning(name, room))
}

impl Peers {
    /// Adds a worker. If another process has its name, the worker gets a new name.
    pub(in crate::server) fn add_worker(
        &mut self,
        worker: WorkerId,
        mut info: WorkerInfo,
        handle: Handle,
    ) -> &Worker {
        let is_other = |it: &Worker| it.name() == info.name && it.process() != info.process;
        if self.workers.values().any(is_other) {
            info.name = distinct_name(&info.name, worker);
        }
        self.workers.entry(worker).or_insert_with(|| Worker::new(info, handle))
    }

    /// Adds a client.
    pub(in crate::server) fn add_client(&mut self, client: ClientId, handle: Handle) {
        self.clients.insert(client, handle);
    }

    /// The workers, in the order in which they joined.
    pub(in crate::server) fn workers(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// The number of connected workers.
    pub(in crate::server) fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// A connected worker.
    pub(in crate::server) fn worker(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    /// The same, mutable.
    pub(in crate::server) fn worker_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&worker)
    }

    /// A worker that is connected or left in this turn.
    pub(in crate::server) fn known_worker(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker).or_else(|| self.departed.get(&worker))
    }

    /// Whether a client is connected.
    pub(in crate::server) fn has_client(&self, client: ClientId) -> bool {
        self.clients.contains_key(&client)
    }

    /// Queues a control message to a worker.
    pub(in crate::server) fn send_worker(&mut self, worker: WorkerId, message: ToWorker) {
        if let Some(to) = self.workers.get(&worker) {
            to.outbox().control(encode(message));
            self.mark(Peer::Worker(worker));
        }
    }

    /// Queues a message to a client.
    pub(in crate::server) fn send_client(&mut self, client: ClientId, message: ToClient) {
        if let Some(to) = self.clients.get(&client) {
            to.outbox().control(encode(message));
            self.mark(Peer::Client(client));
        }
    }

    /// Queues events of a run to a client that follows it.
    pub(in crate::server) fn send_events(
        &mut self,
        client: ClientId,
        events: impl Iterator<Item = Frame>,
    ) {
        if let Some(to) = self.clients.get(&client) {
            to.outbox().events(events);
            self.mark(Peer::Client(client));
        }
    }

    /// Queues a final state to a client.
    pub(in crate::server) fn send_state(&mut self, client: ClientId, frames: Arc<StateFrames>) {
        if let Some(to) = self.clients.get(&client) {
            to.outbox().data(Transfer::State { step: None, frames, next: 0 });
            self.mark(Peer::Client(client));
        }
    }

    /// Queues chunks of examples to a worker.
    pub(in crate::server) fn send_chunks(
        &mut self,
        worker: WorkerId,
        chunks: impl Iterator<Item = ((RunId, Split, u32), bytes::Bytes)>,
    ) {
        if let Some(to) = self.workers.get(&worker) {
            to.outbox().chunks(chunks);
            self.mark(Peer::Worker(worker));
        }
    }

    /// Tells a worker of a run; `open` is the message.
    pub(in crate::server) fn open_run(&mut self, worker: WorkerId, run: RunId, open: Frame) {
        if let Some(to) = self.workers.get_mut(&worker) {
            to.open_run(run, open);
            self.mark(Peer::Worker(worker));
        }
    }

    /// Hands a block to a worker that has opened the run, after the base of its step if that was
    /// not sent yet.
    pub(in crate::server) fn assign(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
        (step, block): (StepId, Block),
        message: ToWorker,
        base: impl FnOnce() -> Arc<StateFrames>,
    ) {
        if let Some(to) = self.workers.get_mut(&worker) {
            to.assign(assignment, (step, block), encode(message), base);
            self.mark(Peer::Worker(worker));
        }
    }

    /// Begins to send the base of the step after `step`, while it is merged, to all workers that
    /// have the base of `step`.
    pub(in crate::server) fn send_growing(&mut self, step: StepId, frames: &Arc<StateFrames>) {
        let mut receivers = Receivers::default();
        for worker in self.workers.values_mut() {
            if worker.send_growing(step, frames) {
                let memory = worker.outbox().shared_states();
                receivers.count += 1;
                receivers.remote += usize::from(memory.is_none());
                receivers.memory = receivers.memory.or(memory);
            }
        }
        frames.send_to(receivers);
    }

    /// Notes that the base that is merged and sent meanwhile has grown.
    pub(in crate::server) fn has_grown(&mut self) {
        let receive = self.workers.iter().filter(|(_, worker)| worker.is_sent_growing());
        let receivers: Vec<WorkerId> = receive.map(|(id, _)| *id).collect();
        receivers.into_iter().for_each(|worker| self.mark(Peer::Worker(worker)));
    }

    /// Takes an assignment back from a worker.
    pub(in crate::server) fn revoke(&mut self, worker: WorkerId, assignment: AssignmentId) {
        if let Some(from) = self.workers.get_mut(&worker) {
            from.take_assignment(assignment);
            self.send_worker(worker, ToWorker::Revoke { assignment });
        }
    }

    /// Tells all workers of the run that a step is over. If the next step has the same base, the
    /// workers that have it are told so first, behind the state if that is still waiting.
    pub(in crate::server) fn end_step(&mut self, done: StepId, same_as: Option<StepId>) {
        let frame = encode(ToWorker::StepDone { step: done });
        let told: Vec<WorkerId> = (self.workers.iter_mut())
            .filter_map(|(id, worker)| worker.end_step(done, same_as, &frame).then_some(*id))
            .collect();
        told.into_iter().for_each(|worker| self.mark(Peer::Worker(worker)));
    }

    /// Tells all workers that were told of a run that it is over.
    pub(in crate::server) fn close_run(&mut self, run: RunId) {
        let frame = encode(ToWorker::CloseRun { run });
        let told: Vec<WorkerId> = (self.workers.iter_mut())
            .filter_map(|(id, worker)| worker.close_run(run, &frame).then_some(*id))
            .collect();
        told.into_iter().for_each(|worker| self.mark(Peer::Worker(worker)));
    }

    /// Ends a worker's connection, and returns its record.
    pub(in crate::server) fn end_worker(
        &mut self,
        worker: WorkerId,
        farewell: Farewell,
        reason: &str,
    ) -> Option<&Worker> {
        let mut ended = self.workers.remove(&worker)?;
        match farewell {
            Farewell::None => ended.outbox().abort(),
            _ => ended.outbox().part(Peer::Worker(worker).goodbye(reason)),
        }
        if farewell == Farewell::Alive {
            ended.note_parted();
        }
        Some(self.departed.entry(worker).or_insert(ended))
    }

    /// Ends a client's connection, and returns its address.
    pub(in crate::server) fn end_client(
        &mut self,
        client: ClientId,
        reason: &str,
    ) -> Option<String> {
        let ended = self.clients.remove(&client)?;
        ended.outbox().part(Peer::Client(client).goodbye(reason));
        Some(ended.address().to_owned())
    }

    /// Sends all peers a last message, behind the messages that wait for clients. Connections end
    /// when they are dropped, after everything is written.
    pub(in crate::server) fn say_goodbye(&self, reason: &str) {
        for (worker, to) in &self.workers {
            to.outbox().control(Peer::Worker(*worker).goodbye(reason));
        }
        for (client, to) in &self.clients {
            to.outbox().events(std::iter::once(Peer::Client(*client).goodbye(reason)));
        }
    }

    /// Workers whose bytes came since the last call: half a state segment on a slow link is a sign
    /// of life as well.
    pub(in crate::server) fn active_workers(&mut self) -> Vec<WorkerId> {
        let active = self.workers.iter_mut().filter_map(|(id, it)| it.was_active().then_some(*id));
        active.collect()
    }

    /// Clients that were silent for longer than this.
    pub(in crate::server) fn silent_clients(&self, limit: Duration) -> Vec<ClientId> {
        let silent = self.clients.iter().filter(|(_, it)| it.activity().silence() > limit);
        silent.map(|(client, _)| *client).collect()
    }

    /// Restarts the silence of all clients.
    pub(in crate::server) fn restart_silences(&self) {
        self.clients.values().for_each(|client| client.activity().touch());
    }

    /// Queues a heartbeat to all peers for which nothing else is waiting.
    pub(in crate::server) fn send_heartbeats(&mut self) {
        for worker in self.workers.values() {
            worker.outbox().heartbeat(&self.worker_heartbeat);
        }
        for client in self.clients.values() {
            client.outbox().heartbeat(&self.client_heartbeat);
        }
        let peers: Vec<Peer> = (self.workers.keys().copied().map(Peer::Worker))
            .chain(self.clients.keys().copied().map(Peer::Client))
            .collect();
        peers.into_iter().for_each(|peer| self.mark(peer));
    }

    /// Notes that a connection has new messages to send.
    fn mark(&mut self, peer: Peer) {
        if let Some(handle) = self.handle(peer)
            && !std::mem::replace(&mut handle.is_dirty, true)
        {
            self.dirty.push(peer);
        }
    }

    fn handle(&mut self, peer: Peer) -> Option<&mut Handle> {
        match peer {
            Peer::Worker(worker) => Some(self.workers.get_mut(&worker)?.handle_mut()),
            Peer::Client(client) => self.clients.get_mut(&client),
        }
    }

    /// Lets a writer see the messages of this turn. Returns a peer whose queue is full because it
    /// does not read. To be called until it returns `None`.
    pub(in crate::server) fn flush(&mut self) -> Option<Peer> {
        while let Some(peer) = self.dirty.pop() {
            let Some(handle) = self.handle(peer) else { continue };
            handle.is_dirty = false;
            if handle.outbox().flush().is_err() {
                return Some(peer);
            }
        }
        self.departed.clear();
        None
    }
}
