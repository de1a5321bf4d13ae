//! [`Mapping`]: which tensor of a file becomes a tensor of a model.

use std::fmt;
use std::str::FromStr;

/// What transposes, behind the name of a file's tensor.
const TRANSPOSED: &str = "^T";

/// Says that a tensor of the model is one of the file with another name: `weights=fc1.weight^T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The tensor of the model.
    pub tensor: String,
    /// The tensor of the file.
    pub source: String,
    /// Whether the rows of the file's tensor are the model's columns.
    pub is_transposed: bool,
}

/// A text that is no [`Mapping`].
#[derive(Debug, thiserror::Error)]
#[error(
    "expected MODEL_TENSOR=FILE_TENSOR, with ^T behind it to transpose, as in \
     'layer1.weights=fc1.weight^T', found {0:?}"
)]
pub struct MappingError(String);

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MappingError(text.chars().take(200).collect());
        let (tensor, source) = text.split_once('=').ok_or_else(error)?;
        let (tensor, source) = (tensor.trim(), source.trim());
        let name = source.strip_suffix(TRANSPOSED).map(str::trim_end);
        let (source, is_transposed) = (name.unwrap_or(source), name.is_some());
        if tensor.is_empty() || source.is_empty() {
            return Err(error());
        }
        Ok(Self { tensor: tensor.into(), source: source.into(), is_transposed })
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transposed = if self.is_transposed { TRANSPOSED } else { "" };
        write!(f, "{}={}{transposed}", self.tensor, self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_as_it_is_written() {
        let parse = |text: &str| text.parse::<Mapping>();
        let mapping = parse("layer1.weights=fc1.weight^T").unwrap();
        assert_eq!((&*mapping.tensor, &*mapping.source), ("layer1.weights", "fc1.weight"));
        assert!(mapping.is_transposed && mapping.to_string() == "layer1.weights=fc1.weight^T");
        let mapping = parse(" bias = net.0.bias ").unwrap();
        assert_eq!(mapping.to_string(), "bias=net.0.bias");
        for wrong in ["", "weights", "=fc1", "weights=", "weights=^T"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("fc1.weight^T") && error.contains(&format!("{wrong:?}")));
        }
    }
}
