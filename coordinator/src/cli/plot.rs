//! `coordinator plot`, and `--plot` of runs: pictures of a final state.
//!
//! ```text
//! StateFile ── numbers ──▶ draw ── Picture ──▶ write: a PNG file
//!                                        └───▶ draw::preview: a terminal
//! ```

mod chart;
mod draw;
mod write;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use common::dataset::{Schema, TargetType};
use common::limits;
use common::state::{NetworkState, StateError};

pub(super) use self::draw::Picture;
use self::draw::{ClassNames, Confusion, DrawError, Fields, Histogram};
use super::exit::Failure;
use super::progress::{Progress, tell};
use super::report::split_name;
use super::visible;
use crate::client::{History, StateFile, check_output, is_standard_output};

/// The tensor whose columns are receptive fields by default.
const WEIGHTS: &str = "weights";
/// The tensor of the neurons' classes.
const LABELS: &str = "labels";
/// The tensor of the neurons' thresholds.
const THETA: &str = "theta";

/// Most colors of a picture.
const COLORS: usize = 4;

/// File extensions of picture formats other than PNG.
const OTHER_PICTURES: &[&str] =
    &["bmp", "eps", "gif", "jpeg", "jpg", "pdf", "ps", "svg", "tif", "tiff", "webp"];

#[derive(Debug, Args)]
#[command(after_help = "\
fields draws the columns of a matrix [inputs, neurons], each as a picture of its
inputs, sorted by class. theta draws a histogram of thresholds. confusion and
curve draw results that the run reported.

On a terminal with COLORTERM=truecolor a small version is printed as well, unless
NO_COLOR is set.

Examples:
  coordinator plot final.safetensors --out fields.png
  coordinator plot final.safetensors --out layer1.png --tensor layer1.weights
  coordinator plot final.safetensors --out flat.png --width 40
  coordinator plot final.safetensors --out curve.png --what curve
  coordinator plot final.safetensors --what confusion --preview always")]
pub(super) struct PlotFlags {
    /// The state (safetensors)
    #[arg(value_name = "STATE")]
    state: PathBuf,
    /// Where to write the picture (PNG)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What to draw
    #[arg(long, value_enum, default_value = "fields")]
    what: What,
    /// The matrix whose columns are the fields [default: weights]
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Columns of a field [default: those of an example, or as many as rows]
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::FEATURES)))]
    width: Option<u32>,
    /// When to print a small version on the terminal
    #[arg(long, value_enum, default_value = "auto")]
    preview: Preview,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The receptive field of each neuron
    Fields,
    /// A histogram of thresholds
    Theta,
    /// The confusion matrix of the last evaluation
    Confusion,
    /// Loss and accuracy over rounds
    Curve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preview {
    /// Always, wherever standard output goes
    Always,
    /// Never
    Never,
    /// On a terminal with colors
    Auto,
}

/// Draws a state from a file.
pub(super) fn plot(flags: &PlotFlags) -> Result<(), Failure> {
    check_plot(flags.out.as_deref(), &[Some(&flags.state)])?;
    let taken = flags.out.as_deref().is_some_and(is_standard_output);
    let shown = match flags.preview {
        Preview::Always if taken => {
            let message =
                "--out - writes to standard output: expected --preview auto or never, found always";
            return Err(Failure::bad_input(message));
        }
        Preview::Always => true,
        Preview::Never => false,
        Preview::Auto => !taken && write::terminal_shows_colors(),
    };
    if flags.out.is_none() && !shown {
        let message = "no output for the picture: expected --out FILE.png, or a terminal with \
                       COLORTERM=truecolor; --preview always prints it in any case";
        return Err(Failure::bad_input(message));
    }
    if flags.what != What::Fields && (flags.tensor.is_some() || flags.width.is_some()) {
        let message = "--tensor and --width belong to --what fields: leave them out";
        return Err(Failure::bad_input(message));
    }
    let picture = draw(flags)?;
    if let Some(out) = &flags.out {
        write::png(out, &picture.canvas).map_err(Failure::failed)?;
    }
    if shown { super::print_raw(&small(&picture)) } else { Ok(()) }
}

fn draw(flags: &PlotFlags) -> Result<Picture, Failure> {
    let file = StateFile::load(&flags.state).map_err(Failure::bad_input)?;
    let picture = match flags.what {
        What::Fields => {
            let name = flags.tensor.as_deref().unwrap_or(WEIGHTS);
            let (width, schema) = (flags.width.map(|width| width as usize), file.schema.clone());
            return fields(&state(file)?, name, width, schema.as_ref());
        }
        What::Theta => {
            let state = state(file)?;
            let (_, values) = reals(&state, THETA).map_err(Failure::bad_input)?;
            Histogram { name: "theta (mV)", owners: "neurons", values: &values }.draw()
        }
        What::Confusion => {
            let history = file.history().map_err(Failure::bad_input)?;
            if history.confusion.is_empty() {
                return Err(Failure::bad_input(no_matrix(&history, file.schema.as_ref())));
            }
            let last = history.evaluations.last();
            let of = last.map_or("last evaluation".to_owned(), |last| {
                format!("{} split after round {}", split_name(last.split), last.round)
            });
            let classes = class_names(file.schema.as_ref());
            Confusion { counts: &history.confusion, of: &of, names: classes }.draw()
        }
        What::Curve => {
            let history = file.history().map_err(Failure::bad_input)?;
            let model = file.spec.as_ref().map_or("run", |spec| &spec.model);
            chart::of_history(model, &history).draw()
        }
    };
    picture.map_err(Failure::bad_input)
}

/// The state in a file. What was changed in it is told on standard error.
fn state(file: StateFile) -> Result<NetworkState, Failure> {
    let (state, messages) = file.into_state().map_err(Failure::bad_input)?;
    tell(&messages);
    Ok(state)
}

/// Why a history has no confusion matrix.
fn no_matrix(history: &History, schema: Option<&Schema>) -> String {
    let why = match schema.map(|schema| schema.targets) {
        _ if history.evaluations.is_empty() => {
            "nothing was evaluated; a test split is (`--set dataset.test_examples=0.2` of `run` \
             holds one out)"
                .to_owned()
        }
        Some(TargetType::Vector(_)) => "the targets are numbers, and not classes".to_owned(),
        Some(TargetType::None) => "the examples have no classes".to_owned(),
        Some(TargetType::Classes(classes)) => format!(
            "the model reports none of {classes} classes (softmax and mlp report one of at most \
             128)"
        ),
        None => "the model does not report it".to_owned(),
    };
    format!("expected a confusion matrix in the history, found none: {why}")
}

/// The names of the classes of a state's data.
fn class_names(schema: Option<&Schema>) -> ClassNames<'_> {
    ClassNames(schema.map_or(&[], |schema| &schema.classes))
}

/// Columns of a picture of an example of this shape; `None` if it is no picture. Of several
/// pictures, the last axis counts as columns, unless it is that of colors.
fn columns(shape: &[u32]) -> Option<usize> {
    let axes: Vec<usize> =
        shape.iter().map(|axis| *axis as usize).filter(|axis| *axis > 1).collect();
    match axes[..] {
        [_, columns, colors] if colors <= COLORS => Some(columns * colors),
        [_, .., columns] => Some(columns),
        _ => None,
    }
}

/// Shape and values of a tensor of real numbers. Those of f64 become f32, which is enough for a
/// picture.
fn reals<'a>(
    state: &'a NetworkState,
    name: &str,
) -> Result<(&'a [usize], Cow<'a, [f32]>), StateError> {
    if let Ok(tensor) = state.f64(name) {
        let largest = f64::from(f32::MAX);
        let values = tensor.iter().map(|value| value.clamp(-largest, largest) as f32);
        return Ok((tensor.shape(), values.collect()));
    }
    let tensor = state.f32(name)?;
    Ok((tensor.shape(), tensor.as_slice().unwrap_or_default().into()))
}

/// The columns of a matrix of a state. `schema` is that of the data.
fn fields(
    state: &NetworkState,
    name: &str,
    width: Option<usize>,
    schema: Option<&Schema>,
) -> Result<Picture, Failure> {
    let (shape, values) = reals(state, name).map_err(|error| {
        let other = "`coordinator plot STATE --tensor NAME` draws another tensor";
        Failure::bad_input(format!("{error}: {other}"))
    })?;
    let [inputs, neurons] = *shape else {
        let message = format!(
            "tensor `{name}`: expected two dimensions [inputs, neurons], found shape {shape:?}"
        );
        return Err(Failure::bad_input(message));
    };
    // In another model this tensor may have another meaning.
    let labels = state.u64(LABELS).ok().filter(|labels| labels.shape() == [neurons]);
    let labels = labels.and_then(|labels| labels.as_slice());
    let classes = class_names(schema);
    let schema = schema.filter(|schema| schema.width() == inputs as u64);
    let width = width.or_else(|| columns(&schema?.shape));
    let picture: Result<Picture, DrawError> =
        Fields { name, values: &values, neurons, labels, classes, width }.draw();
    picture.map_err(|error| Failure::bad_input(format!("tensor `{name}`: {error}")))
}

/// A small version and its caption.
fn small(picture: &Picture) -> String {
    let preview = draw::preview(picture, write::terminal_columns());
    format!("{preview}{}\n", visible::line(&picture.caption))
}

/// Checks before a run begins, or a file is read, that a picture can be written and does
/// not overwrite another file of this command.
pub(super) fn check_plot(plot: Option<&Path>, others: &[Option<&Path>]) -> Result<(), Failure> {
    let Some(plot) = plot else { return Ok(()) };
    check_output(plot).map_err(Failure::bad_input)?;
    let extension = plot.extension().map(|extension| extension.to_ascii_lowercase());
    if extension.is_some_and(|extension| OTHER_PICTURES.iter().any(|other| extension == *other)) {
        let message =
            format!("{}: expected a name such as FILE.png: pictures are PNG", plot.display());
        return Err(Failure::bad_input(message));
    }
    if others.iter().flatten().any(|other| write::same_file(plot, other)) {
        let message = format!(
            "{}: another flag names the same file: name a different file for the picture",
            plot.display()
        );
        return Err(Failure::bad_input(message));
    }
    Ok(())
}

/// Draws the fields of a run's final state, for `--plot`, and writes them.
pub(super) fn draw_final(
    state: &NetworkState,
    schema: Option<&Schema>,
    path: &Path,
) -> Result<Picture, Failure> {
    let drawn = fields(state, WEIGHTS, None, schema).and_then(|picture| {
        write::png(path, &picture.canvas).map_err(Failure::failed)?;
        Ok(picture)
    });
    drawn
        .map_err(|failure| failure.and("the run itself has succeeded, only its picture is missing"))
}

/// Prints a small version of a picture, if the terminal has colors.
pub(super) fn show_small(picture: &Picture, progress: &mut Progress) {
    if write::terminal_shows_colors() {
        progress.print_raw(&small(picture));
    }
}

#[cfg(test)]
mod tests;
