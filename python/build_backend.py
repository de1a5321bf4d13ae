"""Builds the program `samebit`, then the wheel by maturin, which puts the program into it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import maturin

HERE = Path(__file__).resolve().parent
# The files in it are installed as commands. maturin wants it to be there even to write metadata.
SCRIPTS = HERE / "samebit.data" / "scripts"
SCRIPTS.mkdir(parents=True, exist_ok=True)

build_sdist = maturin.build_sdist
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_editable = maturin.get_requires_for_build_editable
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable


def _build_program():
    """Puts the program where maturin finds it."""
    command = ["cargo", "build", "--release", "-p", "samebit-python", "--bin", "samebit-of-wheel"]
    command += ["--features", "parquet,program", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    programs = [it["executable"] for it in messages if it.get("executable")]
    shutil.copy2(programs[-1], SCRIPTS / "samebit")
    os.chmod(SCRIPTS / "samebit", 0o755)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _build_program()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _build_program()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
