use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// The content of the packed files below.
const TEXT: &[u8] = b"a,b\n1,2\n";

/// `gzip -n`
const GZIP: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03K\xd4I\xe22\xd41\xe2\x02\0{\x07\x97\x0a\x08\0\0\0";

/// `bzip2`
const BZIP2: &[u8] =
    b"BZh91AY&SY\xbf\x87@\x7f\0\0\x03Y\0\0\x10\0\x040\x000\0 \x000\xc0\x08i\xb2\x88#'\x8b\
    \xb9\x22\x9c(H_\xc3\xa0?\x80";

/// `xz`
const XZ: &[u8] =
    b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x07a,b\x0a1,2\x0a\
    \0\xbe\x9c\xbdI\xb5\x12*\xfe\0\x01 \x08\xbb\x19\xd9\xbb\x1f\xb6\xf3}\x01\0\0\0\0\x04\
    YZ";

/// `zstd`
const ZSTD: &[u8] = b"(\xb5/\xfd$\x08A\0\0a,b\x0a1,2\x0a5\xe7\xca\xce";

/// `zip -X`
const ZIP: &[u8] =
    b"PK\x03\x04\x0a\0\0\0\0\0\x96\x5c~]{\x07\x97\x0a\x08\0\0\0\x08\0\0\0\x05\0\0\0a.csva,\
    b\x0a1,2\x0aPK\x01\x02\x1e\x03\x0a\0\0\0\0\0\x96\x5c~]{\x07\x97\x0a\x08\0\0\0\x08\0\
    \0\0\x05\0\0\0\0\0\0\0\x01\0\0\0\xa4\x81\0\0\0\0a.csvPK\x05\x06\0\0\0\0\x01\0\x01\
    \x003\0\0\0+\0\0\0\0\0";

/// 65,536 zeros, by `xz -9`.
const XZ_ZEROS: &[u8] =
    b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x1c\0\0\0\x10\xcfX\xcc\xe0\xff\xff\0L]\0\0o\
    \xfd\xff\xff\xa3\xb7\xffG>H\x15r9aQ\xb8\x92(\xe6\xa3\x86\x07\xf9\xee\xe4\x1e\x82\xd3\
    /\xc5:<\x01K\xb1~\xc9\x8a\x8aM/\xa3\x0d\xd9\x7f\xa6\xe3\x8c#\x11S\xe0Y\x18\xc5u\x8a\
    \xe2w\xf8\xb6\x94\x7f\x0cj\xc0\xdetId\x5c\x9e:\xd1\0\0^eOI\xca\x09\xaf&\0\x01h\x80\
    \x80\x04\0\0\x9f\xf7D|\xb1\xc4g\xfb\x02\0\0\0\0\x04YZ";

/// 100 zeros, by `xz --lzma2=dict=1GiB`.
const XZ_WINDOW: &[u8] =
    b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01$\0\0\0^\x1f\xc7\xf9\xe0\0c\0\x06]\0\0n\xa0E\
    x\0\0\0\0\xdaT\xf3K\x0e|k\xbc\0\x01\x22dJV\xeb\xcd\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";

const PACKED: [(&[u8], &str); 5] =
    [(GZIP, "gzip"), (BZIP2, "bzip2"), (XZ, "xz"), (ZSTD, "zstd"), (ZIP, "zip")];

/// Gives one byte at a time, as a slow pipe may.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(1);
        self.0.read(&mut out[..length])
    }
}

fn read_all(file: Result<SourceFile<'_>, DatasetError>) -> Result<Vec<u8>, String> {
    let rest = file.and_then(|mut file| file.rest(SPLIT_BYTES, "text"));
    rest.map_err(|error| error.to_string())
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let whole = read_all(SourceFile::new("f".to_owned(), bytes));
    let slow = read_all(SourceFile::new("f".to_owned(), Slow(bytes)));
    assert_eq!(whole, slow);
    whole
}

#[track_caller]
fn fails(bytes: &[u8], message: &str) {
    assert_eq!(unpack(bytes).unwrap_err(), format!("f, {message}"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame of `blocks` blocks of 128 KiB of zeros.
fn zstd_zeros(blocks: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\0\x58".to_vec();
    for block in 1..=blocks {
        let header = (128u32 << 10) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn unpacks_all_kinds() {
    assert_eq!(unpack(TEXT).unwrap(), TEXT);
    assert_eq!(unpack(b"").unwrap(), b"");
    for (packed, kind) in PACKED {
        assert_eq!(unpack(packed).as_deref(), Ok(TEXT), "{kind}");
    }
    let long: Vec<u8> = (0..1_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    assert!(unpack(&long).unwrap() == long);
    assert!(unpack(&gzip(&long)).unwrap() == long);
    assert!(unpack(&bzip2(&long)).unwrap() == long);
}

#[test]
fn unpacks_several_streams() {
    for (packed, kind) in &PACKED[..4] {
        let twice = unpack(&[*packed, packed, packed].concat());
        assert_eq!(twice.unwrap(), [TEXT, TEXT, TEXT].concat(), "{kind}");
    }
    // Frames to skip, before, between and after the others.
    let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    let frames = [skipped, ZSTD, skipped, ZSTD, skipped].concat();
    assert_eq!(unpack(&frames).unwrap(), [TEXT, TEXT].concat());
    assert_eq!(unpack(skipped).unwrap(), b"");
    // Empty members, and padding between streams of xz.
    assert_eq!(unpack(&[&gzip(b""), GZIP, &gzip(b"")].concat()).unwrap(), TEXT);
    assert_eq!(unpack(&[XZ, &[0; 8], XZ].concat()).unwrap(), [TEXT, TEXT].concat());
}

#[test]
fn treats_trailing_bytes_as_the_tools_do() {
    for (packed, kind) in &PACKED[..2] {
        for trailing in [&b"\0\0\0\0\0\0"[..], b"hello", b"x", b"\0\0\x1f\x8b"] {
            assert_eq!(unpack(&[packed, trailing].concat()).as_deref(), Ok(TEXT), "{kind}");
        }
    }
    assert_eq!(unpack(&[GZIP, b"\x1f"].concat()).unwrap(), TEXT);
    assert_eq!(unpack(&[XZ, &[0; 8]].concat()).unwrap(), TEXT);
    for (packed, trailing, kind) in [
        (GZIP, &b"\x1f\x8bxx"[..], "gzip"),
        (BZIP2, b"BZh9hello", "bzip2"),
        (XZ, b"hello", "xz"),
        (XZ, b"\0\0", "xz"),
        (ZSTD, b"hello, hello", "zstd"),
        (ZSTD, b"\0", "zstd"),
    ] {
        let error = unpack(&[packed, trailing].concat()).unwrap_err();
        let expected = format!("f, byte 8: expected {kind} data that unpacks, found damage (");
        assert!(error.starts_with(&expected), "{error}");
    }
    fails(
        &[ZSTD, b"hello, hello"].concat(),
        "byte 8: expected zstd data that unpacks, found damage (something else behind the last \
         frame)",
    );
}

#[test]
fn finds_damage() {
    for (packed, kind) in PACKED {
        for length in 10..packed.len() {
            let error = unpack(&packed[..length]).expect_err(kind);
            assert!(
                error.contains(&format!("expected {kind} data that unpacks, found ")),
                "{error}"
            );
        }
    }
    let mut wrong_sum = GZIP.to_vec();
    wrong_sum[GZIP.len() - 8] ^= 1;
    let error = unpack(&wrong_sum).unwrap_err();
    assert!(
        error.starts_with("f, byte 8: expected gzip data that unpacks, found damage ("),
        "{error}"
    );
    let mut wrong_sum = ZSTD.to_vec();
    wrong_sum[ZSTD.len() - 1] ^= 1;
    fails(
        &wrong_sum,
        "byte 8: expected zstd data that unpacks, found damage (a frame with another checksum than \
         it names)",
    );
}

#[test]
fn refuses_large_windows() {
    let large = "data that needs more than 128 MiB of memory to unpack: pack it again with the \
                 packer's defaults";
    fails(XZ_WINDOW, &format!("byte 0: expected xz data that unpacks, found {large}"));
    // A frame with a window of 1 GiB, and one with a size of 1 TiB.
    let frames: [&[u8]; 2] =
        [b"\x28\xb5\x2f\xfd\0\xa0\x01\0\0", b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\x01\0\0\x01\0\0"];
    for frame in frames {
        fails(frame, &format!("byte 0: expected zstd data that unpacks, found {large}"));
    }
    let dictionary = b"\x28\xb5\x2f\xfd\x01\x58\x07\x01\0\0";
    let found = "data that needs a dictionary: pack it again without one";
    fails(dictionary, &format!("byte 0: expected zstd data that unpacks, found {found}"));
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 4 << 20];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&zeros).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    for bomb in [&gzip(&zeros)[..], &bzip2(&zeros), &zstd_zeros(32), XZ_ZEROS, &zip] {
        let mut file = SourceFile::with_limit("f".to_owned(), bomb, 10_000).unwrap();
        let error = file.rest(SPLIT_BYTES, "text").unwrap_err().to_string();
        assert_eq!(error, "f, byte 10000: expected at most 10000 bytes of text, found more");
        let mut file = SourceFile::with_limit("f".to_owned(), bomb, 10_000).unwrap();
        assert_eq!(file.take(10_000, "bytes").unwrap().capacity(), 10_000);
        let error = file.take(1, "bytes").unwrap_err().to_string();
        let expected =
            "f, byte 10000: expected a file of at most 10000 bytes, found 1 bytes from here on";
        assert_eq!(error, expected);
    }
    assert_eq!(unpack(&zstd_zeros(2)).unwrap(), vec![0; 256 << 10]);
}

#[test]
fn memory_is_that_of_the_bytes() {
    let mut file = SourceFile::new("f".to_owned(), &[7; 1000][..]).unwrap();
    let error = file.take(SPLIT_BYTES, "bytes").unwrap_err().to_string();
    assert!(error.starts_with("f, byte 1000: expected 17179869184 bytes of bytes"), "{error}");
    let bytes = vec![7; 300_001];
    let mut file = SourceFile::new("f".to_owned(), &bytes[..]).unwrap();
    let taken = file.take(300_000, "bytes").unwrap();
    assert_eq!((taken.len(), taken.capacity()), (300_000, 300_000));
}

#[test]
fn reads_words_and_parts() {
    let mut file = SourceFile::new("f".to_owned(), &b"\0\0\x08\x03abcd"[..]).unwrap();
    assert_eq!(file.name(), "f");
    assert_eq!(file.word("the magic number").unwrap(), 0x0803);
    assert_eq!(file.take(1, "a letter").unwrap(), b"a");
    let error = file.end().unwrap_err().to_string();
    assert_eq!(error, "f, byte 5: expected the end of the file, found more bytes");
    let error = file.rest(2, "letters").unwrap_err().to_string();
    assert_eq!(error, "f, byte 7: expected at most 2 bytes of letters from byte 5 on, found more");
    assert_eq!(file.rest(2, "letters").unwrap(), b"d");
    file.end().unwrap();
    assert_eq!(file.rest(2, "letters").unwrap(), b"");
    let error = file.take(3, "letters").unwrap_err().to_string();
    let found = "found the end of the file after 0 of them";
    assert_eq!(error, format!("f, byte 8: expected 3 bytes of letters from byte 8 on, {found}"));
}

#[test]
fn names_what_is_no_data() {
    fails(
        b"<!DOCTYPE html><title>Sign in</title>",
        "byte 0: expected a file of data, found an HTML page: download the file itself, not the \
         page that shows it",
    );
    let pickle = gzip(b"\x80\x04\x95abc");
    fails(
        &pickle,
        "byte 0: expected a file of data, found a Python pickle: save its arrays with `numpy.save`",
    );
    fails(
        &gzip(ZSTD),
        "byte 0: expected a file of data, found zstd data inside of gzip data: unpack it once",
    );
    let empty = "byte 0: expected a zip archive with one file, or one that ends in .csv, .tsv, \
                 .txt, .data, .npy, found no file in it";
    fails(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", empty);
}

/// Fails with the system's error for a full disk.
struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(28))
    }
}

#[test]
fn errors_of_the_system_are_no_damage() {
    let long: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let start = &bzip2(&long)[..1000];
    for packed in [&GZIP[..20], start, &XZ[..30], &ZSTD[..11], b"\x28\xb5\x2f\xfd", ZIP, TEXT] {
        let error = read_all(SourceFile::new("f".to_owned(), packed.chain(Fails))).unwrap_err();
        assert!(error.starts_with("dataset f: No space left on device"), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn opens_files_and_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    for (packed, kind) in PACKED {
        std::fs::write(&path, packed).unwrap();
        assert_eq!(read_all(SourceFile::open(&path)).as_deref(), Ok(TEXT), "{kind}");
        // A pipe, by the number of its end.
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(packed).unwrap();
        drop(write);
        let end = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
        assert_eq!(read_all(SourceFile::open(Path::new(&end))).as_deref(), Ok(TEXT), "{kind}");
    }
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, GZIP).unwrap());
        assert_eq!(read_all(SourceFile::open(&pipe)).as_deref(), Ok(TEXT));
    });
}

#[test]
#[cfg(unix)]
fn refuses_folders_and_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, found) in [(folder.path(), "a folder"), (&socket, "a socket")] {
        let error = read_all(SourceFile::open(path)).unwrap_err();
        assert!(error.contains(&format!("expected a file, found {found}")), "{error}");
    }
    let error = read_all(SourceFile::open(&folder.path().join("missing"))).unwrap_err();
    assert!(error.contains("No such file"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutations_never_panic(
        kind in 0..PACKED.len(),
        twice in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let packed = PACKED[kind].0;
        let mut bytes = if twice { [packed, packed].concat() } else { packed.to_vec() };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        for limit in [4, 1 << 20] {
            if let Ok(mut file) = SourceFile::with_limit("f".to_owned(), &bytes[..], limit) {
                let _ = file.word("a word");
                let _ = file.take(3, "bytes");
                let _ = file.rest(1 << 20, "bytes");
                // Read on after an error, too.
                let _ = file.take(3, "bytes");
                let _ = file.end();
            }
        }
    }

    #[test]
    fn reads_what_was_packed(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        at in 0..2000usize,
    ) {
        let (a, b) = bytes.split_at(at.min(bytes.len()));
        let bytes = [b"data", a, b].concat();
        let a = [b"data", a].concat();
        prop_assert_eq!(unpack(&[gzip(&a), gzip(b)].concat()).unwrap(), &bytes[..]);
        prop_assert_eq!(unpack(&[bzip2(&a), bzip2(b)].concat()).unwrap(), &bytes[..]);
    }
}
