"""The kernel, compiled in a checkout and in an image's build; and the locks."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.containers import missing

ROOT = Path(__file__).resolve().parents[1]
#: What the scripts run besides a compiler and Python.
TOOLS = ("cat", "cmp", "dirname", "mktemp", "mv", "rm", "sh", "uname")
KERNEL, LIBRARY = "handler/kernel", "handler/kernel/libkernel.so"
SOURCES = ("kernel.c", "numbers.c", "quotes.c", "rows.c", "trees.c")
NOT_COMPILED = (
    f"make: {KERNEL} was not compiled; a C compiler is needed, such as gcc and libc6-dev of Debian\n"
)
#: A Python whose pip and zig write down what they are asked for; zig writes the library.
PYTHON = """#!/bin/sh
echo "$*" >>asked.txt
case "$*" in
*"-m pip install"*) [ -z "$FAILS" ] || { echo "ERROR: no such wheel" >&2; exit 1; } ;;
*"-m ziglang cc"*)
    while [ "$1" != -o ]; do shift; done
    echo library >"$2" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts, the source, and an environment that holds its lock; no compiler is on its ``bin``."""
    for name in ("containers", "requirements", KERNEL, ".venv/bin", "bin"):
        (tmp_path / name).mkdir(parents=True)
    sources = (f"{KERNEL}/{name}" for name in SOURCES)
    for name in ("containers/compile.sh", "requirements/install.sh", *sources):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("requirements/train.txt", ".venv/installed.txt"):
        (tmp_path / name).write_text("numpy==1\n")
    command(tmp_path / ".venv" / "bin" / "python", "#!/bin/sh\n")
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def command(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


def run(checkout: Path, *words: str, **env: str) -> tuple[int, str]:
    """The exit code, and what is printed on both streams; with the checkout's ``bin`` as the path."""
    environ = {"PATH": str(checkout / "bin"), "FAILS": "", **env}
    done = subprocess.run(
        words, cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def compiled(checkout: Path, *lock: str, **env: str) -> tuple[int, str]:
    return run(checkout, "containers/compile.sh", KERNEL, *lock, **env)


def made(checkout: Path) -> list[str]:
    """What stands beside the sources."""
    return sorted({each.name for each in (checkout / KERNEL).iterdir()} - {*SOURCES})


@pytest.fixture
def cc() -> dict[str, str]:
    """The environment with the machine's own compiler."""
    if shutil.which("cc") is None:
        missing("there is no C compiler: apt-get install gcc libc6-dev")
    return {"PATH": os.environ["PATH"]}


def test_the_kernel_is_compiled_without_a_warning_and_again_only_when_it_changes(
    checkout: Path, cc: dict[str, str]
) -> None:
    first = (0, f"compiled {LIBRARY} with cc\n")
    assert compiled(checkout, **cc) == first
    assert made(checkout) == ["libkernel.so", "libkernel.so.from"]
    ctypes.CDLL(str(checkout / LIBRARY))
    assert compiled(checkout, **cc) == (0, "")
    for changed in (*(f"{KERNEL}/{name}" for name in SOURCES), "containers/compile.sh"):
        before = (checkout / changed).stat()
        with (checkout / changed).open("a") as file:
            file.write("\n")
        os.utime(checkout / changed, (before.st_atime, before.st_mtime))  # as an unpacked archive has it
        assert compiled(checkout, **cc) == first
    (checkout / LIBRARY).unlink()
    assert compiled(checkout, **cc) == first


def test_what_cannot_be_compiled_leaves_no_library_of_an_older_source(
    checkout: Path, cc: dict[str, str]
) -> None:
    compiled(checkout, **cc)
    (checkout / KERNEL / "rows.c").write_text("int broken(\n")
    code, said = compiled(checkout, **cc)
    assert code == 1
    assert "error:" in said
    assert said.endswith(NOT_COMPILED)
    assert made(checkout) == []


def test_installing_compiles_the_kernel_once(checkout: Path, cc: dict[str, str]) -> None:
    assert run(checkout, "requirements/install.sh", "train", **cc) == (0, f"compiled {LIBRARY} with cc\n")
    assert run(checkout, "requirements/install.sh", "train", **cc) == (0, "")


def test_installing_goes_on_without_a_compiler_and_without_a_word(checkout: Path) -> None:
    assert run(checkout, "requirements/install.sh", "train") == (0, "")
    assert made(checkout) == []


def test_installing_goes_on_where_the_compiler_fails_and_says_so(checkout: Path) -> None:
    command(checkout / "bin" / "cc", "#!/bin/sh\necho 'cc: no headers' >&2\nexit 1\n")
    code, said = run(checkout, "requirements/install.sh", "train")
    assert code == 0
    assert said.splitlines() == [
        "cc: no headers",
        NOT_COMPILED.strip(),
        "make: it goes on without, and scores tables more slowly",
    ]
    assert made(checkout) == []


@pytest.mark.parametrize("failing_cc", [False, True])
def test_an_image_without_a_compiler_has_zig_compile(checkout: Path, failing_cc: bool) -> None:
    """For any processor: the image runs on others than the one that builds it."""
    command(checkout / "bin" / "python", PYTHON)
    if failing_cc:
        command(checkout / "bin" / "cc", "#!/bin/sh\nexit 1\n")
    assert compiled(checkout, "lock.txt") == (0, f"compiled {LIBRARY} with zig\n")
    assert made(checkout) == ["libkernel.so", "libkernel.so.from"]
    installed, asked = (checkout / "asked.txt").read_text().splitlines()
    assert {"--require-hashes", "--only-binary", "lock.txt"} <= set(installed.split())
    assert {"-mcpu=baseline", "-ffp-contract=off"} <= set(asked.split())


def test_an_image_that_cannot_compile_ends_with_what_is_needed(checkout: Path) -> None:
    command(checkout / "bin" / "python", PYTHON)
    code, said = compiled(checkout, "lock.txt", FAILS="1")
    assert (code, said) == (1, f"ERROR: no such wheel\n{NOT_COMPILED}")
    assert made(checkout) == []


def test_sums_are_compiled_neither_for_one_processor_nor_with_other_roundings() -> None:
    words = (ROOT / "containers" / "compile.sh").read_text().split()
    assert not {"-march=native", "-mcpu=native", "-ffast-math", "-Ofast"} & {*words}


def test_every_lock_is_made_of_its_file_has_hashes_and_names_no_index() -> None:
    folder = ROOT / "requirements"
    locks = sorted(folder.glob("*.txt"))
    assert {each.stem for each in locks} == {each.stem for each in folder.glob("*.in")} - {"constraints"}
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock
        assert "index" not in re.sub(r"^#.*", "", text, flags=re.M), lock
        pins = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
        assert all(re.match(r"[a-z0-9-]+==\S+", pin) and "--hash=sha256:" in pin for pin in pins), lock
