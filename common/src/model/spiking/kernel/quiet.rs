//! Quiet groups: tiles of them go through several steps in registers.

use super::loops::portable;
#[cfg(target_arch = "x86_64")]
use super::loops::{avx2, avx512};
use super::pointers::{QuietPointers, QuietRun};
use super::variables::Variables;
use crate::model::kernel::Isa;

/// Groups that [`quiet`] works at a time.
fn together(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 1,
        Isa::Avx2 => 2,
        Isa::Avx512 => 4,
    }
}

/// Takes groups through the steps of `run`, some at a time, and writes where
/// they stand then to `to`. Ends after those among which there is a suspect: a
/// group of which a neuron has passed its threshold after any of the steps. The
/// suspects are appended to `suspects`. Returns how many groups were worked.
pub(in super::super) fn quiet(
    run: &QuietRun<'_>,
    groups: &[usize],
    to: &mut Variables,
    suspects: &mut Vec<usize>,
) -> usize {
    let mut pointers = QuietPointers::new(run, to, groups);
    let mut done = 0;
    while done < groups.len() {
        // SAFETY: the pointers were checked (see the module).
        let (count, crossed) = unsafe { quiet_tile(run.isa, &mut pointers, &groups[done..]) };
        let tile = &groups[done..done + count];
        done += count;
        if crossed != 0 {
            let crossed = tile.iter().enumerate().filter(|(place, _)| crossed >> place & 1 == 1);
            suspects.extend(crossed.map(|(_, group)| group));
            break;
        }
    }
    done
}

/// Takes one group through the steps of `run` up to the first after which a
/// neuron has passed its threshold, that step included, and returns the number
/// of steps taken.
pub(in super::super) fn quiet_until_crossing(
    run: &QuietRun<'_>,
    group: usize,
    to: &mut Variables,
) -> usize {
    let pointers = QuietPointers::new(run, to, &[group]);
    // SAFETY: the pointers were checked (see the module).
    unsafe {
        match run.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::quiet::<1, true>(&pointers, [group]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::quiet::<1, true>(&pointers, [group]),
            _ => portable::quiet::<1, true>(&pointers, [group]),
        }
    }
}

/// Works as many of the first groups as fit the registers, or some fewer so that
/// none is left alone. Returns their number, and a bit for each, the first one's
/// lowest, set where a neuron has passed its threshold.
///
/// # Safety
/// The CPU has the instructions, and the groups are of the network.
unsafe fn quiet_tile(isa: Isa, run: &mut QuietPointers, groups: &[usize]) -> (usize, usize) {
    // What the next groups' neurons read is asked for meanwhile.
    let after = groups.get(2 * together(isa) - 1).map_or(0, |_| together(isa));
    run.ahead = (groups[after] as isize - groups[0] as isize) * run.inputs as isize;
    // SAFETY: the caller's.
    unsafe {
        match (isa, groups) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, c] | [a, b, c, _, _] | [a, b, c, _, _, _]) => {
                (3, avx512::quiet::<3, false>(run, [*a, *b, *c]))
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b, c, d, ..]) => {
                (4, avx512::quiet::<4, false>(run, [*a, *b, *c, *d]))
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a, b]) => (2, avx512::quiet::<2, false>(run, [*a, *b])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, [a]) => (1, avx512::quiet::<1, false>(run, [*a])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, b, ..]) => (2, avx2::quiet::<2, false>(run, [*a, *b])),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, [a, ..]) => (1, avx2::quiet::<1, false>(run, [*a])),
            (_, [a, ..]) => (1, portable::quiet::<1, false>(run, [*a])),
            (_, []) => (0, 0),
        }
    }
}
