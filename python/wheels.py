"""Builds the wheels of a release, for any Linux with glibc 2.17 or later (manylinux2014), with the C
compiler of zig:

    pip install maturin ziglang
    python python/wheels.py --out dist x86_64 aarch64

Says so where one cannot be built because Rust has not its target (`rustup target add`)."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from build_backend import HERE, SCRIPTS

# The oldest glibc that a program may need.
GLIBC = (2, 17)
# The profile of cargo for what is released.
PROFILE = "wheel"
# Most bytes of a wheel of it.
BYTES = 15_000_000
# The program in a wheel that has nothing else.
PROGRAM = "/scripts/samebit-of-wheel"
TAG = "cp311-abi3-manylinux2014_{arch}.manylinux_2_17_{arch}"


def is_installed(target: str) -> bool:
    """Whether Rust has the standard library for a target."""
    ask = ["rustc", "--print", "target-libdir", "--target", target]
    said = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(said.strip()).is_dir()


def maturin(target: str, profile: str, out: Path, flags: list[str]) -> Path:
    """A wheel for a target."""
    command = ["maturin", "build", "--locked", "--zig", "--target", target, "--profile", profile]
    command += ["--compatibility", "manylinux2014", "--out", str(out), *flags]
    subprocess.run(command, cwd=HERE, check=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def build(target: str, profile: str, out: Path) -> Path:
    """Builds the wheel for a target: the program first, which then is in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        SCRIPTS.joinpath("samebit").unlink(missing_ok=True)
        flags = ["--bindings", "bin", "--features", "parquet,program"]
        program = maturin(target, profile, Path(folder, "program"), flags)
        with zipfile.ZipFile(program) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(PROGRAM))
            SCRIPTS.joinpath("samebit").write_bytes(archive.read(name))
        SCRIPTS.joinpath("samebit").chmod(0o755)
        wheel = maturin(target, profile, Path(folder, "wheel"), [])
        return Path(shutil.copy2(wheel, out))


def problems(wheel: Path, arch: str, profile: str) -> list[str]:
    """What is wrong with a wheel. Other profiles may make larger ones."""
    found = []
    if not wheel.stem.endswith(TAG.format(arch=arch)):
        found.append(f"expected the tag {TAG.format(arch=arch)}")
    if profile == PROFILE and wheel.stat().st_size > BYTES:
        found.append(f"expected at most {BYTES} bytes, found {wheel.stat().st_size}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for wanted in ("scripts/samebit", "samebit/_samebit.abi3.so", "samebit/py.typed"):
            files = [name for name in names if name.endswith(wanted)]
            if not files:
                found.append(f"expected {wanted}, found none in it")
                continue
            needed = re.findall(rb"GLIBC_(\d+)\.(\d+)", archive.read(files[0]))
            newest = max(((int(major), int(minor)) for major, minor in needed), default=GLIBC)
            if newest > GLIBC:
                found.append(f"{wanted} needs glibc {newest[0]}.{newest[1]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("arch", nargs="*", default=["x86_64", "aarch64"], help="x86_64, aarch64")
    parser.add_argument("--profile", default=PROFILE, help=f"profile of cargo ({PROFILE})")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the wheels (dist)")
    flags = parser.parse_args()
    out = flags.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    status = 0
    for arch in flags.arch:
        target = f"{arch}-unknown-linux-gnu"
        if not is_installed(target):
            print(f"not tried: the wheel for {arch}, as Rust has no {target}: rustup target add {target}")
            continue
        wheel = build(target, flags.profile, out)
        print(f"{wheel}: {wheel.stat().st_size} bytes")
        for problem in problems(wheel, arch, flags.profile):
            print(f"{wheel.name}: {problem}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
