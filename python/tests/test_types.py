"""The types of the package are right, and those of the extension module are what it has."""

import subprocess
import sys


def module(*args, **more):
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], capture_output=True, text=True, **more
    )


def test_types(tmp_path):
    done = module("mypy", "--strict", "-p", "samebit", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_of_the_extension_module(tmp_path):
    done = module("mypy.stubtest", "samebit._samebit", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
