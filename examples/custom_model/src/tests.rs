//! The model in one process, which is how to try a model before starting a cluster.

use samebit::dataset::Dataset;
use samebit::in_process::ParallelBatchProcessor;
use samebit::spec::RunSpec;

#[test]
fn it_learns_the_digits_in_one_pass() {
    let text = "model = \"centroids\"\nepochs = 1\ndataset.source = \"digits\"\n";
    let spec = RunSpec::from_toml(text).unwrap();
    let dataset = Dataset::load(&spec.dataset).unwrap();
    let processor = ParallelBatchProcessor::new(spec.replicas, spec.batch_size)
        .with_registry(super::registry());
    let (state, results) = processor.run_spec(&spec, &dataset, None).unwrap();
    let accuracy = results.last().unwrap().results.accuracy().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
    assert_eq!(state.u64("counts").unwrap().sum(), 1438);
}
