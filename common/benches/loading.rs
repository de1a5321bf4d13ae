//! The time to load datasets, once each: `cargo bench -p samebit-common --bench loading -- SOURCE…`.
//! `tests/load_speed.py` runs it beside other tools.

use std::error::Error;
use std::time::Instant;

use samebit_common::dataset::Dataset;
use samebit_common::spec::DatasetSpec;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds flags for harnesses.
    for source in std::env::args().skip(1).filter(|argument| !argument.starts_with('-')) {
        let start = Instant::now();
        let data = Dataset::load(&DatasetSpec::new(source.as_str()))?;
        let loaded = start.elapsed().as_secs_f64();
        let chunks = data.train.manifest().chunks.len() + data.test.manifest().chunks.len();
        let hashed = start.elapsed().as_secs_f64();
        println!("{source} {loaded:.4} {hashed:.4} seconds to load, and with {chunks} digests");
    }
    Ok(())
}
