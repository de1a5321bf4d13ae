//! `coordinator models`.

use clap::Args;
use common::model::{DataShape, Parameter, Registry, TargetType};

use super::exit::Failure;
use super::report;
use super::screen;
use super::table::{Column, goes, stays, table, wraps};

/// Shape of the dataset `digits`: some defaults and ranges depend on the shape.
const FEATURES: u32 = 64;
const CLASSES: u32 = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
A parameter is set in the spec's table `parameters`, or by --set parameters.NAME=VALUE.

Examples:
  coordinator models
  coordinator models mlp
  coordinator models spiking --features 784")]
pub(super) struct ModelsFlags {
    /// List the parameters of this model instead
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Show defaults and ranges for data of so many features
    #[arg(long, value_name = "N", default_value_t = FEATURES, requires = "name",
          value_parser = clap::value_parser!(u32).range(1..))]
    features: u32,
    /// Show defaults and ranges for data of so many classes
    #[arg(long, value_name = "N", default_value_t = CLASSES, requires = "name",
          value_parser = clap::value_parser!(u32).range(1..))]
    classes: u32,
}

/// The columns of the table of parameters.
const COLUMNS: &[Column] = &[
    stays("parameter"),
    stays("default"),
    stays("range"),
    goes("unit", 0),
    wraps("what it is", 16),
];

/// Prints the models, or the parameters of one.
pub(super) fn models(registry: &Registry, flags: &ModelsFlags) -> Result<(), Failure> {
    let Some(name) = &flags.name else { return super::print(&report::list(registry.list())) };
    let shape = DataShape::new(flags.features as usize, TargetType::Classes(flags.classes));
    let parameters = registry.parameters(name, shape).map_err(Failure::bad_input)?;
    if parameters.is_empty() {
        return super::print(&format!("{name} has no parameters\n"));
    }
    super::print(&parameters_table(&parameters, screen::columns()))
}

fn parameters_table(parameters: &[Parameter], room: Option<usize>) -> String {
    let row = |one: &Parameter| {
        let texts = [one.name, &one.default, &one.range, one.unit, one.about];
        texts.map(str::to_owned).to_vec()
    };
    table(COLUMNS, parameters.iter().map(row), room)
}
