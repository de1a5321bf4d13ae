//! Adapts the tensors of a file, which any program may have written, to the layout of a model.
//!
//! ```text
//! FileTensors, Layout, Mappings ── adapt ──▶ NetworkState, and a sentence about each change
//! ```

mod mapping;
mod suggestion;

use std::collections::BTreeMap;

use super::file::{FileTensor, FileTensors, misfit_text, numbers, own_type};
use super::{ElementType, Layout, NetworkState, StateError, Tensor, TensorLayout};

pub use mapping::{Mapping, MappingError};

/// Most names in a sentence.
const LISTED: usize = 12;

/// The end of the names of velocities, which a file may lack.
const VELOCITY: &str = ".velocity";

/// Makes a state of this layout from the tensors of a file: numbers of other types are converted,
/// counters and velocities that the file lacks are those of the model's initial state, and tensors
/// that the model does not have are left out. Returns a sentence about each of these.
///
/// # Errors
/// The file lacks a weight, a shape is wrong, or a value does not fit.
pub fn adapt<E: From<StateError>>(
    file: FileTensors,
    layout: &Layout,
    map: &[Mapping],
    initial: impl FnOnce() -> Result<NetworkState, E>,
) -> Result<(NetworkState, Vec<String>), E> {
    let path = file.path.clone();
    let wrong = |message: String| StateError::File { path: path.clone(), message };
    let plan = plan(&file, layout, map).map_err(wrong)?;
    let missing: Vec<&TensorLayout> =
        layout.tensors.iter().filter(|it| !plan.contains_key(&*it.name)).collect();
    let fresh = if missing.is_empty() { None } else { Some(initial()?) };
    let mut messages = Messages::default();
    let mut rest = file.tensors;
    let mut tensors = Vec::with_capacity(layout.tensors.len());
    for wanted in &layout.tensors {
        let Some(Source { name, is_transposed }) = plan.get(&*wanted.name) else {
            let tensor = fresh.as_ref().and_then(|fresh| fresh.tensors.get(&wanted.name));
            let lost = || StateError::Layout {
                expected: format!("a tensor `{}` of the model's initial state", wanted.name),
                found: "none".into(),
            };
            tensors.push((wanted.name.clone(), tensor.ok_or_else(lost)?.clone()));
            continue;
        };
        // One tensor of a file may be several of a model.
        let again = plan.values().filter(|source| source.name == *name).count() > 1;
        let found = if again { rest.get(name).cloned() } else { rest.remove(name) };
        let Some(found) = found else { continue };
        messages.converted(&found, name, wanted.element);
        let rule = found.rule.unwrap_or(wanted.rule);
        let data = found
            .data(wanted.element, *is_transposed)
            .map_err(|misfit| wrong(misfit_text(&shown(name), wanted.element, &misfit)))?;
        tensors.push((wanted.name.clone(), Tensor { data, rule }));
    }
    rest.retain(|name, _| plan.values().all(|source| source.name != *name));
    let messages = messages.all(&path, &missing, &rest);
    Ok((NetworkState::new(tensors)?, messages))
}

impl FileTensors {
    /// Whether [`adapt`] finds all that it needs, with the right shapes.
    pub fn fits(&self, layout: &Layout, map: &[Mapping]) -> bool {
        plan(self, layout, map).is_ok()
    }

    /// The lengths of all axes, each once, ascending.
    pub fn lengths(&self) -> Vec<usize> {
        let axes = self.tensors.values().flat_map(|tensor| tensor.shape.iter().copied());
        axes.collect::<std::collections::BTreeSet<usize>>().into_iter().collect()
    }

    /// The largest counter in a tensor of this name, apart from 2^64 - 1, which stands for none.
    pub fn largest_counter(&self, name: &str) -> Option<u64> {
        let tensor = self.tensors.get(name).filter(|it| numbers::is_whole(it.dtype))?;
        tensor.counters().into_iter().filter(|value| *value != u64::MAX).max()
    }
}

/// The tensor of a file that becomes one of the model.
#[derive(Debug)]
struct Source {
    name: String,
    is_transposed: bool,
}

/// The source of each tensor of the layout, by its name. What may be missing may be missing here.
fn plan(
    file: &FileTensors,
    layout: &Layout,
    map: &[Mapping],
) -> Result<BTreeMap<String, Source>, String> {
    check_map(file, layout, map)?;
    let mut plan = BTreeMap::new();
    let mut missing = Vec::new();
    for wanted in &layout.tensors {
        let mapping = map.iter().find(|mapping| mapping.tensor == wanted.name);
        let (name, is_transposed) = match mapping {
            Some(mapping) => (&mapping.source, mapping.is_transposed),
            None => (&wanted.name, false),
        };
        let Some(found) = file.tensors.get(name) else {
            if !may_be_missing(wanted) {
                missing.push(wanted);
            }
            continue;
        };
        check_tensor(found, name, is_transposed, wanted)?;
        plan.insert(wanted.name.clone(), Source { name: name.clone(), is_transposed });
    }
    if missing.is_empty() { Ok(plan) } else { Err(missing_text(file, layout, &missing)) }
}

/// Whether a state can do without this tensor: counters and labels are counted again, and velocities
/// come back.
fn may_be_missing(wanted: &TensorLayout) -> bool {
    !wanted.element.is_real() || wanted.name.ends_with(VELOCITY)
}

fn check_map(file: &FileTensors, layout: &Layout, map: &[Mapping]) -> Result<(), String> {
    for (place, mapping) in map.iter().enumerate() {
        let flag = format!("--map '{}'", shown(&mapping.to_string()));
        let Mapping { tensor, source, .. } = mapping;
        if !layout.tensors.iter().any(|wanted| wanted.name == *tensor) {
            let all = listed(layout.tensors.iter().map(|wanted| format!("`{}`", wanted.name)));
            return Err(format!("{flag}: expected a tensor of the model, which has {all}"));
        }
        if !file.tensors.contains_key(source) {
            let all = contents(&file.tensors);
            return Err(format!("{flag}: expected a tensor of the file, which has {all}"));
        }
        if map[..place].iter().any(|other| other.tensor == *tensor) {
            return Err(format!("{flag}: expected each tensor of the model once"));
        }
    }
    Ok(())
}

/// Checks type and shape of a tensor that is to become one of the model.
fn check_tensor(
    found: &FileTensor,
    name: &str,
    is_transposed: bool,
    wanted: &TensorLayout,
) -> Result<(), String> {
    let tensor = &wanted.name;
    let here = shown(name);
    if !numbers::is_known(found.dtype) {
        return Err(format!(
            "tensor `{here}`: expected numbers of a type such as F32, found {:?}",
            found.dtype
        ));
    }
    let shape: Vec<u64> = found.shape.iter().map(|axis| *axis as u64).collect();
    if is_transposed && shape.len() != 2 {
        return Err(format!(
            "--map '{tensor}={here}^T': expected a matrix to transpose, found shape {shape:?}"
        ));
    }
    let turned: Vec<u64> = shape.iter().rev().copied().collect();
    let is = if is_transposed { &turned } else { &shape };
    let is_scalar = shape.is_empty() && wanted.shape == [1];
    if *is == wanted.shape || is_scalar {
        return Ok(());
    }
    let fits_turned =
        shape.len() == 2 && wanted.shape == if is_transposed { shape.clone() } else { turned };
    let advice = match (fits_turned, is_transposed) {
        (true, false) => format!(": `--map '{tensor}={here}^T'` transposes it"),
        (true, true) => format!(": `--map '{tensor}={here}'`, without ^T, fits"),
        (false, _) => String::new(),
    };
    let turning = if is_transposed { ", transposed" } else { "" };
    let of = if name == tensor { String::new() } else { format!(" of `{here}`") };
    let wanted = &wanted.shape;
    Err(format!(
        "tensor `{tensor}`: expected shape {wanted:?}, found shape {shape:?}{of}{turning}{advice}"
    ))
}

/// The sentence about weights that the file does not have.
fn missing_text(file: &FileTensors, layout: &Layout, missing: &[&TensorLayout]) -> String {
    let describe = |it: &&TensorLayout| format!("`{}` {} {:?}", it.name, it.element, it.shape);
    let names = listed(missing.iter().map(describe));
    let has = contents(&file.tensors);
    let text = format!("the file lacks {names} of the model; it has {has}");
    let has_any = layout.tensors.iter().any(|wanted| file.tensors.contains_key(&wanted.name));
    if let Some(more) = suggestion::of(file, layout).filter(|_| !has_any) {
        return format!("{text}; {more}");
    }
    let first = &missing[0].name;
    format!(
        "{text}; `--map '{first}=NAME'` takes the file's tensor NAME for it, and \
         `--map '{first}=NAME^T'` transposes it"
    )
}

/// The tensors of a file with their types and shapes.
fn contents(tensors: &BTreeMap<String, FileTensor>) -> String {
    let describe = |(name, tensor): (&String, &FileTensor)| {
        format!("`{}` {:?} {:?}", shown(name), tensor.dtype, tensor.shape)
    };
    if tensors.is_empty() { "no tensors".into() } else { listed(tensors.iter().map(describe)) }
}

/// What became of tensors.
#[derive(Debug, Default)]
struct Messages {
    /// Names by the types before and after.
    converted: BTreeMap<(String, String), Vec<String>>,
}

impl Messages {
    fn converted(&mut self, found: &FileTensor, name: &str, element: ElementType) {
        if found.dtype != own_type(element) {
            let types = (format!("{:?}", found.dtype), element.to_string());
            self.converted.entry(types).or_default().push(format!("`{}`", shown(name)));
        }
    }

    fn all(
        self,
        path: &str,
        missing: &[&TensorLayout],
        extra: &BTreeMap<String, FileTensor>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for ((from, to), names) in self.converted {
            let names = listed(names.into_iter());
            all.push(format!("converted from {from} to {to}: {names}"));
        }
        if !missing.is_empty() {
            let names = listed(missing.iter().map(|it| format!("`{}`", it.name)));
            all.push(format!("not in the file, so as in a new state of the model: {names}"));
        }
        if !extra.is_empty() {
            let names = listed(extra.keys().map(|name| format!("`{}`", shown(name))));
            all.push(format!("not in the model, so left out: {names}"));
        }
        all.into_iter().map(|message| format!("{path}: {message}")).collect()
    }
}

/// A name of a file, whatever is in it.
fn shown(name: &str) -> String {
    name.chars().take(crate::limits::NAME_BYTES).flat_map(char::escape_debug).collect()
}

/// The first names, and how many there are.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let all = names.len();
    let first = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if all > LISTED { format!("{first}, … ({all} in all)") } else { first }
}

#[cfg(test)]
mod tests;
