"""The types of the package are right, and those of the extension module are what it has."""

import subprocess
import sys
from pathlib import Path

import samebit


def module(*args, **more):
    return subprocess.run([sys.executable, "-m", *map(str, args)], capture_output=True, text=True, **more)


def test_types(tmp_path):
    package = Path(samebit.__file__).parent
    done = module("mypy", "--strict", package, "--cache-dir", tmp_path / "cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_of_the_extension_module(tmp_path):
    done = module("mypy.stubtest", "samebit._samebit", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
