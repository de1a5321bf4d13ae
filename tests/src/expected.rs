//! What the one-process reference gives.

use common::dataset::Dataset;
use common::digest::Digest;
use common::model::Registry;
use common::spec::RunSpec;
use coordinator::ParallelBatchProcessor;

/// Digest of the final state of `spec`, by the one-process reference.
pub fn digest(spec: &str) -> Digest {
    digest_with(Registry::standard(), spec)
}

/// The same with other models.
pub fn digest_with(registry: Registry, spec: &str) -> Digest {
    let spec = RunSpec::from_toml(spec).expect("the test's spec is right");
    let dataset = Dataset::load(&spec.dataset).expect("the test's dataset loads");
    let processor =
        ParallelBatchProcessor::new(spec.replicas, spec.batch_size).with_registry(registry);
    let outcome = processor.run_spec(&spec, &dataset, None);
    outcome.expect("the reference runs").0.digest()
}
