//! A run's data and the state that it starts from, which may be of any program: the state is adapted
//! to the model, and what it was trained on is compared with the data.

use common::dataset::{DataDigests, DataShape, Dataset, Origin, Schema, TargetType, load_from};
use common::limits;
use common::model::{Model, ModelError, Registry};
use common::spec::{RunSpec, Split};
use common::state::{FileTensors, Mapping, NetworkState, adapt};

use super::SubmissionError;

/// The tensor of the classes of a model's units, as `plot` draws them.
const LABELS: &str = "labels";

/// Most numbers of classes that are tried for a state whose file does not say how many it has.
const TRIES: usize = 16;

/// A state as its file has it.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// Its tensors.
    pub tensors: FileTensors,
    /// Which of them become tensors of the model under another name.
    pub map: Vec<Mapping>,
    /// What its data meant. Data to evaluate or predict is read in the same way; data to train on is
    /// read on its own, and compared.
    pub trained_on: Option<Schema>,
}

/// A run's data and its initial state.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The spec, with the state's number of classes if the data has fewer.
    pub spec: RunSpec,
    /// The examples.
    pub dataset: Dataset,
    /// What they mean.
    pub schema: Schema,
    /// The state; `None`: the model makes one.
    pub state: Option<NetworkState>,
    /// A sentence about each change of the state.
    pub messages: Vec<String>,
}

/// Loads the data of a spec, or arrays in its place, and adapts a state to its model.
pub fn load(
    registry: &Registry,
    mut spec: RunSpec,
    origin: &Origin,
    initial: Option<InitialState>,
) -> Result<Loaded, SubmissionError> {
    spec.validate()?;
    let trained_on = initial.as_ref().and_then(|initial| initial.trained_on.as_ref());
    let known = trained_on.filter(|_| !spec.update_weights);
    let labels = !spec.predict;
    let (mut dataset, mut schema) = load_from(&spec.dataset, origin, known, labels)?;
    let compared = trained_on.filter(|_| known.is_none()).map(|it| it.differences(&schema));
    let is_known = known.is_some();
    let Some(initial) = initial else {
        return Ok(Loaded { spec, dataset, schema, state: None, messages: Vec::new() });
    };
    let shape = dataset.shape();
    let more = if is_known { None } else { more_classes(registry, &spec, shape, &initial) };
    if let Some(classes) = more {
        spec.dataset.classes = Some(classes);
        (dataset, schema) = load_from(&spec.dataset, origin, None, labels)?;
    }
    let model = build(registry, &spec, dataset.shape())?;
    let InitialState { tensors, map, .. } = initial;
    let adapted = adapt(tensors, &model.layout()?, &map, || model.initial_state());
    let (state, mut messages) = adapted.map_err(|error| match error {
        ModelError::State(error) if is_known => SubmissionError::State(error),
        ModelError::State(error) => {
            SubmissionError::StateForData { error, understood: schema.understood.clone() }
        }
        error => error.into(),
    })?;
    messages.extend(compared.into_iter().flatten());
    Ok(Loaded { spec, dataset, schema, state: Some(state), messages })
}

/// The sentence about data that is not what a state was trained on. `trained` is of the state, `here`
/// of the data that is evaluated.
pub fn other_data(trained: &DataDigests, here: &DataDigests, split: Split) -> Option<String> {
    let (of_state, of_data) = match split {
        Split::Train => (trained.train, here.train),
        Split::Test => (trained.test, here.test),
    };
    if of_state == of_data {
        return None;
    }
    let what = if trained.train == here.train {
        "evaluated on other test examples than those of the run that it was trained in"
    } else {
        "evaluated on other data than it was trained on"
    };
    let short = |digest: common::digest::Digest| digest.to_string()[..12].to_owned();
    Some(format!("{what} (digest {}, not {})", short(of_data), short(of_state)))
}

fn build(
    registry: &Registry,
    spec: &RunSpec,
    shape: DataShape,
) -> Result<Box<dyn Model>, ModelError> {
    registry.build(&spec.model, &spec.parameters, shape, spec.seed)
}

/// The number of classes of a state whose file does not say it, or which is trained on, if the data lacks examples of the
/// last ones: that with which the model has the tensors of the file.
fn more_classes(
    registry: &Registry,
    spec: &RunSpec,
    shape: DataShape,
    initial: &InitialState,
) -> Option<u32> {
    let InitialState { tensors, map, .. } = initial;
    // Standard input can be read only once.
    let is_gone = ["-", "csv:-"].contains(&&*spec.dataset.source);
    if spec.dataset.classes.is_some() || is_gone {
        return None;
    }
    let of_data = shape.classes().ok()?;
    let fits = |classes: usize| {
        let shape = shape.with_targets(TargetType::Classes(classes as u32));
        let layout = build(registry, spec, shape).and_then(|model| model.layout());
        layout.is_ok_and(|layout| tensors.fits(&layout, map))
    };
    // Units that learnt without labels may have been given a class that the data lacks.
    let labelled = tensors.largest_counter(LABELS).map_or(0, |label| label.saturating_add(1));
    let labelled = usize::try_from(labelled).unwrap_or(usize::MAX);
    let least = labelled.max(of_data);
    let found = if fits(of_data) {
        least
    } else {
        let more = tensors.lengths().into_iter().filter(|length| *length > of_data);
        more.take(TRIES).find(|length| fits(*length))?.max(least)
    };
    let is_more = found > of_data && found <= limits::CLASSES as usize && fits(found);
    is_more.then_some(found as u32)
}

#[cfg(test)]
mod tests {
    use common::digest::Digest;

    use super::*;

    #[test]
    fn other_data_is_told_by_its_digests() {
        let data = |train: &str, test: &str| {
            let [train, test] = [train, test].map(|text| Digest::of(text.as_bytes()));
            DataDigests { train, test }
        };
        let trained = data("a", "b");
        for split in [Split::Train, Split::Test] {
            assert_eq!(other_data(&trained, &data("a", "b"), split), None);
            let text = other_data(&trained, &data("c", "d"), split).unwrap();
            assert!(text.starts_with("evaluated on other data than it was trained on"), "{text}");
        }
        // What is not evaluated does not count.
        assert_eq!(other_data(&trained, &data("a", "d"), Split::Train), None);
        assert_eq!(other_data(&trained, &data("c", "b"), Split::Test), None);
        let text = other_data(&trained, &data("a", "d"), Split::Test).unwrap();
        assert!(text.contains("other test examples"), "{text}");
    }

    #[test]
    fn classes_that_the_data_lacks_are_those_of_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "0,1,0\n1,0,1\n".repeat(8)).unwrap();
        let text = format!(
            "model = \"softmax\"\nepochs = 1\n[dataset]\nsource = \"csv:{}\"\nlabel = \"last\"\n",
            path.display()
        );
        let spec = RunSpec::from_toml(&text).unwrap();
        let registry = Registry::standard();
        let initial = |classes| {
            let model =
                build(&registry, &spec, DataShape::new(2, TargetType::Classes(classes))).unwrap();
            let path = folder.path().join("state");
            model.initial_state().unwrap().save(&path, &Default::default()).unwrap();
            let tensors = FileTensors::load(&path).unwrap();
            InitialState { tensors, map: Vec::new(), trained_on: None }
        };
        let loaded = |classes, spec: &RunSpec| {
            load(&registry, spec.clone(), &Origin::Files("".into()), Some(initial(classes)))
        };
        let of_five = loaded(5, &spec).unwrap();
        assert_eq!(
            (of_five.spec.dataset.classes, of_five.dataset.shape().targets),
            (Some(5), TargetType::Classes(5))
        );
        assert_eq!(loaded(2, &spec).unwrap().spec.dataset.classes, None);
        let mut two = spec.clone();
        two.dataset.classes = Some(2);
        let error = loaded(5, &two).unwrap_err().to_string();
        assert!(error.contains("`bias`: expected shape [2], found shape [5]"), "{error}");
    }
}
