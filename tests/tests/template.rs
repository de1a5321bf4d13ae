//! The template for models of users: its files are a package once the placeholders have
//! values.

// Compiled and tested here: cargo takes a package with placeholders for none.
#[allow(dead_code)]
#[path = "../../examples/model_template/src/main.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;

use tests::binaries::workspace;

/// A file of the template.
fn file(name: &str) -> String {
    fs::read_to_string(workspace().join("examples/model_template").join(name)).expect("a file")
}

/// The names of placeholders in a text.
fn placeholders(text: &str) -> BTreeSet<&str> {
    let inside = text.split("{{").skip(1).map(|rest| rest.split_once("}}").expect("it ends").0);
    inside.map(str::trim).collect()
}

#[test]
fn all_placeholders_are_asked_for() {
    let asked: toml::Table = file("cargo-generate.toml").parse().expect("TOML");
    // `cargo generate` knows the name of the project by itself.
    let mut known: BTreeSet<&str> = BTreeSet::from(["project-name"]);
    let asked = asked["placeholders"].as_table().expect("placeholders");
    known.extend(asked.keys().map(String::as_str));
    let manifest = file("Cargo.toml");
    assert_eq!(placeholders(&manifest), known);
    assert!(placeholders(&file("README.md")).is_subset(&known));
    assert!(placeholders(&file("src/main.rs")).is_empty());
}

#[test]
fn the_manifest_is_one_and_the_paths_are_right() {
    let asked: toml::Table = file("cargo-generate.toml").parse().expect("TOML");
    let default = asked["placeholders"]["samebit"]["default"].as_str().expect("a path");
    let manifest = file("Cargo.toml").replace("{{project-name}}", "my_model");
    let manifest: toml::Table = manifest.replace("{{samebit}}", default).parse().expect("TOML");
    assert_eq!(manifest["package"]["name"].as_str(), Some("my_model"));
    let path = manifest["dependencies"]["samebit"]["path"].as_str().expect("a path");
    // Beside a checkout that is named as the project is.
    let package = path.strip_prefix("../samebit/").expect("in a checkout beside it");
    assert!(workspace().join(package).join("Cargo.toml").is_file(), "{path}");
}
