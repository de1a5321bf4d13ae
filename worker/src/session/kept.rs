//! Partials of finished blocks, kept until their step is merged, so that they can be pulled, and
//! offered again on a new connection.

use std::collections::BTreeSet;

use common::id::{Block, RunId, StepId};

use super::{Action, Session};

/// Kept partials, by step.
#[derive(Debug, Default)]
pub(super) struct Kept {
    blocks: BTreeSet<(StepId, Block)>,
    /// The step of the last one that was kept.
    current: Option<StepId>,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StepId, Block)> + '_ {
        self.blocks.iter().copied()
    }

    /// Number of partials of steps other than the current one.
    pub(super) fn of_other_steps(&self) -> usize {
        self.iter().filter(|(step, _)| Some(*step) != self.current).count()
    }

    /// The kept partial of this block, or of one that contains it.
    pub(super) fn around(&self, step: StepId, block: Block) -> Option<Block> {
        let range = self.blocks.range((step, Block { level: 0, index: 0 })..);
        let of_step = range.take_while(|(at, _)| *at == step).map(|(_, kept)| *kept);
        of_step.into_iter().find(|kept| kept.contains(block))
    }
}

impl Session {
    /// Keeps a partial. If there are too many of other steps, drops the oldest first, then, in a
    /// run that was restored to before them, the latest.
    pub(super) fn keep(&mut self, step: StepId, block: Block) {
        self.kept.current = Some(step);
        self.kept.blocks.insert((step, block));
        while self.kept.blocks.len() > self.config.kept_blocks {
            let ends = [self.kept.blocks.first().copied(), self.kept.blocks.last().copied()];
            match ends.into_iter().flatten().find(|(of, _)| *of != step) {
                Some(other) => self.drop_kept(|it| it == other),
                None => break,
            }
        }
    }

    pub(super) fn drop_kept(&mut self, is_needless: impl Fn((StepId, Block)) -> bool) {
        let actions = &mut self.actions;
        self.kept.blocks.retain(|(step, block)| {
            let goes = is_needless((*step, *block));
            if goes {
                actions.push_back(Action::DropPartial { step: *step, block: *block });
            }
            !goes
        });
    }

    /// Offers the partials of a run that was opened again, as many as its coordinator accepts at
    /// once. If one step has more, the others are offered on request.
    pub(super) fn offer_kept(&mut self, run: RunId) {
        let of_run = self.kept.iter().filter(|(step, _)| step.run == run);
        for (step, block) in of_run.take(self.config.kept_blocks) {
            self.actions.push_back(Action::Offer { step, block });
        }
    }
}
