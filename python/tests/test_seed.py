"""The seed's text as it stands, its loop, and the digests of the command line."""

import logging
from pathlib import Path

import numpy as np
import pytest

from samebit import InputError, NetworkState, ParallelBatchProcessor

SEED = (Path(__file__).parent / "seed.txt").read_text()


def spiking_state(neurons=20, inputs=16):
    random = np.random.default_rng(1)
    weights = random.random((inputs, neurons)).astype("float32")
    return {"weights": weights * 78.4 / weights.sum(0), "theta": np.full(neurons, 20, "float32")}


def test_the_seeds_text_runs(digits, caplog):
    state = spiking_state()
    names = {
        "ParallelBatchProcessor": ParallelBatchProcessor,
        "NetworkState": NetworkState,
        "current_weights": state["weights"],
        "current_theta": state["theta"],
        "training_data": digits[0],
        "training_labels": digits[1],
    }
    with caplog.at_level(logging.INFO, "samebit"):
        exec(SEED, names)
    final, results = names["final_state"], names["results"]
    assert final.weights.shape == (16, 20) and final["theta"].shape == (20,)
    assert final.examples[0] == 400
    assert results["accuracy"] == results.accuracy and 0 <= results.accuracy <= 1
    assert results.confusion.shape == (4, 4) and results.confusion.sum() <= 400
    assert results.seconds > 0 and len(results.seconds_per_batch) == len(results.rounds) > 0
    assert list(results.memory.values())[0] > 1 << 20
    assert 0 <= results.synchronisation_share <= 1
    assert "Starting parallel processing with 4 processes" in caplog.text
    assert "Parallel processing completed in" in caplog.text
    assert not np.array_equal(final.weights, state["weights"])
    again = ParallelBatchProcessor(num_processes=4, batch_size=50).run_parallel(
        digits[0], digits[1], NetworkState(state), {"update_weights": True, "learning_rate": 0.001}
    )
    assert again[0].digest() == final.digest() == results.digest


def test_the_seeds_loop(digits):
    examples, labels = digits
    processor = ParallelBatchProcessor()
    assert (processor.num_processes, processor.batch_size) == (4, 50)
    seen = []

    def update_network_state(state):
        seen.append(state.digest())

    def loop():
        state, j, batch_size = NetworkState(spiking_state()), 0, processor.batch_size
        while j < 200:
            batch = slice(j, j + batch_size)
            state, results = processor.process_batch(examples[batch], labels[batch], state, {})
            assert results.examples == 50
            update_network_state(state)
            j += batch_size
        return state

    assert loop().digest() == loop().digest()
    assert len(set(seen)) == 4


def test_randomness_is_keyed_by_the_counter_of_examples(digits):
    examples, labels = digits[0][:50], digits[1][:50]
    processor = ParallelBatchProcessor()
    state = NetworkState(spiking_state())
    first, _ = processor.process_batch(examples, labels, state, {})
    later = NetworkState(spiking_state(), examples=np.array([50], "uint64"))
    second, _ = processor.process_batch(examples, labels, later, {})
    assert not np.array_equal(first.weights, second.weights)
    alone = ParallelBatchProcessor(1, 50).run_parallel(examples, labels, state, {"evaluate": False})
    assert alone[1].accuracy is None
    assert np.array_equal(alone[0].weights, first.weights)


@pytest.mark.parametrize("model, more", [("softmax", {}), ("mlp", {"hidden": [8]})])
def test_a_loop_of_batches_learns(digits, model, more):
    examples, labels = digits
    processor, state = ParallelBatchProcessor(1, 10, model=model), None
    for _ in range(3):
        for j in range(0, 400, 50):
            batch = slice(j, j + 50)
            params = {"classes": 4, "learning_rate": 0.2, **more}
            state, results = processor.process_batch(examples[batch], labels[batch], state, params)
    state, results = processor.run_parallel(examples, labels, state, {"update_weights": False, **more})
    assert results.accuracy > 0.9, results


@pytest.mark.parametrize("model", ["softmax", "mlp", "spiking"])
def test_the_digests_of_the_command_line(digits, digest_of, tmp_path, model):
    np.savez(tmp_path / "x.npz", x_train=digits[0], y_train=digits[1])
    parameters = {"softmax": {"learning_rate": 0.1}, "mlp": {"hidden": [8]}, "spiking": {"neurons": 10}}
    settings = [f"parameters.{key}={value}" for key, value in parameters[model].items()]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    flags += ["--set", "evaluation.split=train", "--set", "dataset.classes=4"]
    spec = tmp_path / "spec.toml"
    spec.write_text(f'model = "{model}"\nepochs = 1\n[dataset]\nsource = "x.npz"\n')
    expected = digest_of(spec, *flags, "--replicas", 4, "--batch-size", 50)
    for workers in [None, "local:1", "local:2"]:
        processor = ParallelBatchProcessor(4, 50, model=model, workers=workers)
        state, results = processor.run_parallel(*digits, params=parameters[model])
        assert results.digest == state.digest() == expected, workers


def test_threads_are_not_in_the_bits(digits):
    digests = set()
    for interval in [1, 2]:
        processor = ParallelBatchProcessor(3, 20, update_interval=interval, model="softmax")
        digests.add(processor.run_parallel(*digits)[1].digest)
    assert len(digests) == 2, "the interval is in the bits"


def test_seconds_of_a_batch_are_those_of_a_round_by_its_batches(digits):
    # By default, `spiking` merges after 256 examples of all replicas.
    processor = ParallelBatchProcessor(2, 16, model="spiking")
    _, results = processor.run_parallel(*digits, params={"neurons": 10, "presentation_ms": 50})
    spent = sum(it.compute_ms + it.synchronisation_ms for it in results.rounds) / 1000
    assert sum(results.seconds_per_batch) * 8 == pytest.approx(spent, rel=0.01)


def test_evaluating_leaves_the_state_alone(digits):
    processor = ParallelBatchProcessor(model="softmax")
    trained, _ = processor.run_parallel(*digits)
    same, results = processor.run_parallel(*digits, trained, {"update_weights": False})
    assert same == trained and results.examples == 400 and results.rounds == []


def test_what_params_cannot_be(digits):
    processor = ParallelBatchProcessor(model="softmax")
    with pytest.raises(InputError, match="learning_rate"):
        processor.run_parallel(*digits, params={"learning_rat": 1})
    with pytest.raises(InputError, match="softmax.*spiking"):
        ParallelBatchProcessor().run_parallel(*digits, NetworkState(a=[1.0]))
    with pytest.raises(InputError, match="num_processes"):
        ParallelBatchProcessor(0)
    with pytest.raises(InputError, match="lacks"):
        ParallelBatchProcessor(model="mlp").run_parallel(
            *digits, NetworkState(weights=[1.0], theta=[1.0])
        )
