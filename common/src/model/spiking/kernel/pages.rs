//! Memory on large pages.

use super::super::lanes::Line;

/// Bytes of a large page. The system has others too, but not smaller ones.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Lines of zeros, on large pages if the system has some. A presentation reads a few lines of every
/// group: on small pages, most groups of a large network would miss in the TLB.
pub(in super::super) fn zeroed_lines(count: usize) -> Vec<Line> {
    let mut lines = Vec::with_capacity(count);
    #[cfg(target_os = "linux")]
    ask_for_large_pages(lines.spare_capacity_mut());
    lines.resize(count, Line::ZERO);
    lines
}

/// Asks for large pages in memory that has not been used yet.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(memory: &mut [std::mem::MaybeUninit<Line>]) {
    let start: *mut u8 = memory.as_mut_ptr().cast();
    let skipped = start.align_offset(LARGE_PAGE);
    let bytes = size_of_val(memory).saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
    if bytes > 0 {
        // SAFETY: the range lies in memory that is borrowed to be changed, and
        // the call changes none of its values. Where it fails, pages stay small.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), bytes, libc::MADV_HUGEPAGE) };
    }
}
