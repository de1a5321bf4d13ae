//! Where what a run ends in is written, with the real binaries.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::stat::Mode;
use tests::binaries::binaries;
use tests::cluster::Cluster;
use tests::expected;

use crate::cluster::SOFTMAX;
use crate::commands::{command, text};

/// `coordinator run` of [`SOFTMAX`] on a cluster of its own, in `folder`.
fn run_in(folder: &Path, more: &[&str]) -> Command {
    std::fs::write(folder.join("spec.toml"), SOFTMAX).expect("a scratch folder is written to");
    let mut command = Command::new(&binaries().coordinator);
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
    command.args(["run", "spec.toml", "--local", "1", "--slots", "1"]).args(more);
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("the command runs")
}

/// The bytes of the final state's file.
fn expected_file(folder: &Path) -> Vec<u8> {
    let done = output(run_in(folder, &["--quiet", "--output", "expected"]));
    assert!(done.status.success(), "{}", text(&done.stderr));
    std::fs::read(folder.join("expected")).expect("a state")
}

#[test]
fn what_is_no_regular_file_is_written_to_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected_file(folder.path());

    // A link stays one, be its target there or not.
    symlink("target", folder.path().join("link")).unwrap();
    for _ in 0..2 {
        let done = output(run_in(folder.path(), &["--quiet", "--output", "link"]));
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(folder.path().join("link").is_symlink(), "the link was replaced");
        assert!(std::fs::read(folder.path().join("target")).unwrap() == expected);
        std::fs::write(folder.path().join("target"), b"older").unwrap();
    }

    // A pipe with a name gives its reader all of it, and is still a pipe.
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let child = run_in(folder.path(), &["--quiet", "--output", "pipe"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Opened for reading and writing, so that this never waits for a writer.
    let is_pipe = || std::fs::metadata(&pipe).unwrap().file_type().is_fifo();
    let mut reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let mut found = vec![0; expected.len()];
    let reading = std::thread::spawn(move || reader.read_exact(&mut found).map(|()| found));
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && is_pipe(), "{}", text(&done.stderr));
    assert!(reading.join().unwrap().unwrap() == expected);

    // Standard output, by both of its names; what people read goes elsewhere.
    for name in ["-", "/dev/stdout"] {
        let done = output(run_in(folder.path(), &["--output", name]));
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(done.stdout == expected, "{name} got {} bytes", done.stdout.len());
        assert!(text(&done.stderr).contains(&expected::digest(SOFTMAX).to_string()));
    }
    let done = output(run_in(folder.path(), &["--json", "--output", "-"]));
    assert_eq!(done.status.code(), Some(2), "two things in one stream");

    let picture = output(run_in(folder.path(), &["--plot", "-"]));
    assert!(picture.stdout.starts_with(b"\x89PNG") && picture.status.success());
}

#[test]
fn a_reader_that_goes_ends_the_printing_and_not_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected_file(folder.path());
    let mut command =
        run_in(folder.path(), &["--json", "--output", "state", "--plot", "fields.png"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"dataset\""), "{line}");
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(std::fs::read(folder.path().join("state")).expect("the state") == expected);
    assert!(folder.path().join("fields.png").exists());
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected_file(folder.path());
    let done = output(run_in(folder.path(), &["--output", "/dev/full"]));
    assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
    let error = text(&done.stderr);
    assert!(error.contains("/dev/full: cannot be written"), "{error}");
    let digest = expected::digest(SOFTMAX).to_string();
    assert!(text(&done.stdout).contains(&digest), "how it went is told all the same");
    let kept = folder.path().join(format!("samebit-{}.safetensors", &digest[..12]));
    assert!(error.contains("the state is saved in "), "{error}");
    assert!(std::fs::read(kept).expect("the state, kept beside") == expected);

    // A coordinator that stays has it, and gives it to whoever asks.
    let cluster = Cluster::start().with_workers(1, 1);
    let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    let done = command(&cluster, &["run", &path("spec.toml"), "--output", "/dev/full"]);
    assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
    let advice = "`coordinator follow 1 --output FILE` writes it elsewhere";
    assert!(text(&done.stderr).contains(advice), "{}", text(&done.stderr));
    let followed = command(&cluster, &["follow", "1", "--output", &path("followed")]);
    assert!(followed.status.success(), "{}", text(&followed.stderr));
    assert!(std::fs::read(path("followed")).expect("the state") == expected);
}
