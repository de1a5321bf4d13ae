//! What the documents say is true.

use std::fs;
use std::process::Command;

use common::digest::Digest;
use common::model::{DataShape, Registry, TargetType};
use tests::binaries::{binaries, workspace};
use tests::examples::texts;
use tests::expected;

/// The digest that the README prints for the default run.
fn printed() -> Digest {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let mut digests = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("digest"))
        .filter_map(|rest| rest.trim().parse().ok());
    digests.next().expect("README.md prints `digest  <64 hexadecimal digits>`")
}

#[test]
fn the_default_run_ends_in_the_digest_of_the_readme() {
    let output =
        Command::new(&binaries().coordinator).args(["run", "--local", "3"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&printed().to_string()), "{text}");
}

/// The rows of the first table below a heading of a document, cell by cell.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(workspace().join(document)).expect("a document");
    let section = text.split_once(heading).expect("the heading is there").1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// A spec of a model with these parameters.
fn spec_of(model: &str, parameters: &str) -> String {
    format!(
        "model = \"{model}\"\nreplicas = 2\nrounds = 3\n[dataset]\nsource = \"digits\"\n\
         [parameters]\n{parameters}\n"
    )
}

/// What is wrong with a parameter of a model, if anything.
fn parameter_error(model: &str, parameters: &str) -> Option<String> {
    let shape = DataShape::new(64, TargetType::Classes(10));
    let parameters = parameters.parse().expect("TOML");
    Registry::standard().build(model, &parameters, shape, 1).err().map(|error| error.to_string())
}

#[test]
fn the_parameters_that_texts_name_are_there() {
    let registry = Registry::standard();
    let models: Vec<String> = registry.list().map(|(name, _)| name.to_owned()).collect();
    // What a model says of a parameter that it does not know has all that it knows.
    let known = models.iter().filter_map(|model| parameter_error(model, "none_such = 1"));
    let known = known.collect::<Vec<_>>().join("\n");
    let (mut found, mut wrong) = (0, Vec::new());
    for (place, text) in texts() {
        for rest in text.split("parameters.").skip(1) {
            let is_part = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
            let name: String = rest.chars().take_while(is_part).collect();
            if !name.is_empty() {
                found += 1;
                if !known.contains(&format!("`{name}`")) {
                    wrong.push(format!("{place}: parameters.{name}"));
                }
            }
        }
    }
    assert!(found > 5 && wrong.is_empty(), "of {found}: {wrong:#?}\n{known}");
}

#[test]
fn the_parameters_of_models_are_those_of_the_document() {
    for model in ["softmax", "mlp"] {
        let rows = table("docs/MODELS.md", &format!("\n## `{model}`\n"));
        let names: Vec<String> = rows.iter().map(|row| row[1].clone()).collect();
        let unknown = parameter_error(model, "none_such = 1").expect("it is refused");
        for name in &names {
            assert!(unknown.contains(&format!("`{name}`")), "{model} knows no {name}: {unknown}");
        }
        assert_eq!(unknown.matches('`').count(), 2 * names.len() + 2, "{model}: {unknown}");
        let defaults: Vec<String> = rows.iter().map(|row| row[1..3].join(" = ")).collect();
        let [bare, said] = ["", &defaults.join("\n")].map(|text| spec_of(model, text));
        assert_eq!(expected::digest(&bare), expected::digest(&said), "{model}: {defaults:?}");
        for row in &rows {
            let ends = row[3].split_once(" to ");
            let Some((least, most)) = ends.and_then(|(least, most)| {
                Some((least.parse::<f64>().ok()?, most.parse::<f64>().ok()?))
            }) else {
                continue;
            };
            let is_list = row[2].starts_with('[');
            let error = |value: f64| {
                let value = if is_list { format!("[{value}]") } else { format!("{value:?}") };
                parameter_error(model, &format!("{} = {value}", row[1]))
            };
            assert_eq!((error(least), error(most)), (None, None), "{model}: {row:?}");
            let (below, above) =
                if is_list { (0.0, most + 1.0) } else { (least - 1.0, most * 2.0) };
            assert!(error(below).is_some() && error(above).is_some(), "{model}: {row:?}");
        }
    }
}
