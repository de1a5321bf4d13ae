//! Parts of sentences that several rooms use.

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
