"""What is shipped: the wheel, built from the source distribution, works in an environment without this checkout."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import realtime_svc

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300
COMPILED = f"realtime_svc/transports/_kernel{sysconfig.get_config_var('EXT_SUFFIX')}"
# twistd's own script is in the environment that has Twisted; this is what it does.
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
NOT_SOURCE = shutil.ignore_patterns(
    *(".*", "*.egg-info", "*.pyc", "*.so", "__pycache__", "_trial_temp*", "build", "dist", "dropin.cache"),
    *("node_modules", "var"),
)


class Shipped(NamedTuple):
    """What the build made, and a fresh environment with the wheel in it. `elsewhere` is an empty directory."""

    sdist: Path
    wheel: Path
    environment: Path
    elsewhere: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the fresh environment from `elsewhere`; the checkout is on no path."""
        program = self.environment / "bin" / command[0]
        return run(str(program), *command[1:], cwd=self.elsewhere)


def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without what the environment would tell Python, pip and coverage; with `variables`."""
    foreign = ("PYTHON", "PIP_", "COVERAGE_", "VIRTUAL_ENV")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return subprocess.run(
        command, cwd=cwd, env=environ | variables, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def run_well(*command: str, cwd: Path) -> str:
    """Run a program that has to succeed; its output."""
    done = run(*command, cwd=cwd)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@functools.cache
def shipped() -> Shipped:
    """Built once a test run, from a copy, so that the checkout stays as it is. Nothing is fetched from anywhere."""
    base = Path(tempfile.mkdtemp(prefix="realtime_svc-packaging-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    source, dist, elsewhere = base / "source", base / "dist", base / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    shutil.copytree(ROOT / ".ci", source / ".ci")
    run_well(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source), cwd=elsewhere)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    return Shipped(sdist, wheel, make_environment(base / "environment", wheel), elsewhere)


def make_environment(where: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel installed by pip; the libraries are those of this one.

    They are found through a line in a .pth file. The .pth files beside them are not read then, and with them the one
    by which this environment finds the checkout.
    """
    venv.create(where, with_pip=False, symlinks=True)
    python = str(where / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    run_well(*pip, "--quiet", "--no-index", "--no-deps", str(wheel), cwd=where)
    paths = sysconfig.get_paths()
    libraries = run_well(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=where).strip()
    Path(libraries, "libraries.pth").write_text("\n".join({paths["purelib"], paths["platlib"]}) + "\n")
    return where


def modules_of_the_checkout() -> set[str]:
    """Every module that has to be in the wheel, as a path, with types and sources of what is generated."""
    package = ROOT / "realtime_svc"
    kinds = ("*.py", "*.pyi", "*.proto")
    paths = [*(path for kind in kinds for path in package.rglob(kind)), *(ROOT / "twisted").rglob("*.py")]
    return {path.relative_to(ROOT).as_posix() for path in paths}


def names_in(wheel: Path) -> set[str]:
    """The files of a wheel without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


class WheelTests(SynchronousTestCase):
    """What is in the wheel."""

    def test_holds_every_module_the_compiled_part_the_plugin_and_the_type_marker_and_nothing_else(self) -> None:
        names = names_in(shipped().wheel)
        self.assertIn("twisted/plugins/realtime_svc_plugin.py", names)
        self.assertEqual(modules_of_the_checkout() | {"realtime_svc/py.typed", COMPILED}, names)

    def test_builds_without_a_compiler_and_says_so(self) -> None:
        """From the source distribution, as an installation from an index does it. Nothing is compiled then."""
        with (
            tempfile.TemporaryDirectory(prefix="realtime_svc-no-compiler-") as where,
            tarfile.open(shipped().sdist) as sdist,
        ):
            sdist.extractall(where)  # our own
            (source,) = Path(where).iterdir()
            command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", where, str(source))
            done = run(*command, cwd=Path(where), CC="false", LDSHARED="false")
            self.assertEqual(0, done.returncode, done.stderr)
            (wheel,) = Path(where).glob("*.whl")
            names = names_in(wheel)
        self.assertIn("the compiled part could not be built", done.stdout + done.stderr)
        self.assertEqual(modules_of_the_checkout() | {"realtime_svc/py.typed"}, names)

    def test_metadata_is_that_of_the_project(self) -> None:
        wheel = shipped().wheel
        python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
        self.assertTrue(
            wheel.name.startswith(f"realtime_svc-{realtime_svc.__version__}-{python}-{python}-"), wheel.name
        )
        with zipfile.ZipFile(wheel) as archive:
            info = f"realtime_svc-{realtime_svc.__version__}.dist-info"
            lines = archive.read(f"{info}/METADATA").decode().splitlines()
            entry_points = archive.read(f"{info}/entry_points.txt").decode()
        self.assertIn("Requires-Python: >=3.11", lines)
        self.assertTrue(any(line.startswith("Requires-Dist: twisted") for line in lines), lines)
        self.assertIn("realtime-svc = realtime_svc.cli:main", entry_points)


class SourceDistributionTests(SynchronousTestCase):
    """What is in the source distribution: enough to run and to test from it."""

    def test_holds_samples_tests_and_locks(self) -> None:
        with tarfile.open(shipped().sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        expected = {
            *("Makefile", "README.md", "pyproject.toml", "setup.py", ".ci/run", "requirements/run.lock"),
            *("etc/realtime_svc.toml", "tests/test_packaging.py", "tests/integration/node/package-lock.json"),
            "realtime_svc/transports/_kernel.c",
        }
        self.assertEqual(set(), expected - names)
        unwanted = [name for name in names if "node_modules" in name or name.endswith((".pyc", ".so", "dropin.cache"))]
        self.assertEqual([], unwanted)


class InstalledTests(SynchronousTestCase):
    """The wheel in a fresh environment."""

    def test_code_is_the_wheels_and_not_the_checkouts(self) -> None:
        program = "import json, realtime_svc.errors as e, sys; print(json.dumps([e.__file__, sys.path]))"
        done = shipped().run("python", "-c", program)
        self.assertEqual(0, done.returncode, done.stderr)
        file, path = json.loads(done.stdout)
        self.assertTrue(Path(file).is_relative_to(shipped().environment), file)
        self.assertNotIn(str(ROOT), path)

    def test_compiled_part_is_the_wheels_and_is_chosen(self) -> None:
        program = (
            "from realtime_svc.transports import _kernel; from realtime_svc.transports.kernel import choose;"
            " print(_kernel.__file__, choose('auto').name)"
        )
        done = shipped().run("python", "-c", program)
        self.assertEqual(0, done.returncode, done.stderr)
        file, name = done.stdout.split()
        self.assertTrue(Path(file).is_relative_to(shipped().environment), file)
        self.assertEqual("compiled", name)

    def test_twistd_knows_the_plugin_and_shows_its_options(self) -> None:
        for arguments, expected in ((["--help"], "realtime_svc"), (["realtime_svc", "--help"], "--config")):
            done = shipped().run("python", "-c", TWISTD, *arguments)
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn(expected, done.stdout)

    def test_command_shows_its_help(self) -> None:
        done = shipped().run("realtime-svc", "--help")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("config", done.stdout)


class LockTests(SynchronousTestCase):
    """The locks hold what the metadata asks for, and nothing that only one machine has."""

    def test_every_dependency_is_locked_with_hashes(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        groups = project["dependency-groups"]
        wanted = {
            "run": project["project"]["dependencies"] + groups["install"],
            "dev": project["project"]["dependencies"] + groups["install"] + groups["dev"],
        }
        for name, ranges in wanted.items():
            pins = locked(name)
            missing = {canonical(item) for item in ranges} - {canonical(pin) for pin in pins}
            self.assertEqual(set(), missing, name)
            self.assertEqual([], [pin for pin, hashes in pins.items() if not hashes], name)

    def test_development_uses_what_runs(self) -> None:
        run_pins, dev_pins = locked("run"), locked("dev")
        self.assertGreater(len(run_pins), 10)
        self.assertEqual(run_pins, {pin: dev_pins.get(pin) for pin in run_pins})

    def test_no_lock_names_an_index(self) -> None:
        paths = [*(ROOT / "requirements").glob("*.lock"), ROOT / "tests/integration/node/package-lock.json"]
        self.assertEqual(3, len(paths))
        for path in paths:
            text = path.read_text()
            self.assertEqual([], [word for word in ("://", "--index", "--extra-index", "--find-links") if word in text])


def canonical(requirement: str) -> str:
    """The project a requirement names, such as `pyjwt` for `PyJWT[crypto]>=2`."""
    name = requirement
    for end in "[<>=!~; ":
        name = name.partition(end)[0]
    return name.lower().replace("_", "-")


def locked(name: str) -> dict[str, set[str]]:
    """A lock: hashes by pin, such as `twisted==26.10.0` (with its marker, if it has one)."""
    pins: dict[str, set[str]] = {}
    pin = ""
    for line in (ROOT / f"requirements/{name}.lock").read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            pin = line.rstrip(" \\")
            pins[pin] = set()
        elif line.startswith("    --hash=sha256:"):
            pins[pin].add(line.strip(" \\"))
    return pins
