//! Sharing memory with a coordinator on this host: its offer, its messages, and what it takes.

use std::sync::Arc;

use common::id::{MemoryToken, StepId};
use common::wire::message::FromWorker;
use common::wire::shared_memory::{MemoryError, PARTIAL_SLOTS, SLOT_BYTES, receive_regions};

use super::Engine;
use super::compute::Report;
use super::regions::{SegmentError, SharedMemory};
use crate::session::Event;

/// Whether an address is this host's own, by its text.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

impl Engine {
    /// Fetches memory that the coordinator offers, unless the settings forbid it.
    pub(super) fn on_offer(&mut self, socket: String, token: MemoryToken) {
        let (Some(directory), Some(connection)) =
            (self.config.share_memory.clone(), &mut self.connection)
        else {
            return;
        };
        connection.offered = Some(token);
        let reports = self.compute.reports();
        let is_local = is_loopback(&self.config.coordinator);
        tokio::spawn(async move {
            match receive_regions(&directory, &socket, token).await {
                Ok((states, partials)) => {
                    let memory = SharedMemory::new(states, Arc::new(partials));
                    // If the worker is leaving, nothing receives reports any more.
                    let _ = reports.send(Report::Shared { token, memory }).await;
                }
                // A coordinator on another host has no socket here.
                Err(error @ MemoryError::Elsewhere(_)) if !is_local => {
                    tracing::debug!("states are sent, as no memory is shared: {error}");
                }
                Err(error) => tracing::info!("states are sent, as no memory is shared: {error}"),
            }
        });
    }

    /// Shares memory with the coordinator from now on, if it is still the same connection.
    pub(super) fn on_shared(&mut self, token: MemoryToken, memory: SharedMemory) {
        let Some(connection) = &mut self.connection else { return };
        let is_current = connection.offered.take_if(|offered| *offered == token).is_some();
        if is_current && connection.share(memory) {
            tracing::info!("shares memory with the coordinator, on this host");
            self.send(FromWorker::SharesMemory);
        }
    }

    /// Takes a segment of a base state from shared memory. The error describes what is wrong with
    /// the coordinator's message.
    pub(super) fn on_state_in_memory(
        &mut self,
        step: StepId,
        segment: u32,
        (slot, hash): (u32, u64),
    ) -> Result<(), String> {
        let Some(opened) = self.runs.get(&step.run) else {
            return Err(format!("a state of {step}, which is not open"));
        };
        let memory = self.connection.as_ref().and_then(|connection| connection.memory());
        let Some(memory) = memory else {
            return Err("a state in shared memory, which this worker does not share".into());
        };
        let mut is_ready = false;
        if let Ok(run) = &opened.run {
            let fill = |out: &mut [u8]| memory.read_state(slot, hash, out);
            is_ready = self.bases.segment(run, step, segment, |state, place| {
                let filled = state.fill_segment(segment as usize, place, fill);
                filled.map_err(|error: SegmentError| error.to_string())
            })?;
        }
        self.send(FromWorker::SlotsRead { slots: vec![slot] });
        if is_ready {
            self.tell(Event::StateReady { step });
        }
        Ok(())
    }

    /// Frees slots of partials that the coordinator has read. The error describes what is wrong
    /// with its message.
    pub(super) fn on_slots_read(&mut self, slots: &[u32]) -> Result<(), String> {
        let memory = self.connection.as_ref().and_then(|connection| connection.memory());
        if memory.is_some_and(|memory| memory.partials.read(slots)) {
            return Ok(());
        }
        Err(format!("it has read slots {slots:?}, not all of which were written"))
    }

    /// Bytes of memory that sharing may take, beside the worker's own.
    pub(super) fn shared_bytes(&self) -> u64 {
        match self.config.share_memory {
            Some(_) => u64::from(PARTIAL_SLOTS) * SLOT_BYTES as u64,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_are_known() {
        for (address, expected) in [
            ("127.0.0.1:7700", true),
            ("[::1]:7700", true),
            ("localhost:7700", true),
            ("10.0.0.1:7700", false),
            ("coordinator:7700", false),
        ] {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }
}
