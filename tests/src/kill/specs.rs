//! What is run: rounds that are short, and enough of them to be struck.

/// A spec, as text, and what there is to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the model.
    pub model: &'static str,
    /// Training rounds.
    pub rounds: u64,
    /// TOML.
    pub text: String,
}

impl Spec {
    /// So many there are, of each seed and number of replicas.
    pub const KINDS: usize = 4;

    /// A spec of one of the [`Self::KINDS`].
    pub fn new(kind: usize, seed: u64, replicas: u32) -> Self {
        let (model, rounds, more) = [
            ("softmax", 250, SOFTMAX),
            ("mlp", 200, MLP),
            ("mlp", 40, WIDE),
            ("spiking", 20, SPIKING),
        ][kind % Self::KINDS];
        let text = format!(
            "model = \"{model}\"\nseed = {seed}\nreplicas = {replicas}\nrounds = {rounds}\n{more}"
        );
        Self { model, rounds, text }
    }
}

/// An evaluation after every tenth round.
const SOFTMAX: &str = r#"
batch_size = 10
update_interval = 60
dataset.source = "digits"
evaluation.every = 10
"#;

const MLP: &str = r#"
batch_size = 10
update_interval = 20
dataset.source = "digits"
[parameters]
hidden = [48]
momentum = 0.9
momentum_state = "merged"
"#;

/// A state that is pulled in pieces rather than sent along.
const WIDE: &str = r#"
batch_size = 6
update_interval = 1
dataset.source = "digits"
[parameters]
hidden = [240, 240]
momentum = 0.9
momentum_state = "merged"
"#;

/// Labels are given after the last round.
const SPIKING: &str = r#"
batch_size = 1
update_interval = 10
dataset.source = "digits"
evaluation.labelling = true
[parameters]
neurons = 40
theta_step = 2
presentation_ms = 100
rest_ms = 50
"#;
