//! Parsing of addresses.

use std::num::NonZeroU16;

/// Reads `HOST:PORT`, also as `tcp://HOST:PORT`.
///
/// # Errors
/// A sentence with the expected form.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let plain = text.strip_prefix("tcp://").map_or(text, |rest| rest.trim_end_matches('/'));
    match plain.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !host.contains('/') && port.parse::<NonZeroU16>().is_ok() =>
        {
            Ok(plain.into())
        }
        _ => Err("expected HOST:PORT".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        for (text, address) in [
            ("head:7700", "head:7700"),
            ("tcp://10.0.0.1:7700", "10.0.0.1:7700"),
            ("tcp://head:7700/", "head:7700"),
            ("[::1]:7700", "[::1]:7700"),
        ] {
            assert_eq!(host_and_port(text), Ok(address.into()));
        }
        for text in ["", "head", "head:0", ":7700", "head:x", "http://head:7700", "tcp://head:7/x"]
        {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }
}
