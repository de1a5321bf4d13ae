//! Files that are no safetensors, told by their first bytes.

/// Bytes that are enough to tell.
pub(super) const BYTES: usize = 512;

/// What another program in Python writes.
const SAVE: &str = "in Python, `safetensors.torch.save_file(model.state_dict(), \
                    \"state.safetensors\")` writes one from PyTorch";
/// The same of arrays.
const SAVE_ARRAYS: &str = "in Python, `safetensors.numpy.save_file(arrays, \"state.safetensors\")` writes one from arrays";

/// First bytes, what a file is that has them, and what to do.
const KINDS: &[(&[u8], &str, &str)] = &[
    (
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "`git lfs pull` in its repository fetches the file itself",
    ),
    (b"\x1f\x8b", "a file compressed by gzip", "`gunzip` unpacks it"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd", "`unzstd` unpacks it"),
    (b"\xfd7zXZ", "a file compressed by xz", "`unxz` unpacks it"),
    (b"\x93NUMPY", "an array of NumPy (npy)", SAVE_ARRAYS),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", SAVE_ARRAYS),
    (b"GGUF", "a GGUF file", SAVE),
];

/// What a file is that begins with these bytes, and what to do about it.
pub(super) fn kind(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some((_, what, advice)) = KINDS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Some((what, advice));
    }
    if start.starts_with(b"PK\x03\x04") {
        return Some(zip(start));
    }
    // Protocols 2 to 5.
    if let [0x80, 2..=5, ..] = start {
        return Some(("a pickle of Python, as older versions of PyTorch write them", SAVE));
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins =
        |by: &str| text.get(..by.len()).is_some_and(|it| it.eq_ignore_ascii_case(by.as_bytes()));
    let advice = "a download has to be of the file itself, not of the page about it";
    (begins("<!doctype") || begins("<html")).then_some(("an HTML page", advice))
}

/// The kind of a zip archive, by the name of its first file.
fn zip(start: &[u8]) -> (&'static str, &'static str) {
    let length = start.get(26..28).map_or(0, |it| usize::from(u16::from_le_bytes([it[0], it[1]])));
    let name = start.get(30..30 + length).unwrap_or_default();
    if name.ends_with(b".npy") {
        ("an archive of NumPy (npz)", SAVE_ARRAYS)
    } else if name.ends_with(b"data.pkl") || name.ends_with(b".format_version") {
        ("a file of `torch.save`", SAVE)
    } else {
        ("a zip archive", "if it has a safetensors file, `unzip` unpacks it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a zip archive whose first file has this name.
    fn archive(name: &str) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.resize(26, 0);
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name.as_bytes());
        bytes
    }

    #[test]
    fn files_are_told_by_how_they_begin() {
        let cases: [(&[u8], &str, &str); 12] = [
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
            (b"<!DOCTYPE html>", "HTML", "download"),
            (b"\xef\xbb\xbf\n <HTML lang=en>", "HTML", "download"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "pickle", "safetensors.torch.save_file"),
            (b"\x80\x05\x95", "pickle", "safetensors.torch.save_file"),
            (&archive("model/data.pkl"), "torch.save", "safetensors.torch.save_file"),
            (&archive("weights.npy"), "npz", "safetensors.numpy.save_file"),
            (&archive("readme.txt"), "a zip archive", "unzip"),
            (b"\x1f\x8b\x08\x00", "gzip", "gunzip"),
            (b"\x93NUMPY\x01\x00", "npy", "safetensors.numpy.save_file"),
            (b"\x89HDF\r\n", "HDF5", "safetensors.numpy.save_file"),
            (b"PK\x03\x04", "a zip archive", "unzip"),
        ];
        for (start, what, advice) in cases {
            let found = kind(start).unwrap();
            assert!(found.0.contains(what) && found.1.contains(advice), "{found:?}");
        }
        for other in [&b""[..], b"x", b"\x80", b"\x80\x00\x00\x00\x00\x00\x00\x00{", b"<", b"PK"] {
            assert_eq!(kind(other), None, "{other:?}");
        }
    }
}
