use common::dataset::SplitSize;
use common::spec::RunSpec;

use super::*;

const DIGESTS: [&[u8]; 3] = [b"right", b"wrong", b"other"];

fn digest(which: usize) -> Digest {
    Digest::of(DIGESTS[which])
}

/// Two rounds an epoch, an evaluation after each: steps 2, 5, 8, 11 evaluate.
fn plan() -> RunPlan {
    let spec = RunSpec::from_toml(
        "model = \"m\"\nreplicas = 2\nbatch_size = 5\nepochs = 4\n\
         [dataset]\nsource = \"digits\"\n[evaluation]\nevery = 1\nshard_size = 5\n",
    );
    RunPlan::new(&spec.unwrap(), SplitSize::of_one_chunk(20), 10).unwrap()
}

fn check<'a>(plan: &'a RunPlan, recorded: &[u64]) -> Check<'a> {
    let states = recorded.iter().map(|step| (*step, digest(0))).collect();
    Check::new((RunId(3), plan), states, " --runs /r".into())
}

fn row(replica: u32, which: usize) -> ShardRow {
    let (worker, digest) = (format!("w{replica}"), digest(which));
    ShardRow { replica, worker, attempt: 1, digest, compute_us: 1 }
}

/// A step whose two shards were recorded so.
fn step(check: &mut Check<'_>, step: u64, recorded: [usize; 2]) -> Result<(), String> {
    check.shard(&row(0, recorded[0]), digest(0));
    check.shard(&row(1, recorded[1]), digest(0));
    check.shards_are_in(step)?;
    if check.is_pass(step) { Ok(()) } else { check.state(step, digest(0)) }
}

#[test]
fn a_shard_that_began_from_the_recorded_state_tells_of_its_worker() {
    let plan = plan();
    // What begins from disk, what follows a recorded state, and an evaluation
    // between.
    for (recorded, begin, last) in [(&[][..], 3, 3), (&[4], 3, 4), (&[5], 4, 6), (&[6], 4, 6)] {
        let mut check = check(&plan, recorded);
        check.begin(begin);
        (begin..last).for_each(|it| step(&mut check, it, [0, 0]).unwrap());
        let error = step(&mut check, last, [0, 1]).unwrap_err();
        let place =
            format!("step {last} (round {}), replica 1: worker w1 computed", last - last / 3 + 1);
        assert!(error.starts_with(&place), "{error}");
        assert!(!error.contains("merge"), "{error}");
        let replay = format!("`coordinator replay 3 --runs /r --step {last} --replica 1` runs");
        assert!(error.contains(&replay), "{error}");
    }
}

#[test]
fn a_shard_after_a_state_that_nobody_recorded_accuses_no_one_alone() {
    let plan = plan();
    let mut check = check(&plan, &[4]);
    check.begin(0);
    (0..6).for_each(|it| step(&mut check, it, [0, 0]).unwrap());
    let error = step(&mut check, 6, [1, 1]).unwrap_err();
    for part in [
        "step 6 (round 5), replica 0: worker w0 computed",
        "(all shards of the step differ",
        "Either worker w0 or an earlier merge was wrong: that of one from step 4 (round 4) \
         to step 5 (an evaluation).",
        "`--checkpoint-every 1`",
        "`coordinator replay 3 --runs /r --step 6 --replica 0`",
    ] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    let mut check = super::tests::check(&plan, &[]);
    check.begin(0);
    step(&mut check, 0, [0, 0]).unwrap();
    let error = step(&mut check, 1, [0, 1]).unwrap_err();
    assert!(error.contains("(1 of 2 shards differ)"), "{error}");
    assert!(error.contains("merge was wrong: that of step 0 (round 1)."), "{error}");
}

#[test]
fn a_wrong_state_is_found_before_the_shards_that_began_from_it() {
    let plan = plan();
    let mut check = check(&plan, &[1, 4]);
    check.begin(0);
    step(&mut check, 0, [0, 0]).unwrap();
    let error = check.state(1, digest(1));
    assert_eq!(error, Ok(()), "of step 1 no state is recorded");
    step(&mut check, 1, [0, 0]).unwrap();
    step(&mut check, 2, [0, 0]).unwrap();
    let error = check.state(3, digest(1)).unwrap_err();
    assert!(error.starts_with("the state after step 3 (round 3) is not as"), "{error}");
    let range = "that of one from step 1 (round 2) to step 3 (round 3): a worker sent";
    assert!(error.contains(range), "{error}");
    let mut check = super::tests::check(&plan, &[1, 4]);
    check.begin(3);
    let error = check.state(3, digest(1)).unwrap_err();
    assert!(error.contains("went wrong, that of step 3 (round 3): a worker sent"), "{error}");
}

#[test]
fn a_gap_is_told_and_the_state_after_it_compared() {
    let plan = plan();
    let mut check = check(&plan, &[5]);
    check.begin(3);
    // Nothing is recorded of step 3.
    check.shards_are_in(3).unwrap();
    check.state(3, digest(0)).unwrap();
    step(&mut check, 4, [0, 0]).unwrap();
    check.end(5);
    let sentence = "2 shards of 1 step are as recorded, and 1 state; 1 step more without any \
                    record";
    assert_eq!(check.same.sentence(), sentence);
}

#[test]
fn where_shards_were_thinned_the_step_as_a_whole_is_compared() {
    let plan = plan();
    let mut check = check(&plan, &[]);
    check.begin(0);
    let whole = step_digest(&[digest(0), digest(1)]);
    let mut thinned = |step: u64, second: usize| {
        check.part_of_step(whole, [digest(0)]);
        check.part_of_step(whole, [digest(second)]);
        check.shards_are_in(step)
    };
    thinned(0, 1).unwrap();
    let error = thinned(1, 2).unwrap_err();
    for part in [
        "step 1 (round 2): the digest of its shards was ",
        "an earlier merge: that of step 0 (round 1); the history was thinned",
        "the history was thinned",
    ] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    // Of the step after a thinned one there is all, of the next one nothing.
    step(&mut check, 1, [0, 0]).unwrap();
    check.shards_are_in(2).unwrap();
    check.state(2, digest(0)).unwrap();
    let sentence = check.same.sentence();
    assert!(
        sentence.starts_with(
            "2 shards of 1 step are as recorded, and 0 states; 1 step more could only be \
             compared as a whole, as the history was thinned, and is as recorded; 1 step more \
             without any record"
        ),
        "{sentence}"
    );
    let mut check = super::tests::check(&plan, &[]);
    check.begin(0);
    check.part_of_step(whole, [digest(0), digest(2)]);
    let error = check.shards_are_in(0).unwrap_err();
    assert!(error.contains("computed one of them; the history"), "{error}");
}

#[test]
fn an_evaluation_leaves_the_state_known() {
    let plan = plan();
    // The final state is that of the last round, before its evaluation.
    let mut check = check(&plan, &[12]);
    check.begin(10);
    step(&mut check, 10, [0, 0]).unwrap();
    check.end(11);
    assert_eq!(check.same, Same { steps: 1, shards: 2, states: 1, ..Same::default() });
    step(&mut check, 11, [0, 0]).unwrap();
    check.end(12);
    let sentence = "4 shards of 2 steps are as recorded, and 1 state";
    assert_eq!(check.same.sentence(), sentence);
    let mut check = super::tests::check(&plan, &[]);
    check.begin(9);
    step(&mut check, 9, [0, 0]).unwrap();
    step(&mut check, 10, [0, 0]).unwrap();
    check.end(11);
    let sentence = check.same.sentence();
    assert!(sentence.ends_with("the last state is not recorded, so its merge was not checked"));
}
