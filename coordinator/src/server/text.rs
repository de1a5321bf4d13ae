//! Parts of sentences that several rooms use.

use crate::ledger::KILLED_FOR_MEMORY;

/// Memory in use, in percent of the limit, from which a process that was lost may have been killed
/// for its memory.
const NEAR_LIMIT: u64 = 90;

const MIB: u64 = 1 << 20;

/// The memory that a lost process had used and its limit, in bytes: "250 of 256 MiB of memory and
/// may have been killed for that". That is said near the limit, and where a kill is known: only
/// the process's own host learns of it from its kernel.
pub(super) fn used_memory(used: u64, limit: u64, is_kill_known: bool) -> String {
    let is_near = used >= limit / 100 * NEAR_LIMIT;
    let guess =
        if is_near || is_kill_known { format!(" and {KILLED_FOR_MEMORY}") } else { String::new() };
    format!("{} of {} MiB of memory{guess}", used / MIB, limit / MIB)
}

/// The message of a panic.
pub(super) fn panic_text(place: &str, panic: &(dyn std::any::Any + Send)) -> String {
    let text = (panic.downcast_ref::<&str>().copied())
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("{place}: {}", text.unwrap_or("without a message"))
}

/// A number of shards: "1 shard", "2 shards".
pub(super) fn shards(count: u64) -> String {
    format!("{count} {}", if count == 1 { "shard" } else { "shards" })
}

/// A figure with a readable number of digits.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_close_to_its_limit_may_have_been_killed_for_memory() {
        let describe = |used: u64| used_memory(used << 20, 256 << 20, false);
        assert_eq!(describe(128), "128 of 256 MiB of memory");
        assert_eq!(describe(230), "230 of 256 MiB of memory");
        assert_eq!(describe(231), "231 of 256 MiB of memory and may have been killed for that");
        assert!(used_memory(u64::MAX, u64::MAX, false).ends_with(KILLED_FOR_MEMORY));
        assert!(used_memory(1, u64::MAX, true).ends_with(KILLED_FOR_MEMORY));
    }
}
