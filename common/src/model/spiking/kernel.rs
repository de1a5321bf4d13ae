//! The inner loops of a presentation, over groups of neurons, and the pages that
//! their weights lie on.
//!
//! Lanes are neurons, and lanes are independent, so the width of the vectors does not influence the
//! result. Two kinds of groups are processed differently:
//! - In a **quiet** group no neuron has spiked since it was at rest. All of its
//!   neurons see the same inhibition, so that it is a number of the step, and
//!   none has a trace, so that its weights stand still. [`quiet`] takes as many
//!   groups as fit the registers through several steps.
//! - In an **active** group the neurons have inhibition, traces and refractory
//!   periods of their own. [`active`] takes all such groups from step to step,
//!   so that none goes past another's spike.
//!
//! The only module of the model with `unsafe`. What makes it sound:
//! - **Instructions.** A function compiled for an instruction set is called
//!   only through the safe functions here, with an [`Isa`] that is available.
//! - **Pointers.** They come from slices that live through the call. The safe
//!   functions check that there are lines for every group, that the weights
//!   have the events' inputs, and that the steps are the events'; every spike of
//!   [`Events`] is of an input below their number, and each group has a line for
//!   every input. Large pages are asked for in memory that nothing has used.
#![allow(unsafe_code)]

mod active;
mod loops;
pub(super) mod pages;
mod pointers;
mod quiet;
mod variables;

use super::lanes::Line;
use crate::model::kernel::Isa;

use loops::portable;
#[cfg(target_arch = "x86_64")]
use loops::{avx2, avx512};

pub(super) use active::{ACTIVE_TOGETHER, active};
pub(super) use loops::FLUSH_STEPS;
pub(super) use pointers::{ActiveRun, QuietRun};
pub(super) use quiet::{quiet, quiet_until_crossing};
pub(super) use variables::{Rates, Variables};

/// The sum of each lane over lines, split in four by the line's number:
/// `(s0 + s1) + (s2 + s3)`.
pub(super) fn column_sums(isa: Isa, lines: &[Line]) -> Line {
    assert!(isa.is_available(), "instructions that this CPU has");
    // SAFETY: the CPU has the instructions.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::column_sums(lines),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::column_sums(lines),
            _ => portable::column_sums(lines),
        }
    }
}

/// Multiplies each lane of lines by its factor.
pub(super) fn scale_columns(isa: Isa, lines: &mut [Line], factors: &Line) {
    assert!(isa.is_available(), "instructions that this CPU has");
    // SAFETY: the CPU has the instructions.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::scale_columns(lines, factors),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::scale_columns(lines, factors),
            _ => portable::scale_columns(lines, factors),
        }
    }
}
