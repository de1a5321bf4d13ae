"""`NetworkState`."""

import pickle

import numpy as np
import pytest

import samebit
from samebit import InputError, NetworkState


def test_tensors_are_attributes_and_items():
    weights = np.arange(6.0).reshape(2, 3)
    state = NetworkState(weights=weights, theta=[1, 2, 3])
    assert list(state) == ["weights", "theta"] and len(state) == 2
    assert state.weights.dtype == "float64" and state["theta"].dtype == "int64"
    weights[:] = 0
    assert state.weights[1, 2] == 5, "it has its own copy"
    state.theta = np.zeros(3, "float32")
    assert state["theta"].dtype == "float32" and "theta" in state
    with pytest.raises(AttributeError, match="it has weights, theta"):
        state.other
    with pytest.raises(KeyError):
        state["other"]


@pytest.mark.parametrize(
    "given, kept",
    [
        ("float16", "float32"),
        ("int8", "int64"),
        ("uint16", "uint64"),
        ("bool", "uint64"),
        (">f4", "float32"),
    ],
)
def test_types(given, kept):
    assert NetworkState(a=np.ones(2, given)).a.dtype == kept


def test_digests_tell_every_bit():
    state = NetworkState(a=np.zeros((3, 4), "float32"))
    first = state.digest()
    assert len(first) == 64 and state.copy().digest() == first
    state.a[2, 3] = 1e-45
    assert state.digest() != first
    assert NetworkState(a=np.asfortranarray(np.eye(3))).digest() == NetworkState(a=np.eye(3)).digest()
    assert NetworkState(a=np.eye(4)[::2, ::2]) == NetworkState(a=np.eye(2))


def test_files(tmp_path, command):
    path = tmp_path / "state.safetensors"
    state = NetworkState(
        {"layer.0": np.ones(3, "float32")}, n=np.array([2**63], "uint64"), d=[0.5], i=[-1]
    )
    state.save(path)
    loaded = NetworkState.load(path)
    assert loaded == state and loaded.digest() == state.digest()
    assert pickle.loads(pickle.dumps(loaded)) == state
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        NetworkState.load(path)
    with pytest.raises(InputError, match="No such file"):
        NetworkState.load(tmp_path / "none")


def test_a_result_keeps_where_it_came_from(tmp_path, digits, command):
    result = samebit.run(digits, "softmax", epochs=1, workers="here")
    path = tmp_path / "state.safetensors"
    result.save(path)
    np.savez(tmp_path / "x.npz", x_train=digits[0], y_train=digits[1])
    said = command("evaluate", path, "--dataset", tmp_path / "x.npz", "--local", 1, "--json")
    assert result.digest in said
    evaluated = samebit.evaluate(path, digits)
    assert evaluated.digest == result.digest == NetworkState.load(path).digest()


def test_dictionaries_of_torch():
    class Tensor:
        dtype = "torch.float32"

        def detach(self):
            return self

        def cpu(self):
            return np.ones((2, 2), "float32")

    assert NetworkState({"fc.weight": Tensor()})["fc.weight"].sum() == 4


@pytest.mark.parametrize(
    "value", [np.array([object()]), ["a"], [np.nan], [1j], [[1], [1, 2]], None, "text"]
)
def test_what_is_no_tensor(value):
    with pytest.raises(InputError, match="expected"):
        NetworkState(a=value).digest()


@pytest.mark.parametrize("name", ["", "a b", "x" * 200, "ü"])
def test_names(name):
    with pytest.raises(InputError, match="tensor name"):
        NetworkState({name: [1.0]}).digest()
