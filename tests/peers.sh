#!/usr/bin/env bash
# Measures Samebit beside other tools, in one run and by turns. Installs and builds what
# it needs; what it cannot get is not measured, and then it ends with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<END
Measures Samebit beside MPI, gloo, numpy and a bare TCP star in C, and prints tables in
Markdown.

Usage: tests/peers.sh [OPTION]...
       .ci/run --peers [OPTION]...

The options are those of \`bench peers\`, without \`--tools\`:
  --mnist FOLDER   the files of MNIST (idx); without it, MNIST is left out
  --old FOLDER     the program \`bench\` of another build, which is measured too
  --turns N        turns of each comparison [default: 5]
  --only PARTS     exchange, small, memory, mlp, spiking [default: all]

Examples:
  tests/peers.sh --only exchange --turns 3
  tests/peers.sh --mnist mnist --old ../before/target/release

Installs Open MPI with apt, if it is missing and this is root, and numpy and PyTorch (which
has gloo) with pip into the target folder. PyTorch takes several GB there. All of it together
measures for about half an hour.
END
}
case ${1-} in --help | -h) usage && exit ;; esac

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/peers
mkdir -p "$tools"
# A failed build leaves no tool of an earlier one to be measured.
rm -f "$tools/star" "$tools/allreduce_mpi"

# get WHAT COMMAND… : says so if what is needed cannot be had.
get() {
    local what=$1 log=$tools/log
    shift
    "$@" >"$log" 2>&1 || { echo "cannot be had: $what ($*): $(tail -n 1 "$log")" >&2; }
}
open_mpi() {
    if ! { command -v mpicc && command -v mpirun; } then
        apt-get -qq update
        apt-get -qq install --yes openmpi-bin libopenmpi-dev
    fi
}
python_packages() {
    [ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv" || return
    "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch
}

get "Open MPI" open_mpi
get "the star" cc -O3 -pthread tests/peers/star.c -o "$tools/star"
get "MPI's allreduce" mpicc -O3 tests/peers/allreduce_mpi.c -o "$tools/allreduce_mpi"
get "numpy and PyTorch" python_packages

cargo run --locked --quiet --release -p tests --bin bench -- peers --tools "$tools" "$@" |
    tee "$tools/tables.md"
{
    mpirun --version | head -n 1
    cc --version | head -n 1
    "$tools/venv/bin/python" -c 'import numpy, torch
print("numpy", numpy.__version__, "and torch", torch.__version__)'
} 2>/dev/null || true
if grep --quiet 'not measured' "$tools/tables.md"; then
    echo "Not everything was measured: the tables say what is missing, and why." >&2
    exit 1
fi
