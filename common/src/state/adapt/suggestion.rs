//! Which flags would take the layers of a file of PyTorch for those of a model.

use std::cmp::Ordering;

use super::super::Layout;
use super::super::file::{FileTensor, FileTensors};
use super::{Mapping, may_be_missing};

/// A layer of either side: the name before its weights' own, its inputs and its outputs.
#[derive(Debug, PartialEq, Eq)]
struct Layer<'a> {
    prefix: &'a str,
    inputs: usize,
    outputs: usize,
}

/// How matrices and biases end in a model, and in a `state_dict` of PyTorch.
const OURS: [&str; 2] = ["weights", "bias"];
const PYTORCH: [&str; 2] = ["weight", "bias"];

/// The flags for a file whose layers are as PyTorch names them, or what keeps them from fitting.
pub(super) fn of(file: &FileTensors, layout: &Layout) -> Option<String> {
    let (model, found) = (model_layers(layout)?, file_layers(file));
    if found.is_empty() {
        return None;
    }
    let mut flags = Vec::new();
    let mut left: Vec<&Layer<'_>> = found.iter().collect();
    for layer in &model {
        let same = |it: &&Layer<'_>| (it.inputs, it.outputs) == (layer.inputs, layer.outputs);
        let Some(place) = left.iter().position(same) else {
            let (found, model) = (sizes(&found), sizes(&model));
            return Some(format!(
                "it seems to be of PyTorch, with layers {found}, and the model has {model}: give \
                 the model the same layers"
            ));
        };
        let source = left.remove(place);
        for ((ours, theirs), is_transposed) in OURS.into_iter().zip(PYTORCH).zip([true, false]) {
            let tensor = format!("{}{ours}", layer.prefix);
            let source = format!("{}{theirs}", source.prefix);
            flags.push(format!("--map '{}'", Mapping { tensor, source, is_transposed }));
        }
    }
    Some(format!("it seems to be of PyTorch, then add {}", flags.join(" ")))
}

/// The sizes of layers, from the inputs of the first: `64 × 32, 32 × 10`.
fn sizes(layers: &[Layer<'_>]) -> String {
    super::listed(layers.iter().map(|layer| format!("{} × {}", layer.inputs, layer.outputs)))
}

/// The layers of a model, if all that it has to have are matrices and their biases.
fn model_layers(layout: &Layout) -> Option<Vec<Layer<'_>>> {
    let needed = layout.tensors.iter().filter(|it| !may_be_missing(it));
    let mut layers = Vec::new();
    let mut biases = 0;
    for tensor in needed.clone() {
        if !tensor.element.is_real() {
            return None;
        }
        match (tensor.name.strip_suffix(OURS[0]), &tensor.shape[..]) {
            (Some(prefix), [inputs, outputs]) => {
                let (inputs, outputs) = (*inputs as usize, *outputs as usize);
                let bias = needed.clone().find(|it| it.name == format!("{prefix}{}", OURS[1]))?;
                (bias.shape == [outputs as u64]).then_some(())?;
                layers.push(Layer { prefix, inputs, outputs });
            }
            _ if tensor.name.ends_with(OURS[1]) => biases += 1,
            _ => return None,
        }
    }
    layers.sort_by(|a, b| natural(a.prefix, b.prefix));
    (biases == layers.len() && biases > 0).then_some(layers)
}

/// The linear layers of a file, in the order of the numbers in their names. PyTorch has outputs
/// first.
fn file_layers(file: &FileTensors) -> Vec<Layer<'_>> {
    let layer = |(name, tensor): (&'_ String, &FileTensor)| {
        let prefix = name.strip_suffix(PYTORCH[0]).filter(|prefix| is_plain(prefix))?;
        let [outputs, inputs] = tensor.shape[..] else { return None };
        let bias = file.tensors.get(&format!("{prefix}{}", PYTORCH[1]))?;
        (bias.shape == [outputs]).then_some((prefix.len(), inputs, outputs))
    };
    let found = file.tensors.iter().filter_map(|(name, tensor)| {
        let (length, inputs, outputs) = layer((name, tensor))?;
        Some(Layer { prefix: &name[..length], inputs, outputs })
    });
    let mut layers: Vec<Layer<'_>> = found.collect();
    layers.sort_by(|a, b| natural(a.prefix, b.prefix));
    layers
}

/// Whether a name can stand between single quotes in a shell.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte))
}

/// The order of names with numbers in them: `fc2` before `fc10`.
fn natural(a: &str, b: &str) -> Ordering {
    let whole = a.cmp(b);
    let (mut a, mut b) = (a, b);
    loop {
        let (next_a, next_b) = (part(a), part(b));
        let order = match (next_a.parse::<u64>(), next_b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => next_a.cmp(next_b),
        };
        if order != Ordering::Equal || next_a.is_empty() {
            return order.then(whole);
        }
        (a, b) = (&a[next_a.len()..], &b[next_b.len()..]);
    }
}

/// The digits, or the text without any, at the beginning of a text.
fn part(text: &str) -> &str {
    let is_digit = |it: char| it.is_ascii_digit();
    let digits = text.starts_with(is_digit);
    let end = text.find(|it| is_digit(it) != digits).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_their_numbers() {
        let mut names = ["net.10.", "fc2.", "net.2.", "fc10.", "fc1.", "net.2.a", "", "fc01."];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "fc01.", "fc1.", "fc2.", "fc10.", "net.2.", "net.2.a", "net.10."]);
    }
}
