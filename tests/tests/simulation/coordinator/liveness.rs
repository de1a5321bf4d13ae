//! Who is heard, who is gone, and who is back.

use super::*;

impl Coordinator {
    pub(in super::super) fn beat(&mut self, context: &mut Context) {
        for connection in self.connections.values() {
            context.send(*connection, Direction::ToWorker, Message::CoordinatorBeat);
        }
        context.after(1_000_000, Event::CoordinatorBeat);
    }

    pub(super) fn gone(&mut self, context: &mut Context, connection: ConnectionId, how: Departure) {
        if let Some(worker) = self.workers.remove(&connection) {
            self.connections.remove(&worker);
            self.heard.remove(&worker);
            if how == Departure::Crashed {
                self.note_death(worker);
            }
            let reason = "closed by the peer".to_owned();
            self.tell(context, scheduler::Event::WorkerGone { worker, how, reason });
        }
    }

    /// A worker went without goodbye.
    pub(super) fn note_death(&mut self, worker: WorkerId) {
        let process = self.processes[&worker];
        if let Some(active) = &self.active {
            self.deaths.entry(active.run).or_default().insert(process);
        }
        let is_back = self.connections.keys().any(|other| self.processes[other] == process);
        self.causes.gone(worker, process, is_back);
    }

    pub(super) fn note_return(&mut self, context: &mut Context, process: ProcessId) {
        self.causes.returned(process);
        if let Some(active) = &self.active
            && self.deaths.entry(active.run).or_default().remove(&process)
        {
            context.faults.fired(Fault::Return);
        }
    }

    /// The coordinator goes on after it was stopped.
    pub(in super::super) fn was_away(&mut self, context: &mut Context) {
        self.heard.values_mut().for_each(|heard| *heard = context.now);
        self.tell(context, scheduler::Event::WasAway);
    }

    /// No worker that is silent for too long may count as alive.
    pub(in super::super) fn check_silence(&self, context: &mut Context) {
        let timeout = self.config.heartbeat_timeout.as_micros() as u64;
        let silent = self.heard.iter().find(|(_, heard)| **heard + timeout < context.now);
        context.ensure(silent.is_none(), || format!("{silent:?} is silent and not lost"));
    }
}
