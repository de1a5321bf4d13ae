"""What the tests share: the digits, the command line, and clusters."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(sys.executable).with_name("samebit")


@pytest.fixture(scope="session")
def digits():
    """Two classes of points in 16 dimensions, from 0 to 1, in four hundred examples."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 4, 400)
    centres = random.random((4, 16))
    features = np.clip(centres[labels] + random.normal(0, 0.2, (400, 16)), 0, 1)
    return features.astype("float32"), labels


@pytest.fixture
def command():
    """Runs `samebit` with arguments; gives its output."""

    def run(*args, **more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SAMEBIT_")}
        done = subprocess.run(
            [PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def digest_of(command):
    """The final digest of `samebit run` with arguments."""

    def run(*args):
        lines = command("run", "--local", 2, "--json", *args).splitlines()
        return json.loads(lines[-1])["digest"]

    return run


class Cluster:
    """A coordinator, and workers that can be killed."""

    def __init__(self, folder, keys):
        self.folder, self.workers = folder, []
        self.keys = None
        if keys:
            subprocess.run(
                [PROGRAM, "keys", "new", "cluster.pem"], cwd=folder, check=True, capture_output=True
            )
            self.keys = str(folder / "cluster.pem")
        self.flags = ["--keys", self.keys] if keys else []
        self.coordinator = subprocess.Popen(
            [PROGRAM, "serve", "--listen", "127.0.0.1:0", *self.flags],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        self.address = self._address()

    def _address(self):
        for line in self.coordinator.stderr:
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found:
                return found.group(0)
        raise AssertionError("the coordinator said no address")

    def add_worker(self):
        worker = subprocess.Popen(
            [PROGRAM, "worker", "--coordinator", self.address, *self.flags],
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self.workers.append(worker)
        return worker

    def stop(self):
        for process in [*self.workers, self.coordinator]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    """Starts a cluster; `cluster(2, keys=True)`."""
    started = []

    def start(workers, keys=False):
        found = Cluster(tmp_path, keys)
        started.append(found)
        for _ in range(workers):
            found.add_worker()
        return found

    yield start
    for found in started:
        found.stop()
