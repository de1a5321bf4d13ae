"""The package in its process: threads, forks, signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import samebit


def script(text, **more):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, **more
    )


def test_an_import_starts_no_thread():
    done = script(
        "import numpy, os; before = len(os.listdir('/proc/self/task')); import samebit;"
        "samebit.NetworkState(a=[1.0]); samebit.models.names();"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    assert done.stdout.strip() == "0", done.stderr


def test_a_fork_after_use_is_an_error_and_no_hang():
    text = """
import os, samebit
state = samebit.NetworkState(a=[1.0])
state.digest()
run = samebit.submit("digits", "softmax", epochs=100, workers="here")
if os.fork() == 0:
    found = []
    for call in [state.digest, run.result, lambda: samebit.run("digits", "softmax", workers="here")]:
        try:
            call()
        except samebit.ForkError as error:
            found.append("spawn" in str(error))
    print(found, flush=True)
    os._exit(0)
os.wait()
run.cancel()
"""
    done = script(text)
    assert done.stdout.strip() == "[True, True, True]", done.stderr


def test_a_fork_before_use_works():
    text = """
import os, samebit
if os.fork() == 0:
    print(len(samebit.NetworkState(a=[1.0]).digest()), flush=True)
    os._exit(0)
os.wait()
print(len(samebit.NetworkState(a=[1.0]).digest()))
"""
    assert script(text).stdout.split() == ["64", "64"]


@pytest.mark.parametrize("workers", ["here", "local:2"])
def test_ctrl_c_ends_a_script(workers):
    text = f"""
import samebit
try:
    for event in (run := samebit.submit("digits", "softmax", epochs=100_000, workers={workers!r})).events():
        if isinstance(event, samebit.events.Round):
            break
    run.result(progress=True)
except KeyboardInterrupt:
    print("interrupted", run.status, flush=True)
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", text], **pipes, text=True)
    # It waits for the end once it shows progress.
    assert process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted cancelled\n"


def test_the_program_is_beside_python(command):
    assert command("--version").strip()
    assert Path(sys.executable).with_name("samebit").is_file()


def test_it_says_its_types():
    folder = Path(samebit.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "_samebit.pyi").is_file()


def test_all_names_are_there():
    for name in samebit.__all__:
        assert getattr(samebit, name) is not None
    assert os.environ.get("SAMEBIT_COORDINATOR") is None
