"""Bad input is an exception that says what to change, and never the end of the interpreter."""

import random

import numpy as np
import pytest

import samebit
from samebit import InputError, NetworkState, ParallelBatchProcessor

GOOD = np.ones((6, 4), "float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])
CALLS = 10_000


@pytest.mark.parametrize(
    "features, labels, expected",
    [
        (np.full((6, 4), np.nan), LABELS, "example 0, feature 0.*NaN"),
        (np.full((6, 4), np.inf), LABELS, "example 0, feature 0"),
        (np.full((6, 4), 1e300), LABELS, "scale the features"),
        (np.full((6, 4), "a"), LABELS, "expected numbers"),
        (np.full((6, 4), None), LABELS, "expected numbers"),
        (GOOD * 1j, LABELS, "expected numbers"),
        (GOOD[:0], LABELS[:0], "examples, features"),
        (np.float32(1), LABELS, "examples, features"),
        (np.ones((6, 0), "float32"), LABELS, "examples of 1 to"),
        ([[1], [1, 2]], LABELS, "expected"),
        (GOOD, LABELS[:5], "6 of them, one for each example"),
        (GOOD, np.ones((6, 3)), "argmax"),
        (GOOD, LABELS + 1, "labels"),
        (GOOD, np.full(6, np.nan), "labels, example 0"),
        (GOOD, np.array([0, 1, 2, None, 1, 2], object), "object array"),
        (GOOD, None, "label"),
        (np.ma.masked_array(GOOD, GOOD > 0), LABELS, "masked"),
    ],
)
def test_examples(features, labels, expected):
    params = {"classes": 3}
    with pytest.raises(InputError, match=f"(?s){expected}"):
        ParallelBatchProcessor(model="softmax").run_parallel(features, labels, None, params)


def test_a_state_of_another_model():
    state = NetworkState(weights=np.ones((4, 3)), theta=np.ones(3))
    with pytest.raises(InputError, match="lacks.*layer1"):
        ParallelBatchProcessor(model="mlp").run_parallel(GOOD, LABELS, state)
    with pytest.raises(InputError, match="expected shape"):
        ParallelBatchProcessor(model="softmax").run_parallel(
            GOOD, LABELS, NetworkState(weights=np.ones((5, 3)), bias=np.ones(3))
        )


def choices():
    """Values of every kind, good and bad."""
    return [
        None, True, 0, 1, -1, 2**70, 0.5, float("nan"), float("inf"), "", "softmax", "digits", "a:1",
        b"bytes", (), [], {}, [1, 2], [[1.0]], (1, 2, 3), {"a": 1}, {"weights": [1.0]}, object(), int,
        GOOD, GOOD.T, GOOD[::2], GOOD.astype("float16"), GOOD.astype(">f8"), GOOD * np.nan,
        GOOD.astype(object), GOOD.astype("U"), np.empty((0, 4)), np.empty((6, 0)), np.float32(3),
        np.array("x"), np.zeros((1, 1, 1, 1, 1, 1, 1, 1, 1)), np.array(["2020-01-01"], "M8[D]"),
        np.zeros(3, [("a", "f4"), ("b", "i4")]), LABELS, LABELS.astype("uint8"), LABELS - 5,
        NetworkState(), NetworkState(weights=GOOD, bias=np.ones(4)), NetworkState(theta=[1.0]),
    ]  # fmt: skip


def test_ten_thousand_random_calls():
    draw = random.Random(15)
    values = choices()

    def any_of():
        return draw.choice(values)

    calls = [
        lambda: NetworkState(a=any_of(), b=any_of()).digest(),
        lambda: NetworkState(any_of()),
        lambda: NetworkState({draw.choice(["n", "", 3, None, b"x", (1,)]): GOOD}).digest(),
        lambda: ParallelBatchProcessor(any_of(), any_of()),
        lambda: ParallelBatchProcessor(
            2, 3, model=draw.choice(["softmax", "mlp", any_of()])
        ).run_parallel(
            draw.choice([GOOD, any_of()]),
            draw.choice([LABELS, any_of()]),
            draw.choice([None, any_of()]),
            draw.choice(
                [None, {draw.choice(["epochs", "classes", "seed", "scale"]): any_of()}, any_of()]
            ),
        ),
        lambda: ParallelBatchProcessor(1, 3, model="softmax").process_batch(
            draw.choice([GOOD, any_of()]), draw.choice([LABELS, any_of()]), any_of()
        ),
        lambda: samebit.predict(any_of(), any_of(), workers="here"),
        lambda: samebit.models.DiehlAndCook2015(any_of(), any_of()),
    ]
    # What is wrong with most arguments is found at once; some make whole runs.
    weights = [30, 10, 10, 20, 2, 2, 3, 10]
    done = failed = 0
    for call in draw.choices(calls, weights, k=CALLS):
        try:
            call()
            done += 1
        except samebit.SamebitError:
            failed += 1
    assert done > CALLS / 50 and failed > CALLS / 10, (done, failed)
