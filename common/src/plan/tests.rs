use proptest::prelude::*;

use super::*;
use crate::spec::EvaluationSpec;

/// Splits of these tests are cut into chunks only where that is what they test.
impl From<u64> for SplitSize {
    fn from(examples: u64) -> Self {
        Self::of_one_chunk(examples)
    }
}

fn spec(replicas: u32, batch_size: u32, update_interval: u32) -> RunSpec {
    RunSpec {
        replicas,
        batch_size,
        update_interval,
        epochs: Some(1),
        rounds: None,
        ..RunSpec::default_digits()
    }
}

/// Rounds, labellings and evaluations in a line: `round@epoch+first`,
/// `Lepochs` and `Eepochs`.
fn outline(plan: &RunPlan) -> String {
    let is_round = |index: &u64| matches!(plan.step(*index).unwrap().kind, StepKind::Train { .. });
    for index in 0..plan.steps() + 3 {
        let before = (0..index.min(plan.steps())).filter(is_round).count();
        assert_eq!(plan.rounds_before(index), before as u64, "step {index}");
    }
    let steps = (0..plan.steps()).map(|index| match plan.step(index).unwrap().kind {
        StepKind::Train { round, epoch, first } => format!("{round}@{epoch}+{first}"),
        StepKind::Label { epochs } => format!("L{epochs}"),
        StepKind::Evaluate { epochs, .. } => format!("E{epochs}"),
        StepKind::Predict { first, .. } => format!("P{first}"),
    });
    steps.collect::<Vec<_>>().join(" ")
}

#[test]
fn epochs_have_short_last_rounds_and_an_evaluation_at_the_end() {
    // 25 examples, 12 a round: rounds of 12, 12 and 1.
    let spec = RunSpec { epochs: Some(2), ..spec(3, 2, 2) };
    let plan = RunPlan::new(&spec, 25, 10).unwrap();
    assert_eq!(outline(&plan), "0@0+0 1@0+12 2@0+24 3@1+0 4@1+12 5@1+24 E2");
    assert_eq!((plan.rounds(), plan.steps()), (6, 7));
    let last = plan.step(2).unwrap();
    assert_eq!(plan.examples(&last), 1);
    assert_eq!(plan.positions(&last, 0), 24..25);
    assert_eq!(plan.positions(&last, 1), 25..25);
    assert_eq!(plan.positions(&plan.step(1).unwrap(), 2), 20..24);
    assert_eq!(plan.step(7), None);
}

#[test]
fn a_block_has_the_ranges_of_its_replicas() {
    let plan = RunPlan::new(&RunSpec { epochs: Some(2), ..spec(3, 2, 2) }, 25, 300).unwrap();
    let block = |step, level, index| {
        let block = plan.block(&plan.step(step).unwrap(), Block { level, index });
        (block.task, block.split, block.epoch, block.positions)
    };
    // The fourth replica does not exist.
    assert_eq!(block(1, 1, 1), (Task::Train, Split::Train, 0, vec![20, 24]));
    assert_eq!(block(3, 2, 0), (Task::Train, Split::Train, 1, vec![0, 4, 8, 12]));
    // Two replicas of a short last round have nothing to do.
    assert_eq!(block(2, 2, 0), (Task::Train, Split::Train, 0, vec![24, 25, 25, 25]));
    assert_eq!(block(6, 1, 0), (Task::Evaluate, Split::Test, 2, vec![0, 256, 300]));
    let mut spec = spec(1, 1, 1);
    spec.evaluation.labelling = true;
    let plan = RunPlan::new(&spec, 7, 0).unwrap();
    let label = plan.block(&plan.step(7).unwrap(), Block { level: 0, index: 0 });
    assert_eq!((label.task, label.split, label.positions), (Task::Label, Split::Train, vec![0, 7]));
}

#[test]
fn evaluations_follow_every_so_many_epochs_and_the_end() {
    let mut spec = RunSpec { epochs: Some(5), ..spec(1, 10, 1) };
    spec.evaluation.every = 2;
    let plan = |spec: &RunSpec, test| outline(&RunPlan::new(spec, 20, test).unwrap());
    assert_eq!(
        plan(&spec, 3),
        "0@0+0 1@0+10 2@1+0 3@1+10 E2 4@2+0 5@2+10 6@3+0 7@3+10 E4 8@4+0 9@4+10 E5"
    );
    // Not twice when the last epoch is one of those.
    spec.epochs = Some(2);
    assert_eq!(plan(&spec, 3), "0@0+0 1@0+10 2@1+0 3@1+10 E2");
    // None where there is nothing to evaluate on.
    assert_eq!(plan(&spec, 0), "0@0+0 1@0+10 2@1+0 3@1+10");
    // Rounds run on over epochs, and may stop within one.
    (spec.epochs, spec.rounds, spec.evaluation.every) = (None, Some(3), 1);
    assert_eq!(plan(&spec, 3), "0@0+0 1@0+10 E1 2@1+0 E1");
}

#[test]
fn labellings_come_before_evaluations_or_alone_at_the_end() {
    let mut spec = RunSpec { epochs: Some(3), ..spec(1, 10, 1) };
    (spec.evaluation.every, spec.evaluation.labelling) = (2, true);
    spec.evaluation.shard_size = 6;
    let plan = RunPlan::new(&spec, 20, 3).unwrap();
    assert_eq!(outline(&plan), "0@0+0 1@0+10 2@1+0 3@1+10 L2 E2 4@2+0 5@2+10 L3 E3");
    let (label, evaluate) = (plan.step(4).unwrap(), plan.step(5).unwrap());
    assert_eq!((label.split(), label.replicas, plan.examples(&label)), (Split::Train, 4, 20));
    assert_eq!(
        (evaluate.split(), evaluate.replicas, plan.examples(&evaluate)),
        (Split::Test, 1, 3)
    );
    assert_eq!(plan.positions(&label, 3), 18..20);
    assert_eq!(plan.order(&label), None);
    let outline = |spec: &RunSpec, test| outline(&RunPlan::new(spec, 10, test).unwrap());
    assert_eq!(outline(&spec, 0), "0@0+0 1@1+0 2@2+0 L3");
    (spec.update_weights, spec.epochs) = (false, None);
    assert_eq!(outline(&spec, 3), "L0 E0");
    let error = RunPlan::new(&spec, 0, 3).unwrap_err().to_string();
    assert!(error.contains("`evaluation.labelling`"), "{error}");
}

#[test]
fn a_run_that_only_evaluates_has_one_step() {
    let mut spec = RunSpec { update_weights: false, epochs: None, ..spec(4, 10, 1) };
    spec.evaluation.shard_size = 4;
    let plan = RunPlan::new(&spec, 0, 10).unwrap();
    assert_eq!(outline(&plan), "E0");
    let step = plan.step(0).unwrap();
    assert_eq!((step.replicas, step.split(), plan.examples(&step)), (3, Split::Test, 10));
    assert_eq!(plan.positions(&step, 2), 8..10);
    assert_eq!(plan.order(&step), None);

    let error = RunPlan::new(&spec, 10, 0).unwrap_err().to_string();
    assert!(error.contains("`evaluation.split`"), "{error}");
    spec.evaluation.split = Split::Train;
    assert_eq!(outline(&RunPlan::new(&spec, 10, 0).unwrap()), "E0");
}

#[test]
fn shards_of_an_evaluation_grow_when_there_would_be_too_many() {
    let mut spec = spec(1, 1, 1);
    spec.evaluation.shard_size = 1;
    let test = u64::from(limits::MAX_REPLICAS) * 3 + 1;
    let plan = RunPlan::new(&spec, 1, test).unwrap();
    let step = plan.step(1).unwrap();
    assert!(step.replicas <= limits::MAX_REPLICAS);
    assert_eq!(plan.positions(&step, 1), 4..8);
    assert_eq!(plan.positions(&step, step.replicas - 1).end, test);
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let check = |spec: &RunSpec, train: u64, field: &str| {
        let error = RunPlan::new(spec, train, 1).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    };
    check(&spec(1, 1, 1), 0, "`dataset.source`");
    check(&spec(1, 1, 1), limits::EXAMPLES + 1, "`dataset.source`");
    check(&spec(0, 1, 1), 1, "`replicas`");
}

#[test]
fn the_largest_plans_do_not_overflow() {
    let mut largest = spec(1, 1, 1);
    largest.evaluation.every = u32::MAX;
    for (epochs, rounds) in [(Some(u32::MAX), None), (None, Some(i64::MAX as u64))] {
        (largest.epochs, largest.rounds) = (epochs, rounds);
        for every in [0, 1, u32::MAX] {
            largest.evaluation.every = every;
            let plan = RunPlan::new(&largest, limits::EXAMPLES, limits::EXAMPLES).unwrap();
            let last = plan.step(plan.steps() - 1).unwrap();
            assert!(matches!(last.kind, StepKind::Evaluate { .. }));
            assert_eq!(plan.examples(&last), limits::EXAMPLES);
            assert_eq!(plan.step(plan.steps()), None);
        }
    }
    // Three steps for each round, of which there can be 2^63.
    (largest.epochs, largest.rounds) = (None, Some(i64::MAX as u64));
    (largest.evaluation.every, largest.evaluation.labelling) = (1, true);
    let error = RunPlan::new(&largest, 1, 1).unwrap_err().to_string();
    assert!(error.contains("`rounds`"), "{error}");
    let wide = spec(limits::MAX_REPLICAS, u32::MAX, 1 << 15);
    let plan = RunPlan::new(&wide, 10, 0).unwrap();
    let step = plan.step(0).unwrap();
    assert_eq!(plan.examples(&step), 10);
    assert_eq!(plan.positions(&step, u32::MAX), 10..10);
}

proptest! {
    #[test]
    fn every_epoch_takes_every_position_once(
        replicas in 1..9u32,
        batch_size in 1..9u32,
        update_interval in 1..5u32,
        train in 1..300u64,
        test in 0..50u64,
        epochs in 1..4u32,
        every in 0..3u32,
        shard_size in 1..20u32,
        labelling: bool,
    ) {
        let mut spec = RunSpec { epochs: Some(epochs), ..spec(replicas, batch_size, update_interval) };
        spec.evaluation.every = every;
        spec.evaluation.shard_size = shard_size;
        spec.evaluation.labelling = labelling;
        let plan = RunPlan::new(&spec, train, test).unwrap();
        let (mut next, mut rounds, mut epochs_done) = (0, 0, 0);
        let (mut evaluated, mut labelled) = (None, None);
        for index in 0..plan.steps() {
            let step = plan.step(index).unwrap();
            prop_assert_eq!(step.index, index);
            let ranges: Vec<_> =
                (0..step.replicas).map(|replica| plan.positions(&step, replica)).collect();
            let sizes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            prop_assert_eq!(sizes, plan.examples(&step));
            prop_assert!(sizes > 0);
            match step.kind {
                StepKind::Train { round, epoch, first } => {
                    prop_assert_eq!((round, epoch, first), (rounds, epochs_done, next));
                    for range in ranges {
                        prop_assert_eq!(range.start, next);
                        prop_assert!(range.end - range.start <= u64::from(batch_size * update_interval));
                        next = range.end;
                    }
                    rounds += 1;
                    if next == train {
                        (next, epochs_done) = (0, epochs_done + 1);
                    }
                }
                StepKind::Label { epochs } => {
                    prop_assert_eq!(epochs, epochs_done);
                    labelled = Some(index);
                    prop_assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, train));
                    prop_assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                }
                StepKind::Evaluate { epochs, .. } => {
                    prop_assert_eq!(epochs, epochs_done);
                    prop_assert_eq!(labelled, labelling.then(|| index - 1), "just before");
                    prop_assert!(evaluated < Some(epochs), "evaluated twice");
                    evaluated = Some(epochs);
                    prop_assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, test));
                    prop_assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                }
                StepKind::Predict { .. } => prop_assert!(false, "nothing is predicted"),
            }
        }
        prop_assert_eq!((rounds, epochs_done, next), (plan.rounds(), u64::from(epochs), 0));
        prop_assert_eq!(labelled.is_some(), labelling);
        prop_assert_eq!(evaluated.is_some(), test > 0);
        if test == 0 && labelling {
            prop_assert_eq!(labelled, Some(plan.steps() - 1));
        }
        if test > 0 {
            prop_assert_eq!(evaluated, Some(u64::from(epochs)));
        }
    }
}

#[test]
fn a_window_decides_the_order_of_a_split_that_is_larger() {
    let train =
        SplitSize { examples: 4000, chunk_examples: 100, example_bytes: 10 << 10, outputs: 1 };
    let order = |window| {
        let mut spec = spec(1, 1, 1);
        spec.dataset.shuffle_window = window;
        let plan = RunPlan::new(&spec, train, 0).unwrap();
        plan.order(&plan.step(0).unwrap()).unwrap()
    };
    // All of it is 39.06 MiB.
    let whole = EpochOrder::new(1, 0, 4000);
    assert_eq!((order(40), order(limits::SHUFFLE_WINDOW)), (whole.clone(), whole));
    assert_ne!(order(39), order(40));
    // A chunk has just less than a MiB: so many MiB hold as many, and one more from 40 on.
    for (window, chunks) in [(39, 39), (10, 10), (1, 1)] {
        assert_eq!(order(window), EpochOrder::windowed(1, 0, (4000, 100), chunks), "{window}");
    }
    let bytes = |window| {
        let mut spec = spec(1, 1, 1);
        spec.dataset.shuffle_window = window;
        RunPlan::new(&spec, train, 0).unwrap().window_bytes()
    };
    assert_eq!((bytes(100), bytes(10)), ((4000 * 10) << 10, (10 * 100 * 10) << 10));
}

proptest! {
    /// What a window is for: however long an epoch, a stretch of its order needs
    /// few chunks.
    #[test]
    fn a_stretch_of_an_epoch_needs_the_chunks_of_its_windows(
        examples in 1..2000u64,
        chunk in 1..50u64,
        window in 1..20u64,
        start in 0..2000u64,
        length in 1..60u64,
    ) {
        let order = EpochOrder::windowed(7, 3, (examples, chunk), window);
        let mut all: Vec<u64> = order.examples(0..examples).collect();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..examples));
        let stretch = start.min(examples)..(start + length).min(examples);
        let needed: std::collections::BTreeSet<u64> =
            order.examples(stretch.clone()).map(|example| example / chunk).collect();
        // The last chunk is short, and so is the window that has it.
        let windows = (stretch.end - stretch.start).div_ceil(window * chunk) + 2;
        prop_assert!(needed.len() as u64 <= window * windows, "{needed:?}");
    }
}

fn prediction(shard_size: u32) -> RunSpec {
    let evaluation =
        EvaluationSpec { split: Split::Train, shard_size, ..EvaluationSpec::default() };
    RunSpec { update_weights: false, predict: true, epochs: None, evaluation, ..spec(3, 2, 2) }
}

fn examples_of(examples: u64, outputs: u32) -> SplitSize {
    SplitSize { outputs, ..SplitSize::of_one_chunk(examples) }
}

proptest! {
    #[test]
    fn a_prediction_has_each_example_once_in_order(
        examples in 1u64..3000,
        outputs in prop_oneof![1u32..20, 900u32..3000, Just(limits::CLASSES)],
        shard_size in prop_oneof![1u32..40, Just(256u32), Just(u32::MAX)],
    ) {
        let plan = RunPlan::new(&prediction(shard_size), examples_of(examples, outputs), 0).unwrap();
        let mut next = 0;
        for index in 0..plan.steps() {
            let step = plan.step(index).unwrap();
            prop_assert_eq!(step.kind, StepKind::Predict { split: Split::Train, first: next });
            let begin = next;
            for shard in 0..step.replicas {
                let positions = plan.positions(&step, shard);
                prop_assert!(positions.start == next && positions.end > next);
                next = positions.end;
            }
            prop_assert_eq!(plan.examples(&step), next - begin);
            prop_assert!((next - begin) * u64::from(outputs) <= limits::STEP_SCORES as u64);
            prop_assert_eq!((plan.rounds_before(index), plan.outputs(&step)), (0, outputs));
            let told = plan.block(&step, step.root());
            prop_assert_eq!((told.task, told.positions[0], told.epoch), (Task::Predict, begin, 0));
        }
        prop_assert_eq!((next, plan.predicted(), plan.rounds()), (examples, examples, 0));
        prop_assert_eq!(plan.step(plan.steps()), None);
        prop_assert_eq!(plan.scores_layout().unwrap().tensors[0].shape.clone(), [examples, outputs.into()]);
    }
}

#[test]
fn a_prediction_has_a_limit_and_something_to_predict() {
    let error = |examples, outputs| {
        let size = examples_of(examples, outputs);
        RunPlan::new(&prediction(1), size, 0).unwrap_err().to_string()
    };
    assert!(error(0, 3).contains("since the run only predicts"), "{}", error(0, 3));
    let many = error(limits::SCORES / 1000 + 1, 1000);
    assert!(many.contains("at most 268435 examples of 1000 scores"), "{many}");
    let size = examples_of(4, 3);
    let plan = RunPlan::new(&prediction(1), size, 0).unwrap();
    assert!(plan.scores_state(vec![0.5; 11]).is_none(), "a score is missing");
    assert_eq!(plan.scores_state(vec![0.5; 12]).unwrap().layout(), plan.scores_layout().unwrap());
    let train = RunSpec { update_weights: true, epochs: Some(1), ..prediction(1) };
    assert!(train.validate().unwrap_err().to_string().contains("spec field `predict`"));
}
