//! Partials of finished blocks, kept until their step is merged: to be
//! pulled, and to be offered again on a new connection.

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

    /// How many are of other steps than the current one.
    pub(super) fn of_other_steps(&self) -> usize {
        self.iter().filter(|(step, _)| Some(*step) != self.current).count()
    }

    /// The kept partial that has this block, or one around it.
    pub(super) fn around(&self, step: StepId, block: Block) -> Option<Block> {
        let range = self.blocks.range((step, Block { level: 0, index: 0 })..);
        let of_step = range.take_while(|(at, _)| *at == step).map(|(_, kept)| *kept);
        of_step.into_iter().find(|kept| kept.contains(block))
    }
}

impl Session {
    /// Keeps a partial, and drops those of other steps where there are too
    /// many: the oldest first, then, in a run that went back to before them,
    /// the furthest.
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

    /// Offers the partials of a run that was opened again: as many as its
    /// coordinator takes at once. Where one step had more, the others are offered
    /// when they are asked for.
    pub(super) fn offer_kept(&mut self, run: RunId) {
        let of_run = self.kept.iter().filter(|(step, _)| step.run == run);
        for (step, block) in of_run.take(self.config.kept_blocks) {
            self.actions.push_back(Action::Offer { step, block });
        }
    }
}
