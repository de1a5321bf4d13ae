//! Whatever is recorded in whatever order, every step and every shard is there
//! once.

use std::collections::BTreeMap;

use common::id::RunId;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::cases::{checkpoint, run, shard, step};

/// Most steps of a run in these cases.
const STEPS: u64 = 8;

/// What may be recorded, and with which replicas.
#[derive(Clone, Debug)]
enum Case {
    Run,
    Step { step: u64, replicas: Vec<u32>, attempt: u32 },
    Rewind { step: u64 },
    Checkpoint { step: u64 },
}

fn case() -> impl Strategy<Value = Case> {
    let replicas = vec(0u32..4, 0..6);
    prop_oneof![
        1 => Just(Case::Run),
        6 => (0..STEPS, replicas, 1u32..4)
            .prop_map(|(step, replicas, attempt)| Case::Step { step, replicas, attempt }),
        2 => (0..STEPS).prop_map(|step| Case::Rewind { step }),
        2 => (0..STEPS).prop_map(|step| Case::Checkpoint { step }),
    ]
}

/// What must be there: attempts by step and replica, and checkpoints.
#[derive(Debug, Default)]
struct Expected {
    steps: BTreeMap<u64, BTreeMap<u32, u32>>,
    checkpoints: BTreeMap<u64, ()>,
}

impl Expected {
    fn take(&mut self, case: &Case) {
        match case {
            Case::Run => {}
            Case::Step { step, replicas, attempt } => {
                let shards = replicas.iter().map(|replica| (*replica, *attempt)).collect();
                self.steps.insert(*step, shards);
            }
            Case::Rewind { step } => {
                self.steps.retain(|known, _| known < step);
                self.checkpoints.retain(|known, _| known <= step);
            }
            Case::Checkpoint { step } => {
                self.checkpoints.insert(*step, ());
            }
        }
    }
}

fn record(case: &Case) -> Record {
    match case {
        Case::Run => Record::Run(run(1)),
        Case::Step { step: index, replicas, attempt } => {
            let shards = replicas.iter().map(|replica| shard(*replica, "w", *attempt)).collect();
            Record::Step(step(1, *index, shards))
        }
        Case::Rewind { step } => Record::Rewind { run: RunId(1), step: *step },
        Case::Checkpoint { step } => Record::Checkpoint(checkpoint(1, *step)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_step_and_shard_is_there_once(turns in vec(vec(case(), 1..6), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
        // Of another run, which nothing may touch.
        let other = Record::Step(step(2, STEPS - 1, vec![shard(0, "w", 1)]));
        ledger.record(&[other]).unwrap();
        let mut expected = Expected::default();
        for turn in &turns {
            turn.iter().for_each(|case| expected.take(case));
            ledger.record(&turn.iter().map(record).collect::<Vec<_>>()).unwrap();
        }
        let reader = LedgerReader::open(folder.path()).unwrap();
        let steps: Vec<u64> = reader.steps(RunId(1)).map(|step| step.unwrap().step).collect();
        prop_assert_eq!(steps, expected.steps.keys().copied().collect::<Vec<_>>());
        let found: Vec<_> = reader
            .shards(RunId(1), 0..STEPS)
            .map(Result::unwrap)
            .map(|shard| (shard.step, shard.shard.replica, shard.shard.attempt))
            .collect();
        let shards = expected.steps.iter().flat_map(|(step, shards)| {
            shards.iter().map(|(replica, attempt)| (*step, *replica, *attempt))
        });
        prop_assert_eq!(found, shards.collect::<Vec<_>>());
        let found: Vec<u64> = reader.checkpoints(RunId(1)).map(|row| row.unwrap().step).collect();
        prop_assert_eq!(found, expected.checkpoints.into_keys().collect::<Vec<_>>());
        prop_assert_eq!(reader.shards(RunId(2), 0..STEPS).count(), 1);
    }
}
