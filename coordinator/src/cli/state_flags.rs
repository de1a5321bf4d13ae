//! States that commands begin with, which any program may have written.

use std::path::{Path, PathBuf};

use clap::Args;
use common::dataset::Schema;
use common::spec::RunSpec;
use common::state::Mapping;

use super::cluster_flags::ClusterFlags;
use super::exit::Failure;
use crate::client::{InitialState, StateFile};

/// How the tensors of a state's file become those of a model.
#[derive(Debug, Default, Args)]
pub(super) struct MapFlags {
    /// Take the state's tensor of another name for one of the model, as in
    /// 'layer1.weights=fc1.weight^T'; ^T transposes it
    #[arg(long, value_name = "TENSOR=NAME")]
    pub(super) map: Vec<Mapping>,
}

/// What commands that use a state without training it have in common.
#[derive(Debug, Args)]
pub(super) struct UseFlags {
    /// The state (safetensors)
    #[arg(value_name = "STATE")]
    pub(super) state: PathBuf,
    /// Name of the model [default: the model named in the file]
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// Set any field of the spec, as in `dataset.separator=;`; the last value
    /// counts
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    #[command(flatten)]
    pub(super) map: MapFlags,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
    /// Print one JSON object per line (docs/CLI.md lists their fields)
    #[arg(long)]
    pub(super) json: bool,
}

/// Fields of `dataset` that a state's own data decides.
const KNOWN: [&str; 2] = ["targets", "normalise"];
/// The same if that data is a table.
const KNOWN_OF_TABLES: [&str; 2] = ["label", "ignore"];
/// Fields of `dataset` that hold out examples, which a prediction does not.
const HELD_OUT: [&str; 3] = ["test_examples", "split", "split_seed"];

/// Refuses settings that would have no effect: data to evaluate or predict is read as the state's
/// own data was.
pub(super) fn refuse_known(
    settings: &[String],
    trained_on: Option<&Schema>,
    predicts: bool,
) -> Result<(), Failure> {
    // Only the JSON of a schema says whether it is that of a table.
    let json = trained_on.and_then(|schema| serde_json::to_value(schema).ok());
    let is_table = json.is_some_and(|json| json.get("columns").is_some());
    let has_names = trained_on.is_some_and(|schema| !schema.classes.is_empty());
    for setting in settings {
        let key = setting.split_once('=').map_or("", |(key, _)| key.trim());
        let Some(field) = key.strip_prefix("dataset.") else { continue };
        let is_known = (trained_on.is_some() && KNOWN.contains(&field))
            || (is_table && KNOWN_OF_TABLES.contains(&field))
            || (has_names && field == "classes");
        if is_known {
            return Err(Failure::bad_input(format!(
                "--set {setting}: expected no `{key}`, as the state's file says how its data was \
                 read, and this data is read in the same way: leave it out"
            )));
        }
        if predicts && HELD_OUT.contains(&field) {
            return Err(Failure::bad_input(format!(
                "--set {setting}: expected no `{key}`, as a prediction holds out no examples: leave \
                 it out"
            )));
        }
    }
    Ok(())
}

/// Reads the state that a command begins with, and the spec of its run, if its file has one.
pub(super) fn initial_state(
    path: &Path,
    flags: &MapFlags,
) -> Result<(InitialState, Option<RunSpec>), Failure> {
    let StateFile { tensors, spec, schema, .. } =
        StateFile::load(path).map_err(Failure::bad_input)?;
    let state = InitialState { tensors, map: flags.map.clone(), trained_on: schema };
    Ok((state, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_state_knows_of_its_data_is_not_set() {
        let schema = |more: &str| {
            let json = format!(
                r#"{{"understood":"","shape":[1],"scale":1.0,"targets":{{"classes":2}}{more}}}"#
            );
            Schema::from_json(&json).unwrap()
        };
        let refused = |setting: &str, schema: Option<&Schema>, predicts| {
            let refused = refuse_known(&[setting.to_owned()], schema, predicts);
            refused.err().map(|failure| format!("{failure:?}")).unwrap_or_default()
        };
        let table = schema(
            r#","classes":["no","yes"],"columns":[{"name":"x","role":{"number":{}}},{"name":"y","role":"label"}]"#,
        );
        for field in ["label", "targets", "normalise", "ignore", "classes"] {
            let setting = format!("dataset.{field}=1");
            let text = refused(&setting, Some(&table), false);
            assert!(text.contains("leave it out") && text.contains(&setting), "{text}");
            assert_eq!(refused(&setting, None, false), "", "another program's state knows nothing");
        }
        let array = schema("");
        for field in ["label", "ignore", "classes"] {
            assert_eq!(refused(&format!("dataset.{field}=1"), Some(&array), false), "");
        }
        for setting in ["dataset.separator=;", "dataset.missing=mean", "dataset.scale=2", "seed=1"]
        {
            assert_eq!(refused(setting, Some(&table), true), "");
        }
        assert_eq!(refused("dataset.test_examples=0.5", Some(&table), false), "");
        assert!(refused("dataset.test_examples=0.5", None, true).contains("holds out no examples"));
    }
}
