//! Builds a spec from its file, flags, and `--set`, each of which takes precedence over the
//! one before. The model's own defaults fill the fields that none of them sets.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use common::limits;
use common::model::Registry;
use common::spec::RunSpec;
use toml::{Table, Value};

use super::exit::Failure;

/// Largest integer that a spec can hold.
const TOML_MAX: u64 = i64::MAX as u64;

/// The flags that describe a run.
#[derive(Debug, Default, Args)]
pub(super) struct SpecFlags {
    /// The spec (TOML) [default: the output of `coordinator spec`, which trains
    /// on the embedded digits]
    #[arg(value_name = "SPEC.toml")]
    spec: Option<PathBuf>,
    /// Name of the model; if it is not the spec's, the spec's parameters are
    /// dropped
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The dataset: digits, or a file or folder, as `coordinator datasets` lists them
    #[arg(long, value_name = "SOURCE")]
    dataset: Option<String>,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=TOML_MAX))]
    seed: Option<u64>,
    /// Copies of the network that train in parallel
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Examples in a batch
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Batches that each replica processes between two merges
    #[arg(long, value_name = "N")]
    update_interval: Option<u32>,
    /// Passes over the training examples
    #[arg(long, value_name = "N", conflicts_with = "rounds")]
    epochs: Option<u32>,
    /// Training rounds, instead of epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=TOML_MAX))]
    rounds: Option<u64>,
    /// Share of the shards that two workers compute, to compare their results:
    /// 0 to 1
    #[arg(long, value_name = "SHARE")]
    audit: Option<f64>,
    /// Set any field of the spec, as in `parameters.learning_rate=0.1`; the
    /// last value counts
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SpecFlags {
    /// The spec from file and flags.
    pub(super) fn assemble(&self, registry: &Registry) -> Result<RunSpec, Failure> {
        let example = || RunSpec::example().parse::<Table>().map_err(Failure::failed);
        let mut table = match &self.spec {
            Some(path) => read_table(path)?,
            None => example()?,
        };
        // The example's values do not fit another model: only its dataset is used, and its
        // epochs if nothing else says how long to train.
        let is_other = self.spec.is_none()
            && self.model.as_deref().is_some_and(|model| !names_model(&table, model));
        if is_other {
            table.retain(|key, _| key == "dataset");
        }
        self.apply_flags(&mut table)?;
        apply_settings(&mut table, &self.set)?;
        registry.complete(&mut table);
        choose_split(&mut table);
        if is_other && !table.contains_key("epochs") && !table.contains_key("rounds") {
            table.extend(example()?.remove_entry("epochs"));
        }
        to_spec(&table).map_err(|failure| match &self.spec {
            Some(path) => failure.and(format!("the spec file is {}", path.display())),
            None => failure,
        })
    }

    /// The folder of the relative paths in the spec: that of its file, or the current one for paths
    /// that flags name.
    pub(super) fn base(&self) -> PathBuf {
        let names_source = |setting: &String| setting.trim_start().starts_with("dataset.source");
        let by_flags = self.dataset.is_some() || self.set.iter().any(names_source);
        let folder = self.spec.as_deref().and_then(Path::parent).filter(|_| !by_flags);
        folder.map(Path::to_owned).unwrap_or_default()
    }

    fn apply_flags(&self, table: &mut Table) -> Result<(), Failure> {
        if let Some(model) = &self.model {
            set_model(table, model);
        }
        if let Some(source) = &self.dataset {
            set_source(table, source);
        }
        let numbers = [
            ("seed", self.seed),
            ("replicas", self.replicas.map(u64::from)),
            ("batch_size", self.batch_size.map(u64::from)),
            ("update_interval", self.update_interval.map(u64::from)),
            ("epochs", self.epochs.map(u64::from)),
            ("rounds", self.rounds),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                RunSpec::set(table, key, &number.to_string()).map_err(Failure::bad_input)?;
            }
        }
        if let Some(share) = self.audit {
            table.insert("audit".into(), share.into());
        }
        Ok(())
    }
}

/// Writes into a new spec how test examples are chosen: without that it would mean what specs meant
/// before there was a choice, also where it is run again with `test_examples`.
fn choose_split(table: &mut Table) {
    if let Some(Value::Table(dataset)) = table.get_mut("dataset") {
        dataset.entry("split").or_insert_with(|| "stratified".into());
    }
}

/// Applies `KEY=VALUE` settings in their order.
pub(super) fn apply_settings(table: &mut Table, settings: &[String]) -> Result<(), Failure> {
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            let message = format!(
                "--set {setting}: expected KEY=VALUE, as in `--set parameters.learning_rate=0.1`, \
                 found no `=`"
            );
            return Err(Failure::bad_input(message));
        };
        RunSpec::set(table, key.trim(), value.trim()).map_err(Failure::bad_input)?;
    }
    Ok(())
}

/// Reads the finished table as a spec.
pub(super) fn to_spec(table: &Table) -> Result<RunSpec, Failure> {
    // Not by way of text: an error's line numbers would not match the user's file.
    RunSpec::from_table(table.clone()).map_err(Failure::bad_input)
}

/// Sets the model; drops parameters and merge rules of another model.
pub(super) fn set_model(table: &mut Table, model: &str) {
    if !names_model(table, model) {
        table.remove("parameters");
        table.remove("merge");
    }
    table.insert("model".into(), model.into());
}

fn names_model(table: &Table, model: &str) -> bool {
    table.get("model").and_then(Value::as_str) == Some(model)
}

/// Sets the dataset; drops scale and split of another source, but not what the targets are.
pub(super) fn set_source(table: &mut Table, source: &str) {
    let value = |key: &str| table.get("dataset").and_then(|dataset| dataset.get(key)).cloned();
    if value("source").as_ref().and_then(Value::as_str) != Some(source) {
        let targets = value("targets").map(|targets| ("targets".to_owned(), targets));
        let source = ("source".to_owned(), Value::from(source));
        let dataset: Table = targets.into_iter().chain([source]).collect();
        table.insert("dataset".into(), dataset.into());
    }
}

fn read_table(path: &Path) -> Result<Table, Failure> {
    let bad = |error: String| Failure::bad_input(format!("spec {}: {error}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(limits::SPEC_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(|error| {
            bad(format!("{error}: check the path; `coordinator spec` prints an example"))
        })?;
    if text.len() > limits::SPEC_BYTES {
        return Err(bad(format!("expected at most {} bytes, found more", limits::SPEC_BYTES)));
    }
    text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(flags: &SpecFlags) -> RunSpec {
        flags.assemble(&Registry::standard()).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    const FILE: &str = "model = \"mlp\"\nseed = 7\nreplicas = 3\nepochs = 2\n\
        [dataset]\nsource = \"idx:somewhere\"\nscale = 2.0\n\
        [parameters]\nlearning_rate = 0.5\n";

    /// The default run, in the spec of which is how examples would be held out.
    fn default_digits() -> RunSpec {
        let mut spec = RunSpec::default_digits();
        spec.dataset.split = common::spec::SplitBy::Stratified;
        spec
    }

    #[test]
    fn without_anything_it_is_the_default_run() {
        let spec = assemble(&SpecFlags::default());
        assert_eq!(spec, default_digits());
    }

    #[test]
    fn flags_win_over_the_file_and_settings_over_flags() {
        let (_folder, path) = file(FILE);
        let mut flags = SpecFlags { spec: Some(path), ..Default::default() };
        assert_eq!((assemble(&flags).seed, assemble(&flags).replicas), (7, 3));
        flags.seed = Some(8);
        flags.replicas = Some(4);
        assert_eq!((assemble(&flags).seed, assemble(&flags).replicas), (8, 4));
        flags.audit = Some(0.5);
        assert_eq!(assemble(&flags).audit, 0.5);
        flags.set = vec!["seed=9".into(), "seed = 10".into(), "parameters.momentum=0.5".into()];
        let spec = assemble(&flags);
        assert_eq!((spec.seed, spec.replicas), (10, 4));
        assert_eq!(spec.parameters["momentum"].as_float(), Some(0.5));
        assert_eq!(spec.parameters["learning_rate"].as_float(), Some(0.5));
    }

    #[test]
    fn epochs_and_rounds_replace_each_other() {
        let (_folder, path) = file(FILE);
        let mut flags = SpecFlags { spec: Some(path), rounds: Some(5), ..Default::default() };
        let length = |spec: RunSpec| (spec.epochs, spec.rounds);
        assert_eq!(length(assemble(&flags)), (None, Some(5)));
        flags.set = vec!["epochs=4".into()];
        assert_eq!(length(assemble(&flags)), (Some(4), None));
    }

    #[test]
    fn another_model_or_source_brings_its_own_defaults() {
        let (_folder, path) = file(FILE);
        let flags = |model: &str, dataset: &str| SpecFlags {
            spec: Some(path.clone()),
            model: Some(model.into()),
            dataset: Some(dataset.into()),
            ..Default::default()
        };
        let same = assemble(&flags("mlp", "idx:somewhere"));
        assert_eq!((same.parameters.len(), same.dataset.scale), (1, Some(2.0)));
        let other = assemble(&flags("softmax", "digits"));
        assert_eq!((other.parameters.len(), other.dataset.scale), (0, None));
        // What is to be learnt stays.
        let (_folder, path) = file(&FILE.replace("scale = 2.0", "targets = \"none\""));
        let flags = SpecFlags { spec: Some(path), ..flags("softmax", "digits") };
        assert_eq!(assemble(&flags).dataset.targets, common::spec::TargetKind::None);
    }

    #[test]
    fn without_a_file_another_model_has_what_any_spec_leaves_out() {
        let flags = SpecFlags { model: Some("softmax".into()), ..Default::default() };
        let expected =
            RunSpec { model: "softmax".into(), parameters: Table::new(), ..default_digits() };
        assert_eq!(assemble(&flags), expected);
    }

    #[test]
    fn a_models_own_values_stand_in_for_what_nobody_said() {
        let mut registry = Registry::standard();
        let defaults = |table: &mut Table| {
            for (key, value) in [("replicas", 1), ("batch_size", 2), ("epochs", 3)] {
                table.insert(key.into(), value.into());
            }
            let labelling = Table::from_iter([("labelling".to_owned(), Value::from(true))]);
            table.insert("evaluation".into(), labelling.into());
        };
        let never = |_: &Table, _, _| Err(common::model::ModelError::Other("no model".into()));
        registry.register_with_defaults("own", "for tests", defaults, never);
        let spec = |flags: SpecFlags| {
            let spec =
                SpecFlags { model: Some("own".into()), ..flags }.assemble(&registry).unwrap();
            (spec.replicas, spec.batch_size, spec.epochs, spec.rounds, spec.evaluation.labelling)
        };
        let none = SpecFlags::default;
        assert_eq!(spec(none()), (1, 2, Some(3), None, true));
        let said = SpecFlags { replicas: Some(8), rounds: Some(5), ..none() };
        assert_eq!(spec(said), (8, 2, None, Some(5), true));
        let set = vec!["evaluation.labelling=false".into(), "epochs=1".into()];
        assert_eq!(spec(SpecFlags { set, ..none() }), (1, 2, Some(1), None, false));
        // What a file says is said.
        let (_folder, path) = file(FILE);
        let of_file = SpecFlags { spec: Some(path), ..none() };
        assert_eq!(spec(of_file), (3, 2, Some(2), None, true));
    }

    #[test]
    fn wrong_flags_are_bad_input() {
        let exit = |flags: SpecFlags| flags.assemble(&Registry::standard()).unwrap_err().exit();
        let (_folder, broken) = file("model = ");
        let wrong = [
            SpecFlags { set: vec!["replicas".into()], ..Default::default() },
            SpecFlags { set: vec!["replicas=many".into()], ..Default::default() },
            SpecFlags { set: vec!["no_such_field=1".into()], ..Default::default() },
            SpecFlags { replicas: Some(0), ..Default::default() },
            SpecFlags { audit: Some(1.5), ..Default::default() },
            SpecFlags { seed: Some(u64::MAX), ..Default::default() },
            SpecFlags { spec: Some("no/such/file.toml".into()), ..Default::default() },
            SpecFlags { spec: Some(broken), ..Default::default() },
        ];
        for flags in wrong {
            let what = format!("{flags:?}");
            assert_eq!(exit(flags), super::super::exit::Exit::BadInput, "{what}");
        }
    }
}
