use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use common::dataset::{FeatureType, SplitManifest, TargetType};
use common::digest::Digest;
use common::id::{RunId, RunIdentity, SubmissionKey};
use common::merge_rule::MergeRule;
use common::run_state::RunEnd;
use common::state::{NetworkState, Tensor, TensorData};
use ndarray::Array1;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

use super::folder::{DATA, names};
use super::lock::RUNS_LOCK;
use super::*;

mod disk;
mod lock;
mod strict;

use disk::{Disk, Recording};

const RUN: RunId = RunId(3);

/// Values of a state: so many that its file is written in several pieces.
const VALUES: usize = 100_000;

/// Checkpoints that are kept.
const KEEP: u32 = 2;

fn manifest(chunks: Vec<Digest>) -> SplitManifest {
    SplitManifest {
        examples: 1,
        features: 1,
        shape: vec![1],
        targets: TargetType::Classes(2),
        element: FeatureType::U8,
        scale: 1.0,
        chunk_examples: 1,
        chunks,
    }
}

fn submission() -> SubmissionRecord {
    SubmissionRecord {
        run: RUN,
        identity: RunIdentity(0xfeed),
        key: Some(SubmissionKey(0xbeef)),
        at_ms: 1,
        // Of one example, so that an epoch is a round.
        spec: "model = \"softmax\"\nepochs = 9\nreplicas = 1\nbatch_size = 1\n\
               update_interval = 1\n[dataset]\nsource = \"digits\"\n"
            .into(),
        schema: "{}".into(),
        settings: Default::default(),
        initial: Some(state(0).digest()),
        forked_from: None,
        numeric_profile: "test".into(),
        model_version: 1,
        train: manifest(vec![Digest::of(b"a chunk")]),
        test: manifest(Vec::new()),
    }
}

/// The state after a round.
fn state(round: u64) -> NetworkState {
    let values = Array1::from_shape_fn(VALUES, |index| (index as u64 * (round + 1)) as f32);
    let data = TensorData::F32(values.into_dyn());
    let tensor = Tensor { data, rule: MergeRule::Mean };
    NetworkState::new([("weights".to_owned(), tensor)]).unwrap()
}

fn record(round: u64) -> CheckpointRecord {
    CheckpointRecord {
        submission: submission(),
        round,
        step: round,
        at_ms: 2,
        digest: state(round).digest(),
        bytes: state(round).bytes(),
        build: "test".into(),
        workers: 1,
        progress: Progress { round, loss: Some(0.5), ..Default::default() },
    }
}

fn checkpoint(folder: &RunsFolder, round: u64) -> Result<(), RunsError> {
    folder.write_checkpoint(&record(round), &state(round))?;
    folder.prune(RUN, round, KEEP)
}

fn outcome() -> Outcome {
    let (state, digest) = (RunEnd::Finished, Some(Digest::of(b"the end")));
    let progress = Some(Progress { round: 3, ..Progress::default() });
    let (run, identity) = (RUN, submission().identity);
    let (at_ms, round, loss, reason, unsaved) = (3, 3, None, None, None);
    Outcome { run, identity, at_ms, state, round, loss, digest, reason, progress, unsaved }
}

/// A folder with a run and its checkpoints of these rounds.
fn folder_with(rounds: &[u64]) -> (TempDir, RunsFolder) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = RunsFolder::open(scratch.path()).unwrap();
    folder.write_submission(&submission(), Some(&state(0))).unwrap();
    for round in rounds {
        checkpoint(&folder, *round).unwrap();
    }
    (scratch, folder)
}

/// The round of the last checkpoint that is whole, and what is said of others.
fn restart(folder: &RunsFolder) -> (Option<u64>, Vec<String>) {
    let Restart { checkpoint, damaged } = folder.restart(&submission(), u64::MAX).unwrap();
    let round = checkpoint.map(|found| {
        assert_eq!(found.record, record(found.record.round));
        assert_eq!(found.state, state(found.record.round));
        found.record.round
    });
    (round, damaged.iter().map(ToString::to_string).collect())
}

#[test]
fn what_was_written_is_read_again() {
    let (scratch, folder) = folder_with(&[1, 2]);
    folder.write_outcome(RUN, &outcome()).unwrap();
    drop(folder);
    let folder = RunsFolder::read(scratch.path()).unwrap();
    assert_eq!(folder.runs().unwrap(), [RUN]);
    assert_eq!(folder.submission(RUN).unwrap(), submission());
    assert_eq!(folder.start(&submission()).unwrap(), Some(state(0)));
    assert_eq!(restart(&folder), (Some(2), vec![]));
    assert_eq!(folder.outcome(&submission()).unwrap(), Some(outcome()));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    type Damage = fn(&Path);
    const STATE: &str = "round-2.safetensors";
    const MANIFEST: &str = "round-2.json";
    let cases: &[(&str, &str, Damage)] = &[
        ("the state is cut short", STATE, |run| cut(&run.join(STATE), 1)),
        ("the state is cut to nothing", STATE, |run| cut(&run.join(STATE), usize::MAX)),
        ("a bit of the state's values", STATE, |run| flip_last_bit(&run.join(STATE))),
        ("a bit of the state's header", STATE, |run| flip_first_bit(&run.join(STATE))),
        ("the state is of another round", STATE, |run| {
            fs::copy(run.join("round-1.safetensors"), run.join(STATE)).unwrap();
        }),
        ("the state is gone", STATE, |run| fs::remove_file(run.join(STATE)).unwrap()),
        ("the manifest is cut short", MANIFEST, |run| cut(&run.join(MANIFEST), 1)),
        ("the manifest is not JSON", MANIFEST, |run| flip_first_bit(&run.join(MANIFEST))),
        ("the manifest is of another round", MANIFEST, |run| {
            fs::copy(run.join("round-1.json"), run.join(MANIFEST)).unwrap();
        }),
        ("the manifest is of another spec", MANIFEST, |run| {
            replace(&run.join(MANIFEST), "softmax", "mlp");
        }),
        ("the manifest is of another version", MANIFEST, |run| {
            replace(&run.join(MANIFEST), "\"format\": 2", "\"format\": 1");
        }),
        ("the manifest is a folder", MANIFEST, |run| {
            fs::remove_file(run.join(MANIFEST)).unwrap();
            fs::create_dir(run.join(MANIFEST)).unwrap();
        }),
    ];
    for (what, file, damage) in cases {
        let (_scratch, folder) = folder_with(&[1, 2]);
        damage(&folder.run_path(RUN));
        let (round, damaged) = restart(&folder);
        assert_eq!(round, Some(1), "{what}");
        let [sentence] = &damaged[..] else { panic!("{what}: {damaged:?}") };
        assert!(sentence.contains(file), "{what}: {sentence}");
        assert!(!sentence.contains("remove that metadata"), "{what}: {sentence}");
        let said = folder.restart(&submission(), u64::MAX).unwrap().passed_over().unwrap();
        assert_eq!(said, format!("{sentence}; the checkpoint of round 1 is used instead"));
    }
}

#[test]
fn a_chunk_that_is_missing_is_named_with_what_to_do() {
    let (_scratch, folder) = folder_with(&[]);
    let chunk = b"a chunk";
    let manifest = manifest(vec![Digest::of(b"another"), Digest::of(chunk)]);
    let said = folder.chunk(&manifest, 1).unwrap_err().to_string();
    let path = folder.path().join("data").join(Digest::of(chunk).to_string());
    assert!(said.starts_with(&format!("{}: expected chunk 2 of 2", path.display())), "{said}");
    assert!(said.contains("no such file: restore it"), "{said}");
}

#[test]
fn not_all_of_many_damaged_checkpoints_are_named() {
    let (_scratch, folder) = folder_with(&[1, 2]);
    let error = || RunsError::content(Path::new("round-9.json"), "one", "another");
    let damaged = (0..6).map(|_| error()).collect();
    let said = Restart { checkpoint: None, damaged }.passed_over().unwrap();
    assert_eq!(said.matches("round-9.json").count(), 4, "{said}");
    assert!(said.ends_with(
        "; and 2 more; the run starts again from the beginning, as there is no other checkpoint"
    ));
    assert_eq!(folder.restart(&submission(), u64::MAX).unwrap().passed_over(), None);
}

/// The small files of a run, with what reads each.
type Reader = fn(&RunsFolder) -> Result<String, RunsError>;
const RECORDS: [(&str, Reader); 4] = [
    ("run.json", |folder| folder.submission(RUN).map(|read| format!("{read:?}"))),
    ("round-2.json", |folder| {
        folder.checkpoint_record(&submission(), 2).map(|read| format!("{read:?}"))
    }),
    ("outcome.json", |folder| folder.outcome(&submission()).map(|read| format!("{read:?}"))),
    ("starts.json", |folder| folder.starts(&submission(), 7).map(|read| format!("{read:?}"))),
];

#[test]
fn no_byte_of_a_record_can_change_and_be_believed() {
    let (_scratch, folder) = folder_with(&[1, 2]);
    folder.write_outcome(RUN, &outcome()).unwrap();
    folder.count_start(&submission(), 7).unwrap();
    let mut named = 0;
    for (file, read) in RECORDS {
        let path = folder.run_path(RUN).join(file);
        let (whole, expected) = (fs::read(&path).unwrap(), read(&folder).unwrap());
        for place in 0..whole.len() {
            for flip in [1, 2, 0x10, 0x80] {
                let mut altered = whole.clone();
                altered[place] ^= flip;
                fs::write(&path, altered).unwrap();
                match read(&folder) {
                    // A blank between two values, say.
                    Ok(found) => assert_eq!(found, expected, "{file}, byte {place}"),
                    Err(error) => {
                        assert!(error.to_string().contains(file), "{error}");
                        named += 1;
                    }
                }
            }
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(named > 8000, "{named}");
}

#[test]
fn starts_are_counted_for_one_step_of_one_run() {
    let (_scratch, folder) = folder_with(&[]);
    let submission = submission();
    let starts = |step| folder.starts(&submission, step).unwrap();
    assert_eq!(starts(0), 0);
    (0..2).for_each(|_| folder.count_start(&submission, 0).unwrap());
    assert_eq!((starts(0), starts(3)), (2, 0));
    let other = SubmissionRecord { identity: RunIdentity(1), ..submission.clone() };
    assert_eq!(folder.starts(&other, 0).unwrap(), 0);
    folder.count_start(&submission, 3).unwrap();
    assert_eq!((starts(0), starts(3)), (0, 1));
    // What cannot be read is counted anew.
    cut(&folder.run_path(RUN).join("starts.json"), 40);
    assert!(folder.starts(&submission, 3).unwrap_err().is_damage());
    folder.count_start(&submission, 3).unwrap();
    assert_eq!(starts(3), 1);
    folder.forget_starts(RUN).unwrap();
    folder.forget_starts(RUN).unwrap();
    assert_eq!(starts(3), 0);
}

#[test]
fn what_a_manifest_says_is_compared_with_the_run() {
    type Change = fn(&mut CheckpointRecord);
    let cases: [(&str, Change); 7] = [
        ("the number of run.json", |it| it.submission.run = RunId(4)),
        ("the identity of run.json", |it| it.submission.identity = RunIdentity(1)),
        ("the spec of run.json", |it| it.submission.spec += "seed = 2"),
        ("the data of run.json", |it| it.submission.train.scale = 2.0),
        ("the initial state of run.json", |it| it.submission.initial = None),
        ("the numeric profile of run.json", |it| it.submission.numeric_profile += "2"),
        ("a step after round 2, found round 2 and step 3", |it| it.step = 3),
    ];
    for (expected, change) in cases {
        let (_scratch, folder) = folder_with(&[1, 2]);
        let mut record = record(2);
        change(&mut record);
        let path = folder.run_path(RUN).join("round-2.json");
        folder.write_record(&path, &record).unwrap();
        let (round, damaged) = restart(&folder);
        assert_eq!((round, damaged.len()), (Some(1), 1), "{expected}");
        assert!(damaged[0].contains(expected), "{damaged:?}");
    }
}

#[test]
fn a_damaged_submission_is_restored_from_the_last_manifest() {
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| cut(path, 40)] {
        let (_scratch, folder) = folder_with(&[1, 2]);
        damage(&folder.submission_path(RUN));
        assert_eq!(folder.runs().unwrap(), [RUN]);
        let (restored, error) = folder.restore_submission(RUN).unwrap();
        assert_eq!(restored, submission());
        assert!(error.unwrap().to_string().contains("run"));
        assert_eq!(folder.submission(RUN).unwrap(), submission());
        assert!(folder.restore_submission(RUN).unwrap().1.is_none());
    }
    let (_scratch, folder) = folder_with(&[]);
    cut(&folder.submission_path(RUN), 40);
    let error = folder.restore_submission(RUN).unwrap_err().to_string();
    assert!(error.contains("run.json: expected an intact record"), "{error}");
    // Manifests of two runs: nobody knows which one it was.
    let (_scratch, folder) = folder_with(&[1, 2]);
    let mut other = record(2);
    other.submission.identity = RunIdentity(1);
    folder.write_record(&folder.run_path(RUN).join("round-2.json"), &other).unwrap();
    cut(&folder.submission_path(RUN), 40);
    let error = folder.restore_submission(RUN).unwrap_err();
    assert!(matches!(error, RunsError::SeveralRuns { .. }), "{error}");
}

#[test]
fn the_folder_of_a_run_is_never_written_over() {
    let (_scratch, folder) = folder_with(&[1]);
    cut(&folder.submission_path(RUN), 1);
    let error = folder.write_submission(&submission(), None).unwrap_err();
    assert!(matches!(error, RunsError::Exists { .. }), "{error}");
    fs::remove_file(folder.submission_path(RUN)).unwrap();
    assert_eq!(folder.numbers().unwrap(), [RUN]);
    assert!(folder.write_submission(&submission(), None).is_err());
}

#[test]
fn nothing_is_removed_where_a_run_cannot_be_read() {
    type Damage = fn(&RunsFolder);
    let damages: [Damage; 5] = [
        |folder| cut(&folder.submission_path(RUN), 1),
        |folder| fs::remove_file(folder.submission_path(RUN)).unwrap(),
        |folder| fs::write(folder.path().join("9"), "a file").unwrap(),
        |folder| fs::create_dir(folder.path().join("07")).unwrap(),
        |folder| symlink("nowhere", folder.path().join("9")).unwrap(),
    ];
    for damage in damages {
        let (_scratch, folder) = folder_with(&[1]);
        folder.write_chunk(Digest::of(b"a chunk"), b"a chunk").unwrap();
        let half = folder.run_path(RUN).join("round-2.safetensors.temporary");
        fs::write(&half, b"half").unwrap();
        damage(&folder);
        folder.clean().unwrap_err();
        assert!(half.exists());
        assert_eq!(names(&folder.path().join(DATA)).unwrap().len(), 1);
    }
}

#[test]
fn what_is_no_run_keeps_no_run_from_being_found() {
    let (_scratch, folder) = folder_with(&[1]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("5"), "a file").unwrap();
    symlink("nowhere", path("6")).unwrap();
    symlink("7", path("7")).unwrap();
    for name in ["01", "+1", "08", "notes"] {
        fs::create_dir(path(name)).unwrap();
        fs::copy(folder.submission_path(RUN), path(name).join("run.json")).unwrap();
    }
    assert_eq!(folder.runs().unwrap(), [RUN]);
    assert_eq!(folder.numbers().unwrap(), [RUN, RunId(5), RunId(6), RunId(7)], "all are taken");
}

#[test]
fn a_chunk_is_written_by_several_at_once_and_over_a_damaged_one() {
    let (_scratch, folder) = folder_with(&[1]);
    let content = vec![7; 1 << 20];
    let digest = Digest::of(&content);
    let path = folder.path().join(DATA).join(digest.to_string());
    let flip = || {
        let mut bytes = content.clone();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    let damages: [&dyn Fn(); 4] =
        [&|| (), &|| fs::remove_file(&path).unwrap(), &|| fs::write(&path, b"").unwrap(), &flip];
    for damage in damages {
        damage();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| folder.write_chunk(digest, &content).unwrap());
            }
        });
        assert!(fs::read(&path).unwrap() == content);
        assert_eq!(names(&folder.path().join(DATA)).unwrap().len(), 1, "no other is left");
    }
}

fn cut(path: &Path, bytes: usize) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(bytes as u64)).unwrap();
}

fn flip_first_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn flip_last_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn the_last_checkpoints_are_kept_and_none_of_a_time_that_was_gone_back_from() {
    let (_scratch, folder) = folder_with(&[1, 2, 3, 4]);
    assert_eq!(folder.checkpoints(RUN).unwrap(), [3, 4]);
    folder.prune(RUN, 3, KEEP).unwrap();
    assert_eq!(folder.checkpoints(RUN).unwrap(), [3]);
    folder.prune(RUN, 3, 0).unwrap();
    assert_eq!(folder.checkpoints(RUN).unwrap(), [3], "one is always kept");
    assert_eq!(names(&folder.run_path(RUN)).unwrap().len(), 4, "and no state without a manifest");
}

#[test]
fn a_folder_has_one_coordinator() {
    let (scratch, folder) = folder_with(&[1]);
    let second = RunsFolder::open(scratch.path()).unwrap_err();
    assert!(matches!(second, RunsError::Locked { .. }), "{second}");
    assert_eq!(restart(&RunsFolder::read(scratch.path()).unwrap()).0, Some(1));
    drop(folder);
    RunsFolder::open(scratch.path()).unwrap();
}

#[test]
fn what_was_left_half_written_goes() {
    let (scratch, folder) = folder_with(&[1]);
    let [needed, other] = [b"a chunk", b"another"].map(|content| {
        folder.write_chunk(Digest::of(content), content).unwrap();
        scratch.path().join("data").join(Digest::of(content).to_string())
    });
    let half = folder.run_path(RUN).join("round-2.safetensors.temporary");
    fs::write(&half, b"half").unwrap();
    folder.clean().unwrap();
    assert!(needed.exists() && !other.exists() && !half.exists());
    assert_eq!(restart(&folder), (Some(1), vec![]));
}

/// The submission, checkpoints of rounds 1 to 4, and the end of a run.
const WRITES: usize = 6;

/// Does write `number` of [`WRITES`].
fn write(folder: &RunsFolder, number: usize) -> Result<(), RunsError> {
    match number {
        0 => folder.write_submission(&submission(), Some(&state(0))),
        5 => folder.write_outcome(RUN, &outcome()),
        round => checkpoint(folder, round as u64),
    }
}

/// That so many [`WRITES`] are in a folder, and nothing that is not whole.
fn check_written(folder: &RunsFolder, written: usize) -> Result<(), String> {
    if written == 0 {
        return Ok(());
    }
    let text = |error: RunsError| error.to_string();
    folder.clean().map_err(text)?;
    let found = (folder.submission(RUN).map_err(text)?, folder.start(&submission()).map_err(text)?);
    if found != (submission(), Some(state(0))) {
        return Err("another submission".into());
    }
    let rounds = (written - 1).min(4) as u64;
    match restart(folder) {
        // One more may be there than was promised.
        (round, damaged) if damaged.is_empty() && (rounds..=4).contains(&round.unwrap_or(0)) => {}
        other => return Err(format!("the last checkpoint that is whole: {other:?}")),
    }
    match folder.outcome(&submission()).map_err(text)? {
        None if written < WRITES => Ok(()),
        Some(found) if found == outcome() => Ok(()),
        found => Err(format!("the outcome is {found:?}")),
    }
}

#[test]
fn a_write_that_fails_says_so_and_harms_nothing() {
    let mut failed = 0;
    for number in 0.. {
        let scratch = tempfile::tempdir().unwrap();
        let files = Recording::default();
        let folder = RunsFolder::open_with(scratch.path(), Arc::new(files.clone())).unwrap();
        files.fail_at(number);
        let mut written = 0;
        let error = (0..WRITES).find_map(|number| {
            let error = write(&folder, number).err();
            written += usize::from(error.is_none());
            error
        });
        check_written(&folder, written).unwrap_or_else(|what| panic!("operation {number}: {what}"));
        let Some(error) = error else { break };
        let text = error.to_string();
        assert!(text.contains("this operation fails"), "operation {number}: {text}");
        assert!(text.contains(scratch.path().to_str().unwrap()), "operation {number}: {text}");
        failed += 1;
        // Once there is room again, all goes on.
        if written == 0 {
            // The number of a run that was not accepted is not used again.
            let _ = fs::remove_dir_all(folder.run_path(RUN));
        }
        (written..WRITES).for_each(|number| write(&folder, number).unwrap());
        check_written(&folder, WRITES).unwrap();
    }
    assert!(failed > 60, "{failed}");
}

#[test]
fn wherever_the_power_fails_what_was_promised_is_there() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path();
    let files = Recording::default();
    let folder = RunsFolder::open_with(from, Arc::new(files.clone())).unwrap();
    let mut ends = Vec::new();
    for number in 0..WRITES {
        write(&folder, number).unwrap();
        ends.push(files.len());
    }
    let operations = files.done();
    for point in 0..=operations.len() {
        let disk = Disk::after(&operations[..point]);
        let written = ends.iter().filter(|end| **end <= point).count();
        let check = |how: &str, restore: &mut dyn FnMut(&Path)| {
            let found = tempfile::tempdir().unwrap();
            restore(found.path());
            let folder = RunsFolder::open(found.path()).unwrap();
            check_written(&folder, written).unwrap_or_else(|what| {
                let last = point.checked_sub(1).map(|last| &operations[last]);
                panic!("after {point} operations, {how}: {what}; the last one: {last:?}")
            });
        };
        check("killed", &mut |to| disk.restore_all(from, to));
        check("nothing kept", &mut |to| disk.restore_synced(from, to, |_| 0));
        for seed in 0..4 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut keeps = |choices: usize| (random.next_u64() % choices as u64) as usize;
            check(&format!("seed {seed}"), &mut |to| disk.restore_synced(from, to, &mut keeps));
        }
    }
}

#[test]
fn a_new_folder_is_for_its_owner_alone_and_an_old_one_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = TempDir::new().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let (new, old) = (scratch.path().join("deep/new"), scratch.path().join("old"));
    RunsFolder::open(&new).unwrap();
    assert_eq!(mode(&new), 0o700);
    std::fs::create_dir(&old).unwrap();
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o750)).unwrap();
    RunsFolder::open(&old).unwrap();
    assert_eq!(mode(&old), 0o750);
}

/// Whoever opens a pipe waits for somebody at its other end.
#[test]
fn a_pipe_in_the_place_of_the_lock_is_named_and_not_waited_for() {
    use nix::sys::stat::Mode;
    let scratch = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&scratch.path().join(RUNS_LOCK), Mode::S_IRWXU).unwrap();
    let error = RunsFolder::open(scratch.path()).unwrap_err().to_string();
    assert!(error.contains(RUNS_LOCK), "{error}");
}
