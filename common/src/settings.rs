//! Settings of the binaries: flags take precedence over `SAMEBIT_…` variables, and variables
//! over a TOML file. Also the format of logs.

mod address;
mod logging;
mod signals;
mod size;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use config::{ConfigError, Value, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use address::host_and_port;
pub use logging::{
    LogFormat, check_log_filter, has_colour, log_by, start_logging, start_logging_to,
};
pub use signals::Signals;
pub use size::Bytes;

/// The prefix of variables.
const PREFIX: &str = "SAMEBIT_";

/// Longest settings file, in bytes.
const FILE_BYTES: u64 = 64 << 10;

/// Settings and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The resulting settings.
    pub values: T,
    /// One line per setting, in order of their names: key, value, and
    /// `default`, `file PATH`, `variable NAME` or `flag --NAME`.
    pub origins: Vec<(String, String, String)>,
}

/// Why settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or is not TOML.
    #[error("settings file {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        error: String,
    },
    /// A key that no setting has.
    #[error("settings file {path}: unknown key `{key}`: expected one of {known}")]
    Unknown {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// All keys, comma separated.
        known: String,
    },
    /// A value of the wrong type or out of range.
    #[error("setting `{key}` from {origin}: {error}")]
    Value {
        /// The key.
        key: String,
        /// Where it came from.
        origin: String,
        /// Expected and found.
        error: String,
    },
    /// The log filter is not valid.
    #[error(
        "log filter {filter:?}: expected a level (error, warn, info, debug, trace, off) or \
         TARGET=LEVEL, comma separated; {error}"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        error: String,
    },
    /// Logging was started before: a bug of the caller.
    #[error("logging was started twice in one process")]
    LoggingStarted,
}

/// Loads settings: `T::default()`, then `file` (flat TOML, unknown keys are
/// errors), then the variables `SAMEBIT_KEY` of `T`'s keys (an empty variable counts
/// as not set), then the fields of `flags` that are set. `flags` serialises to a
/// map whose keys are `T`'s, with `None` for a flag that was not given.
///
/// `T` serialises to a flat map with all its keys, `None` being a setting
/// without value.
pub fn load<T, F>(file: Option<&Path>, flags: &F) -> Result<Loaded<T>, SettingsError>
where
    T: Default + Serialize + DeserializeOwned,
    F: Serialize,
{
    load_from(file, |name| std::env::var(name).ok(), flags)
}

/// [`load`], with the environment as an argument.
fn load_from<T, F>(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
    flags: &F,
) -> Result<Loaded<T>, SettingsError>
where
    T: Default + Serialize + DeserializeOwned,
    F: Serialize,
{
    let defaults = Layer::of(&T::default(), |_| "default".into());
    let keys: Vec<String> = defaults.0.keys().cloned().collect();
    let mut layers = vec![defaults.clone()];
    if let Some(path) = file {
        layers.push(Layer::of_file(path, &keys)?);
    }
    layers.push(Layer::of_variables(&keys, variable));
    layers.push(Layer::of(flags, |key| format!("flag --{}", key.replace('_', "-"))).given());
    // Each value is applied to the defaults alone, so that an error is about one key.
    for layer in &layers[1..] {
        for (key, value) in &layer.0 {
            let one = Layer([(key.clone(), value.clone())].into());
            merge::<T>([&defaults, &one]).map_err(|error| SettingsError::Value {
                key: key.clone(),
                origin: value.origin().unwrap_or_default().to_owned(),
                error: unknown_word::<T>(key, value).unwrap_or_else(|| describe(&error)),
            })?;
        }
    }
    let (values, merged) = merge::<T>(&layers).map_err(|error| SettingsError::Value {
        key: keys.join(", "),
        origin: "all sources together".into(),
        error: describe(&error),
    })?;
    let outcome = Layer::of(&values, |_| String::new()).0;
    let origins = keys.into_iter().map(|key| {
        let origin = merged.get(&key).and_then(Value::origin).unwrap_or_default().to_owned();
        let text = outcome.get(&key).map(show).unwrap_or_default();
        (key, text, origin)
    });
    let origins = origins.collect();
    Ok(Loaded { values, origins })
}

/// Settings of one source, by key, each with its origin.
#[derive(Clone, Debug)]
struct Layer(BTreeMap<String, Value>);

impl Layer {
    /// The fields of a struct, those that are `None` included.
    fn of(fields: &impl Serialize, origin: impl Fn(&str) -> String) -> Self {
        let fields = serde_json::to_value(fields).expect("settings are plain data");
        let serde_json::Value::Object(fields) = fields else {
            panic!("settings are a struct, found {fields}");
        };
        let values = fields.into_iter().map(|(key, value)| {
            let value = Value::new(Some(&origin(&key)), from_json(value));
            (key, value)
        });
        Self(values.collect())
    }

    /// Drops the settings without a value.
    fn given(mut self) -> Self {
        self.0.retain(|_, value| !matches!(value.kind, ValueKind::Nil));
        self
    }

    fn of_file(path: &Path, keys: &[String]) -> Result<Self, SettingsError> {
        let name = path.display().to_string();
        let error = |error: String| SettingsError::File { path: name.clone(), error };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|found| error(found.to_string()))?;
        if text.len() as u64 > FILE_BYTES {
            return Err(error(format!("expected at most {FILE_BYTES} bytes, found more")));
        }
        let table: toml::Table = toml::from_str(&text).map_err(|found| error(found.to_string()))?;
        if let Some(key) = table.keys().find(|key| !keys.contains(key)) {
            let (path, key, known) = (name, key.clone(), keys.join(", "));
            return Err(SettingsError::Unknown { path, key, known });
        }
        Ok(Self::of(&table, |_| format!("file {name}")))
    }

    fn of_variables(keys: &[String], variable: impl Fn(&str) -> Option<String>) -> Self {
        let values = keys.iter().filter_map(|key| {
            let name = format!("{PREFIX}{}", key.to_uppercase());
            let text = variable(&name).filter(|text| !text.is_empty())?;
            Some((key.clone(), Value::new(Some(&format!("variable {name}")), text)))
        });
        Self(values.collect())
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, ConfigError> {
        Ok(self.0.clone().into_iter().collect())
    }
}

/// The combined layers: as settings, and by key with origins.
fn merge<'a, T: DeserializeOwned>(
    layers: impl IntoIterator<Item = &'a Layer>,
) -> Result<(T, config::Map<String, Value>), ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.clone());
    }
    let merged = builder.build()?;
    let values = merged.clone().try_deserialize()?;
    Ok((values, merged.cache.into_table()?))
}

fn from_json(value: serde_json::Value) -> ValueKind {
    use serde_json::Value as Json;
    match value {
        Json::Null => ValueKind::Nil,
        Json::Bool(value) => ValueKind::Boolean(value),
        Json::Number(value) => match (value.as_i64(), value.as_u64(), value.as_f64()) {
            (Some(value), _, _) => ValueKind::I64(value),
            (_, Some(value), _) => ValueKind::U64(value),
            (_, _, value) => ValueKind::Float(value.unwrap_or(f64::NAN)),
        },
        Json::String(value) => ValueKind::String(value),
        Json::Array(values) => values.into_iter().map(from_json).collect::<Vec<_>>().into(),
        Json::Object(values) => {
            let values = values.into_iter().map(|(key, value)| (key, from_json(value)));
            values.collect::<config::Map<_, _>>().into()
        }
    }
}

/// The text of an error without its key and origin, which are added here.
fn describe(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        ConfigError::At { error, .. } => describe(error),
        other => other.to_string(),
    }
}

/// The error for an unknown word of an enumeration, with the known words, which `config`'s
/// own error does not name.
fn unknown_word<T: Default + Serialize + DeserializeOwned>(
    key: &str,
    value: &Value,
) -> Option<String> {
    let mut fields = serde_json::to_value(T::default()).ok()?;
    fields[key] = value.clone().into_string().ok()?.into();
    let error = serde_json::from_value::<T>(fields).err()?.to_string();
    error.starts_with("unknown variant").then_some(error)
}

/// A value as TOML writes it; `unset` for `None`.
fn show(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "unset".into(),
        ValueKind::String(text) => toml::Value::String(text.clone()).to_string(),
        ValueKind::Array(values) => {
            format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

impl<T> Loaded<T> {
    /// The output of `--print-config`: `key = value  # origin`. It is a valid settings file.
    pub fn to_text(&self) -> String {
        let line = |(key, value, origin): &(String, String, String)| match value.as_str() {
            "unset" => format!("# {key} is unset  # {origin}\n"),
            _ => format!("{key} = {value}  # {origin}\n"),
        };
        self.origins.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        slots: u32,
        memory_limit: Bytes,
        name: Option<String>,
        log_format: LogFormat,
        share: f64,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self {
                slots: 4,
                memory_limit: Bytes(1 << 30),
                name: None,
                log_format: LogFormat::Text,
                share: 0.5,
            }
        }
    }

    #[derive(Default, Serialize)]
    struct Flags {
        slots: Option<u32>,
        memory_limit: Option<Bytes>,
    }

    fn load_all(
        file: Option<&str>,
        variables: &[(&str, &str)],
        flags: Flags,
    ) -> Result<Loaded<Settings>, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        load_from(file.map(|_| path.as_path()), variable, &flags)
    }

    #[test]
    fn later_sources_win_and_are_named() {
        let file = "slots = 5\nmemory_limit = 4096\nname = \"\\\"a\\\"\"\nlog_format = \"json\"\n";
        let variables = [("SAMEBIT_MEMORY_LIMIT", "2GiB"), ("SAMEBIT_SLOTS", "6"), ("SLOTS", "9")];
        let flags = Flags { slots: Some(7), ..Default::default() };
        let loaded = load_all(Some(file), &variables, flags).unwrap();
        let expected = Settings {
            slots: 7,
            memory_limit: Bytes(2 << 30),
            name: Some("\"a\"".into()),
            log_format: LogFormat::Json,
            share: 0.5,
        };
        assert_eq!(loaded.values, expected);
        let text = loaded.to_text();
        for line in ["slots = 7  # flag --slots\n", "share = 0.5  # default\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("memory_limit = \"2GiB\"  # variable SAMEBIT_MEMORY_LIMIT\n"));
        assert!(text.contains("log_format = \"json\"  # file "));
        // What is printed is a settings file itself.
        let again = load_all(Some(&text), &[], Flags::default()).unwrap();
        assert_eq!(again.values, expected);
    }

    #[test]
    fn without_sources_there_are_the_defaults() {
        let loaded = load_all(None, &[("SAMEBIT_NAME", "")], Flags::default()).unwrap();
        assert_eq!(loaded.values, Settings::default());
        assert!(loaded.to_text().contains("# name is unset  # default\n"));
    }

    #[test]
    fn errors_name_key_and_origin() {
        for (file, variables, parts) in [
            (Some("slot = 1"), vec![], vec!["s.toml", "unknown key `slot`", "slots"]),
            (Some("slots = "), vec![], vec!["s.toml", "line 1"]),
            (Some("slots = \"many\""), vec![], vec!["`slots` from file", "\"many\""]),
            (Some("slots = [1]"), vec![], vec!["`slots` from file", "sequence"]),
            (
                None,
                vec![("SAMEBIT_SLOTS", "-1")],
                vec!["`slots` from variable SAMEBIT_SLOTS", "-1"],
            ),
            (
                None,
                vec![("SAMEBIT_MEMORY_LIMIT", "much")],
                vec![
                    "`memory_limit` from variable SAMEBIT_MEMORY_LIMIT",
                    "expected a size such as",
                ],
            ),
            (None, vec![("SAMEBIT_LOG_FORMAT", "xml")], vec!["`log_format`", "xml", "json"]),
        ] {
            let error = load_all(file, &variables, Flags::default()).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/samebit.toml");
        let error = load_from::<Settings, _>(Some(path), |_| None, &Flags::default());
        assert!(error.unwrap_err().to_string().contains("/nowhere/samebit.toml"));
    }
}
