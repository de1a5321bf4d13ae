//! Partials of finished blocks, kept until their step is merged: to be
//! pulled, and to be offered again on a new connection.

use std::collections::BTreeSet;

use common::id::{Block, RunId, StepId};

use super::{Action, Session};

/// Kept partials, by step.
#[derive(Debug, Default)]
pub(super) struct Kept {
    blocks: BTreeSet<(StepId, Block)>,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StepId, Block)> + '_ {
        self.blocks.iter().copied()
    }

    /// The kept partial that has this block, or one around it.
    pub(super) fn around(&self, step: StepId, block: Block) -> Option<Block> {
        let range = self.blocks.range((step, Block { level: 0, index: 0 })..);
        let of_step = range.take_while(|(at, _)| *at == step).map(|(_, kept)| *kept);
        of_step.into_iter().find(|kept| kept.contains(block))
    }
}

impl Session {
    /// Keeps a partial, and drops those of the oldest steps where there are
    /// too many.
    pub(super) fn keep(&mut self, step: StepId, block: Block) {
        self.kept.blocks.insert((step, block));
        while self.kept.blocks.len() > self.config.kept_blocks {
            match self.kept.blocks.first().copied() {
                Some(oldest) if oldest.0 < step => self.drop_kept(|it| it == oldest),
                _ => break,
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

    /// Offers all partials of a run that was opened again.
    pub(super) fn offer_kept(&mut self, run: RunId) {
        for (step, block) in self.kept.iter().filter(|(step, _)| step.run == run) {
            self.actions.push_back(Action::Offer { step, block });
        }
    }
}
