"""Times runs from Python beside the same runs from the command line, by turns:

    python python/tests/speed.py 5

Both are whole processes, from their start to their end, and must print one digest."""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("samebit")
# Model, its parameters, epochs.
RUNS = [
    ("softmax", {}, 100),
    ("mlp", {"hidden": [128]}, 60),
    ("spiking", {"neurons": 400}, 10),
]


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds of a process, and the digest that it prints."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, re.search(r"[0-9a-f]{64}", done.stdout).group(0)


def commands(model: str, parameters: dict[str, object], epochs: int) -> tuple[list[str], list[str]]:
    flags = [f"--set=parameters.{name}={value}" for name, value in parameters.items()]
    line = [str(PROGRAM), "run", "--quiet", "--local", "2", "--model", model, "--epochs", str(epochs), *flags]
    call = f"samebit.run('digits', {model!r}, epochs={epochs}, workers='local:2', **{parameters!r})"
    return line, [sys.executable, "-c", f"import samebit; print({call}.digest)"]


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("model, median seconds from the command line and from Python, median of the ratios")
    for model, parameters, epochs in RUNS:
        line, python = commands(model, parameters, epochs)
        lines, pythons = [], []
        for turn in range(turns):
            # Neither is always the first.
            pairs = [(line, lines), (python, pythons)]
            for command, found in pairs if turn % 2 == 0 else reversed(pairs):
                found.append(timed(command))
        assert len({digest for _, digest in lines + pythons}) == 1, "one digest"
        ratios = [ours[0] / theirs[0] for ours, theirs in zip(pythons, lines)]
        medians = [statistics.median(seconds for seconds, _ in found) for found in (lines, pythons)]
        print(f"{model:8} {medians[0]:6.2f} {medians[1]:6.2f} {statistics.median(ratios):5.2f}")


if __name__ == "__main__":
    main()
