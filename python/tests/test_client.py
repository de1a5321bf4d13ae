"""Runs, clusters, and what people have their data in."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas
import polars
import pytest

import samebit
from samebit import ConnectionLost, InputError, ParallelBatchProcessor, RunCancelled, events

MODELS = {
    "softmax": {},
    "mlp": {"hidden": [8]},
    "spiking": {"neurons": 10, "presentation_ms": 50},
}
LONG = {"epochs": 100_000, "learning_rate": 1e-4}


@pytest.mark.parametrize("model", MODELS)
def test_the_digests_of_the_command_line(digest_of, model):
    given = MODELS[model]
    flags = [flag for key, value in given.items() for flag in ("--set", f"parameters.{key}={value}")]
    settings = {"epochs": 1, "replicas": 7, "seed": 3}
    flags += [flag for key, value in settings.items() for flag in (f"--{key}", value)]
    expected = digest_of("--model", model, *flags)
    for workers in ["here", "local:1", "local:7"]:
        result = samebit.run("digits", model, workers=workers, **settings, **given)
        assert result.digest == result.state.digest() == expected, workers


def test_without_anything_it_is_the_default_run_of_the_command_line(digest_of):
    assert samebit.run(epochs=2, workers="here").digest == digest_of("--epochs", 2)


@pytest.fixture
def keyed(cluster, monkeypatch):
    """A cluster of two workers with keys, which the environment names."""
    found = cluster(2, keys=True)
    monkeypatch.setenv("SAMEBIT_COORDINATOR", found.address)
    monkeypatch.setenv("SAMEBIT_KEYS", found.keys)
    return found


@pytest.mark.parametrize("model", MODELS)
def test_a_cluster_with_keys_and_a_worker_killed(keyed, monkeypatch, model):
    settings = {"epochs": 30 if model != "spiking" else 1, "evaluation": {"every": 1}, **MODELS[model]}
    expected = samebit.run("digits", model, workers="here", **settings).digest
    run = samebit.submit("digits", model, min_workers=2, **settings)
    for event in run.events():
        if isinstance(event, events.Round) and event.round == 3:
            keyed.workers[0].kill()
    result = run.result()
    assert result.digest == expected and result.run == run.number == 1
    assert run.status == "finished" and result.memory
    assert {type(event) for event in run.events()} >= {
        events.Submitted,
        events.Started,
        events.Finished,
    }
    again = samebit.follow(1).result()
    assert again.state == result.state
    assert [it["id"] for it in samebit.status()["runs"]] == [1]
    monkeypatch.delenv("SAMEBIT_KEYS")
    with pytest.raises(samebit.SamebitError, match="keys"):
        samebit.status()


@pytest.mark.parametrize("model", MODELS)
def test_the_seeds_interface_at_a_cluster_with_keys_and_a_worker_killed(keyed, digits, model):
    params = {"epochs": 20, **MODELS[model]}
    here = ParallelBatchProcessor(4, 5, model=model, workers="here")
    expected = here.run_parallel(*digits, params=params)[0].digest()
    with ThreadPoolExecutor(1) as pool:
        processor = ParallelBatchProcessor(4, 5, model=model)
        found = pool.submit(processor.run_parallel, *digits, params=params)
        for event in samebit.follow(first_run(found)).events():
            if isinstance(event, events.Round) and event.round == 3:
                keyed.workers[0].kill()
        state, results = found.result()
    assert state.digest() == results.digest == expected


def first_run(of):
    """The number of the first run of the coordinator, once it has one."""
    while not (runs := samebit.status()["runs"]):
        assert not of.done(), of.result()
    return runs[0]["id"]


def test_cancelling(cluster):
    found = cluster(1)
    run = samebit.submit("digits", "softmax", workers=found.address, **LONG)
    for event in run.events():
        if isinstance(event, events.Round):
            break
    assert run.status == "running"
    samebit.cancel(run.number, workers=found.address)
    with pytest.raises(RunCancelled):
        run.result()
    assert run.status == "cancelled"
    here = samebit.submit("digits", "softmax", workers="here", **LONG)
    here.cancel()
    with pytest.raises(RunCancelled):
        here.result()


def test_a_run_that_is_dropped_goes_on_at_its_coordinator(cluster):
    found = cluster(1)
    run = samebit.submit("digits", "softmax", workers=found.address, epochs=300)
    next(it for it in run.events() if isinstance(it, events.Submitted))
    del run
    assert samebit.follow(1, workers=found.address).result().accuracy > 0.8


def test_nobody_there():
    with pytest.raises(ConnectionLost, match="cannot reach a coordinator at 127.0.0.1:9"):
        samebit.run("digits", "softmax", workers="127.0.0.1:9", epochs=1, patience=0)


def test_evaluate_and_predict(digits, tmp_path):
    features, labels = digits
    result = samebit.run(digits, "mlp", test=digits, hidden=[16], epochs=20, workers="here")
    assert result.accuracy > 0.95 and result.evaluations[-1].split == "test"
    assert result.confusion.sum() == len(labels)
    for workers in ["here", "local:2"]:
        evaluated = samebit.evaluate(result, digits, workers=workers)
        assert evaluated.accuracy == result.accuracy
        predictions = samebit.predict(result, features, workers=workers)
        assert (predictions.classes == labels).mean() == result.accuracy
        assert predictions.scores.shape == (400, 4)
    names = np.array(["a", "b", "c", "d"])
    named = samebit.run((features, names[labels]), "softmax", epochs=5, workers="here")
    assert set(samebit.predict(named, features).classes) <= set(names)
    rows = result.history()
    assert rows[-1]["epoch"] == 20 and len(rows) == len(result.rounds)
    assert len(result.to_pandas()) == len(result.to_polars()) == len(rows)
    assert list(result.to_pandas().columns) == result.to_polars().columns
    truths = samebit.run((features, labels > 1), "softmax", epochs=5, workers="here")
    assert set(samebit.predict(truths, features).classes) == {"True", "False"}


def test_vectors_as_targets(digits, tmp_path):
    features, _ = digits
    settings = {"dataset": {"targets": "vector"}, "hidden": [8], "epochs": 5}
    result = samebit.run((features, features[:, :2]), "mlp", workers="here", **settings)
    predictions = samebit.predict(result, features)
    assert (predictions.scores.shape, predictions.names) == ((400, 2), ["0", "1"])
    frame = pandas.DataFrame({"a": features[:, 0], "size": features[:, 1]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    result = samebit.run(tmp_path / "x.csv", "mlp", label="size", workers="here", **settings)
    assert samebit.predict(result, tmp_path / "x.csv").names == ["size"]


def test_files_have_the_digests_of_their_arrays(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, labels = digits
    pixels = (features * 255).astype("uint8").reshape(-1, 4, 4)
    np.savez(
        "x.npz", x_train=pixels[:300], y_train=labels[:300], x_test=pixels[300:], y_test=labels[300:]
    )
    settings = {"epochs": 2, "dataset": {"normalise": "standard"}, "workers": "here"}
    of_file = samebit.run("x.npz", "softmax", **settings)
    train, test = (pixels[:300], labels[:300]), (pixels[300:], labels[300:])
    assert samebit.run(train, "softmax", test=test, **settings).digest == of_file.digest
    assert samebit.run({"train": train, "test": test}, "softmax", **settings).digest == of_file.digest
    held_out = {**settings, "dataset": {"test_examples": 0.25}}
    assert len(samebit.run(train, "softmax", **held_out).evaluations) == 1


def test_parquet_has_the_digest_of_the_same_csv(digits, digest_of, tmp_path):
    features, labels = digits
    frame = polars.DataFrame({"a": features[:, 0], "b": features[:, 1], "label": labels})
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_csv(tmp_path / "x.csv")
    expected = digest_of("--dataset", tmp_path / "x.csv", "--model", "softmax", "--epochs", 1)
    settings = {"epochs": 1, "workers": "here"}
    assert samebit.run(str(tmp_path / "x.parquet"), "softmax", **settings).digest == expected
    flags = ["--dataset", tmp_path / "x.parquet", "--model", "softmax", "--epochs", 1]
    assert digest_of(*flags) == expected


class TorchDataset:
    """What a dataset of torch has."""

    def __init__(self, features, labels):
        self.items = list(zip(features, labels))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, at):
        return self.items[at]


class HuggingFace:
    """What a dataset of Hugging Face has."""

    def __init__(self, columns):
        self.data = columns
        self.column_names = list(columns)

    def with_format(self, _):
        return self

    def __getitem__(self, column):
        return self.data[column]


def test_what_people_have_their_data_in(digits):
    features, labels = digits
    columns = {f"x{at}": features[:, at] for at in range(16)}
    forms = [
        digits,
        TorchDataset(features, labels),
        pandas.DataFrame({**columns, "label": labels}),
        polars.DataFrame({"label": labels, **columns}),
        HuggingFace({"image": list(features), "label": labels.tolist()}),
        (features.astype("float64"), labels.astype("int8")),
        (np.asfortranarray(features), labels[:, None]),
        list(zip(features, labels)),
    ]
    read_only = features.copy()
    read_only.flags.writeable = False
    forms.append((read_only, labels))
    found = {samebit.run(it, "softmax", epochs=1, workers="here").digest for it in forms}
    assert len(found) == 1


def test_columns_of_frames_are_labels_as_those_of_tables_are(digits, digest_of, tmp_path):
    features, labels = digits
    names = ["species", "y", "target", "class", " Label "]
    for at, name in enumerate(names):
        # The preferred ones come last.
        labelled = {it: labels if it == name else features[:, 1] for it in names[: at + 1]}
        frame = pandas.DataFrame({"a": features[:, 0], **labelled})
        frame.to_csv(tmp_path / "x.csv", index=False)
        flags = ["--model", "softmax", "--epochs", 1]
        expected = digest_of("--dataset", tmp_path / "x.csv", *flags)
        settings = {"epochs": 1, "workers": "here"}
        assert samebit.run(frame, "softmax", **settings).digest == expected, name
    frame = pandas.DataFrame({"a": features[:, 0], "b": features[:, 1], "kind": labels})
    result = samebit.run(frame, "softmax", label="kind", epochs=1, workers="here")
    assert len(samebit.predict(result, frame, label="kind")) == 400
    with pytest.raises(InputError, match="different names"):
        samebit.run(pandas.concat([frame, frame], axis=1), "softmax", workers="here")
    with pytest.raises(InputError, match="a dictionary of x, y"):
        samebit.run({"x": features, "y": labels}, "softmax", workers="here")
    with pytest.raises(InputError, match="number the classes"):
        samebit.run((features, labels + 2**60), "softmax", workers="here")
    with pytest.raises(InputError, match="no `dataset.label`"):
        samebit.run(digits, "softmax", dataset={"label": "kind"}, workers="here")


def test_paths_in_a_spec_are_those_of_its_folder(digits, tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", x_train=digits[0], y_train=digits[1])
    spec = tmp_path / "spec.toml"
    spec.write_text('model = "softmax"\nepochs = 1\ndataset.source = "x.npz"\n')
    expected = samebit.run(tmp_path / "x.npz", "softmax", epochs=1, workers="here").digest
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert samebit.run(spec=spec, workers="here").digest == expected
    assert samebit.run(spec="../spec.toml", workers="here").digest == expected


def test_several_threads_read_one_run(digits):
    for _ in range(20):
        run = samebit.submit(digits, "softmax", epochs=2, workers="here")
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(lambda: len(list(run.events()))) for _ in range(3)]
            assert run.result().digest
            assert len({it.result() for it in found}) == 1


def test_arrays_can_change_while_a_run_works(digits):
    features, labels = digits[0].copy(), digits[1]
    expected = samebit.run(digits, "softmax", epochs=3, workers="here").digest
    run = samebit.submit((features, labels), "softmax", epochs=3, workers="here")
    features[:] = 0
    assert run.result().digest == expected


def test_the_names_of_bindsnet(digits):
    model = samebit.models.DiehlAndCook2015(
        64, n_neurons=10, inh=20, inpt_shape=(8, 8), presentation_ms=50
    )
    result = samebit.run("digits", model, workers="here")
    assert result.state.weights.shape == (64, 10)
    assert np.allclose(result.state.weights.sum(0), 78.4, rtol=1e-4)
    with pytest.raises(InputError, match="64 numbers"):
        samebit.models.DiehlAndCook2015(64, inpt_shape=(28, 28))
    with pytest.raises(InputError, match="64 features, as the model has, found 16"):
        samebit.run(digits, model, workers="here")


def test_other_threads_work_while_a_run_does(digits):
    run = samebit.submit("digits", "softmax", epochs=200, workers="here")
    turns = 0
    while run.status in ("queued", "running"):
        turns += 1
    assert turns > 1 and run.status == "finished"


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"data": "none.csv"}, "none.csv"),
        ({"model": "none"}, "softmax, spiking"),
        ({"workers": "local"}, "local:N"),
        ({"workers": "local:0"}, "1 to 256"),
        ({"epochs": -1}, "epochs"),
        ({"no_such": 1}, "no_such"),
        ({"parameters": {"learning_rate": float("nan")}}, "settings"),
        ({"spec": "none.toml"}, "none.toml"),
    ],
)
def test_wrong_settings(given, expected):
    settings = {"data": "digits", "model": "softmax", "workers": "here", **given}
    with pytest.raises(InputError, match=expected):
        samebit.run(**settings)
