//! Base states of steps: received segment by segment directly into their tensors, shared by the
//! shards, with reuse of their memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::id::{RunId, StepId};
use common::state::{NetworkState, Segment};

use super::run::OpenRun;

/// A complete state.
#[derive(Debug)]
struct Base {
    state: Arc<NetworkState>,
    /// No shard will use it. It is kept until the run's next state arrives: an evaluation may refer
    /// to it, and its memory is reused.
    dropped: bool,
}

/// A state that is being received.
#[derive(Debug)]
struct Incoming {
    step: StepId,
    next: usize,
    state: NetworkState,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Bases {
    whole: BTreeMap<StepId, Base>,
    incoming: Option<Incoming>,
}

impl Bases {
    /// The base of a step, if it is complete.
    pub(super) fn get(&self, step: StepId) -> Option<Arc<NetworkState>> {
        Some(self.whole.get(&step)?.state.clone())
    }

    /// Stores a segment, which `write` writes into the state. `Ok(true)` once the state is complete;
    /// an error describes what is wrong with the coordinator's message.
    pub(super) fn segment(
        &mut self,
        run: &OpenRun,
        step: StepId,
        segment: u32,
        write: impl FnOnce(&mut NetworkState, &Segment) -> Result<(), String>,
    ) -> Result<bool, String> {
        if segment == 0 {
            // The memory of an unfinished state is released before the buffer is chosen.
            self.incoming = None;
            let state = match self.take_spare(step.run) {
                Some(spare) => spare,
                None => NetworkState::zeros(&run.layout).map_err(|error| error.to_string())?,
            };
            self.incoming = Some(Incoming { step, next: 0, state });
        }
        let index = segment as usize;
        let expected = self.incoming.as_ref().map(|incoming| (incoming.step, incoming.next));
        let (Some(incoming), Some(place)) = (&mut self.incoming, run.state_segments.get(index))
        else {
            return Err(format!("state segment {segment} of {step} does not exist"));
        };
        if expected != Some((step, index)) {
            return Err(format!(
                "state segment {segment} of {step}: expected segment {} of {}",
                incoming.next, incoming.step
            ));
        }
        write(&mut incoming.state, place)?;
        incoming.next += 1;
        if incoming.next < run.state_segments.len() {
            return Ok(false);
        }
        if let Some(incoming) = self.incoming.take() {
            let state = Arc::new(incoming.state);
            self.whole.insert(step, Base { state, dropped: false });
        }
        Ok(true)
    }

    /// Notes that `step` has the same base as `as_of`.
    pub(super) fn same(&mut self, step: StepId, as_of: StepId) -> Result<(), String> {
        let base = self.whole.get(&as_of);
        let state = base.map(|base| base.state.clone()).ok_or_else(|| {
            format!(
                "the state of {step} refers to that of {as_of}, which this worker does not have"
            )
        })?;
        self.whole.insert(step, Base { state, dropped: false });
        Ok(())
    }

    /// Notes that no shard of `step` will run any more.
    pub(super) fn drop_state(&mut self, step: StepId) {
        if let Some(base) = self.whole.get_mut(&step) {
            base.dropped = true;
        }
    }

    /// Drops the state that was being received: the connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.incoming = None;
    }

    /// Drops the states of a run.
    pub(super) fn forget(&mut self, run: RunId) {
        self.whole.retain(|step, _| step.run != run);
        self.incoming.take_if(|incoming| incoming.step.run == run);
    }

    /// Drops the run's unused states, and returns the memory of one that nothing refers to.
    fn take_spare(&mut self, run: RunId) -> Option<NetworkState> {
        let all = self.whole.iter();
        let dropped = all.filter(|(step, base)| step.run == run && base.dropped);
        let steps: Vec<StepId> = dropped.map(|(step, _)| *step).collect();
        let bases = steps.iter().filter_map(|step| self.whole.remove(step));
        bases.filter_map(|base| Arc::try_unwrap(base.state).ok()).last()
    }
}
