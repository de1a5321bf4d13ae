"""What docs/PYTHON.md and README.md show works."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


@pytest.mark.parametrize("name", ["docs/PYTHON.md", "README.md"])
def test_examples(name, tmp_path, monkeypatch, capsys, digits):
    monkeypatch.chdir(tmp_path)
    names = {}
    if name == "README.md":
        import numpy as np

        import samebit

        names = {
            "NetworkState": samebit.NetworkState,
            "ParallelBatchProcessor": samebit.ParallelBatchProcessor,
            "training_data": digits[0],
            "training_labels": digits[1],
            "current_weights": np.ones((16, 20)),
            "current_theta": np.full(20, 20.0),
        }
    found = blocks(name)
    assert found
    for block in found:
        exec(block, names)
    said = capsys.readouterr().out
    digest = re.search(r"[0-9a-f]{64}", (ROOT / "README.md").read_text()).group(0)
    assert name == "README.md" or digest in said


def test_the_seed_is_in_the_document():
    seed = (Path(__file__).parent / "seed.txt").read_text()
    assert seed in (ROOT / "docs/PYTHON.md").read_text()
