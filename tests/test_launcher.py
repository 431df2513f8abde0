"""The launcher ./glassbox, run for real in small trees: fast path, set-up, bad luck, and the lock files.

A small tree has the real launcher, a program of a few lines instead of Glassbox, and a lock with one tiny wheel that
the test itself builds: so pip, hashes and environments are real, and nothing comes from the network.
"""

import base64
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = ROOT / "glassbox"
LATER_START_BAR_S = 0.3
LIMIT_S = 300
PROGRAM = """
import json, os, sys
import app, pebble
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "app": app.__file__, "pebble": pebble.WEIGHT}))
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A directory with one real wheel: the package pebble, a module with one constant."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    files = {
        "pebble.py": b"WEIGHT = 7\n",
        "pebble-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: pebble\nVersion: 1.0\n",
        "pebble-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files["pebble-1.0.dist-info/RECORD"] = "\n".join([*record, "pebble-1.0.dist-info/RECORD,,", ""]).encode()
    with zipfile.ZipFile(directory / "pebble-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return directory


@pytest.fixture
def tree(tmp_path: Path, wheels: Path) -> Path:
    """A small tree, in a path with spaces, whose lock asks for that wheel."""
    root = tmp_path / "a small tree"
    (root / "app").mkdir(parents=True)
    shutil.copy2(LAUNCHER, root / "glassbox")
    (root / "app" / "__init__.py").touch()
    (root / "app" / "__main__.py").write_text(PROGRAM)
    digest = hashlib.sha256((wheels / "pebble-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (root / "requirements.lock").write_text(f"pebble==1.0 \\\n    --hash=sha256:{digest}\n")
    shutil.copy2(root / "requirements.lock", root / "requirements-test.lock")
    return root


@pytest.fixture(scope="module")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("environment") / ".venv"
    assert run([sys.executable, "-m", "venv", made], environment()).returncode == 0
    return made


@pytest.fixture
def furnished(tree: Path, _made_once: Path) -> Path:
    """The small tree with an environment that has pip alone: what is tested begins where packages are installed."""
    shutil.copytree(_made_once, tree / ".venv", symlinks=True)
    return tree


def environment(**extra: str) -> dict[str, str]:
    """What the launcher sees: this machine's PATH and home, and of pip's settings only the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COVERAGE_"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", **extra}


def with_wheels(wheels: Path) -> dict[str, str]:
    return environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))


def run(command: list[str | Path], env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(tree: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [tree / "glassbox"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl+C, and so would what it starts.
        preexec_fn=_interruptible,  # noqa: PLW1509 - it touches nothing that another thread may hold
    )


def processor_time_s(command: list[str | Path]) -> float:
    """What a command and its children take: it is the same however busy the machine is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(command, environment()).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_first_start_sets_up_and_later_starts_only_start(tree: Path, wheels: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "app").mkdir(parents=True)  # a package of the same name where the user happens to be
    (elsewhere / "app" / "__init__.py").touch()
    first = run([tree / "glassbox", "run", "two words"], with_wheels(wheels), cwd=elsewhere)
    assert first.returncode == 0, first.stderr
    assert "first start" in first.stderr
    assert json.loads(first.stdout) == {
        "argv": ["run", "two words"],
        "cwd": str(elsewhere),
        "app": str(tree / "app" / "__init__.py"),
        "pebble": 7,
    }

    log = (tree / "build" / "setup.log").read_text()
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(tree / "glassbox", tmp_path))
    misleading = environment(PIP_NO_INDEX="1", PYTHONPATH=str(elsewhere))
    second = run([link], misleading, cwd=elsewhere)
    assert second.stderr == ""
    assert json.loads(second.stdout)["app"] == str(tree / "app" / "__init__.py")
    assert (tree / "build" / "setup.log").read_text() == log

    moved = tree.rename(tmp_path / "moved")
    third = run(["./glassbox"], misleading, cwd=moved)
    assert third.stderr == ""
    assert json.loads(third.stdout)["app"] == str(moved / "app" / "__init__.py")

    python = moved / ".venv" / "bin" / "python"
    plain: list[float] = []
    launched: list[float] = []
    for _ in range(5):
        plain.append(processor_time_s([python, "-P", "-m", "app"]))
        launched.append(processor_time_s([moved / "glassbox"]))
    added_s = min(launched) - min(plain)
    assert added_s < LATER_START_BAR_S


def test_peers_are_installed_only_where_they_are_asked_for(furnished: Path, wheels: Path) -> None:
    tree = furnished
    lock = tree / "requirements-peers.lock"
    lock.write_text((tree / "requirements.lock").read_text() + "# and the peers\n")
    without = run([tree / "glassbox", "bench", "render", "--json"], with_wheels(wheels))
    assert json.loads(without.stdout)["argv"] == ["bench", "render", "--json"]
    assert not (tree / ".venv" / "peers.lock").exists()

    asked = run([tree / "glassbox", "bench", "render", "--peers"], with_wheels(wheels))
    assert "installing Python packages" in asked.stderr
    assert json.loads(asked.stdout)["argv"] == ["bench", "render", "--peers"]
    assert (tree / ".venv" / "peers.lock").read_text() == lock.read_text()

    again = run([tree / "glassbox", "bench", "--peers", "render"], environment(PIP_NO_INDEX="1"))
    assert again.stderr == ""
    assert run([tree / "glassbox"], environment(PIP_NO_INDEX="1")).stderr == "", "the packages for running are there"


def test_offline_set_up_says_so_and_goes_on_next_time(furnished: Path, wheels: Path) -> None:
    tree = furnished
    offline = run([tree / "glassbox"], environment(PIP_INDEX_URL="http://127.0.0.1:9/simple"))
    assert offline.returncode == 4
    assert "could not be installed; is the network there?" in offline.stderr
    assert "goes on from there" in offline.stderr
    assert (tree / ".venv" / "incomplete").exists()

    doctor = run([tree / "glassbox", "doctor"], environment())
    assert doctor.returncode == 4
    assert "not there or not complete" in doctor.stdout

    again = run([tree / "glassbox"], with_wheels(wheels))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["pebble"] == 7


def test_a_package_with_another_hash_is_refused(furnished: Path, wheels: Path) -> None:
    tree = furnished
    lock = tree / "requirements.lock"
    lock.write_text(re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, lock.read_text()))
    refused = run([tree / "glassbox"], with_wheels(wheels))
    assert refused.returncode == 4
    assert "pebble" not in refused.stdout
    assert "HASHES" in (tree / "build" / "setup.log").read_text()


def test_interrupted_set_up_lets_a_waiting_one_go_on(furnished: Path, wheels: Path) -> None:
    tree = furnished
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that takes the call and never answers
        silent.settimeout(LIMIT_S)
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        first = start(tree, environment(PIP_INDEX_URL=index, PIP_DEFAULT_TIMEOUT=str(LIMIT_S)))
        call, _ = silent.accept()
        second = start(tree, with_wheels(wheels))
        assert second.stderr is not None
        assert "another set-up is running here" in second.stderr.readline()
        assert second.poll() is None

        os.killpg(first.pid, signal.SIGINT)  # what Ctrl-C does
        _, told = first.communicate(timeout=LIMIT_S)
        call.close()
        assert first.returncode == 130
        assert "interrupted" in told
        assert "goes on from there" in told
    out, err = second.communicate(timeout=LIMIT_S)
    assert second.returncode == 0, err
    assert json.loads(out)["pebble"] == 7


def test_a_changed_lock_and_a_broken_environment_are_mended(furnished: Path, wheels: Path) -> None:
    tree = furnished
    assert run([tree / "glassbox"], with_wheels(wheels)).returncode == 0
    with (tree / "requirements.lock").open("a") as lock:
        lock.write("# newer\n")
    changed = run([tree / "glassbox"], with_wheels(wheels))
    assert changed.returncode == 0
    assert "installing Python packages" in changed.stderr
    assert "making a Python environment" not in changed.stderr

    (tree / ".venv" / "bin" / "python").unlink()  # as when the system's Python was replaced by the next one
    broken = run([tree / "glassbox"], with_wheels(wheels))
    assert broken.returncode == 0, broken.stderr
    assert "making a Python environment" in broken.stderr


def poor_path(directory: Path, without: tuple[str, ...]) -> str:
    """A PATH with everything of this machine's but a few programs."""
    directory.mkdir()
    for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"):
        for program in Path(folder).iterdir():
            link = directory / program.name
            if program.name not in without and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


def elsewhere_launcher(tree: Path, os_release: str) -> Path:
    """The launcher as it would behave on another distribution."""
    file = tree / "os-release"
    file.write_text(os_release)
    launcher = tree / "glassbox"
    launcher.write_text(launcher.read_text().replace("/etc/os-release", '"$root/os-release"'))
    return launcher


@pytest.mark.parametrize(
    ("os_release", "package"),
    [
        ("ID=fedora\nPRETTY_NAME='Fedora Linux 43'\n", "qemu-system-x86-core"),
        ("ID=manjaro\nID_LIKE=arch\nPRETTY_NAME=Manjaro\n", "qemu-system-x86"),
        ("ID=opensuse-tumbleweed\nID_LIKE='opensuse suse'\nPRETTY_NAME=Tumbleweed\n", "qemu-x86"),
        ("ID=void\nPRETTY_NAME=Void\n", "QEMU (x86_64, 9.1 or newer, with TCG plugins)"),
    ],
)
def test_other_systems_get_package_names_and_no_installation(
    tree: Path, tmp_path: Path, os_release: str, package: str
) -> None:
    launcher = elsewhere_launcher(tree, os_release)
    path = poor_path(tmp_path / "bin", without=("qemu-system-x86_64", "apt-get"))
    stopped = run([launcher], environment(PATH=path))
    assert stopped.returncode == 4
    assert f"please install: {package}." in stopped.stderr
    assert not (tree / ".venv").exists()


def test_a_qemu_that_is_too_old_is_noticed(tree: Path, tmp_path: Path) -> None:
    # No old QEMU can be had here; what the launcher reads of it is these two answers.
    path = poor_path(tmp_path / "bin", without=("qemu-system-x86_64",))
    program = tmp_path / "bin" / "qemu-system-x86_64"
    for said, verdict in [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "QEMU 7.2, too old"),
        ("QEMU emulator version 9.0.4", "QEMU 9.0, too old"),
        ("QEMU emulator version 9.1.0", "QEMU 9.1 without TCG plugins"),
        ("QEMU emulator version 10.0.2", "QEMU 10.0 without TCG plugins"),
        ("Segmentation fault", "QEMU of unknown version"),
    ]:
        program.write_text(f'#!/bin/sh\n[ "$1" != --version ] || echo "{said}"\n')
        program.chmod(0o755)
        qemu = doctor_checks(tree, path)["qemu"]
        assert (qemu["ok"], qemu["detail"]) == (False, verdict)
        assert "qemu-system-x86" in str(qemu["fix"])


def doctor_checks(tree: Path, path: str) -> dict[str, dict[str, object]]:
    told = run([tree / "glassbox", "doctor", "--json"], environment(PATH=path))
    assert told.returncode == 4
    document = json.loads(told.stdout)
    assert document["ok"] is False
    return {check["name"]: check for check in document["checks"]}


def test_doctor_and_help_work_before_anything_is_installed(tree: Path, tmp_path: Path) -> None:
    path = poor_path(tmp_path / "bin", without=("cc", "gcc", "qemu-system-x86_64"))
    before = sorted(tree.rglob("*"))
    checks = doctor_checks(tree, path)
    assert not checks["qemu"]["ok"]
    assert not checks["compiler"]["ok"]
    assert not checks["environment"]["ok"]
    assert checks["window-libraries"]["ok"]
    assert all(check["fix"] if not check["ok"] else check["fix"] == "" for check in checks.values())
    assert "MISSING  qemu" in run([tree / "glassbox", "doctor"], environment(PATH=path)).stdout

    usage = run([tree / "glassbox", "--help"], environment(PATH=path))
    assert usage.returncode == 0
    assert "./glassbox test" in usage.stdout
    assert sorted(tree.rglob("*")) == before  # looked, and touched nothing


def shell(functions_of: Path, script: str) -> str:
    """Run a few lines of sh after the launcher's functions."""
    source, main, _ = functions_of.read_text().partition("\ncase ${1:-} in\n    test)")
    assert main
    done = run(["sh", "-c", source + "\n" + script, str(functions_of)], environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_component_has_packages_on_every_system() -> None:
    script = """
    for system in debian fedora arch suse other; do
        for part in $(components_for test) plugin-tools; do echo "$system $part $(packages_of $part)"; done
    done"""
    lines = shell(LAUNCHER, script).splitlines()
    assert len(lines) >= 5 * 10
    assert all(len(line.split()) >= 3 for line in lines)
    assert "debian qemu qemu-system-x86" in lines


def test_the_key_of_an_apt_source_is_found(tmp_path: Path) -> None:
    one_line = tmp_path / "one.list"
    one_line.write_text(
        "# comment\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://example.org/debian bookworm main\n"
        "deb http://example.org/debian bookworm main\n"
    )
    paragraphs = tmp_path / "two.sources"
    paragraphs.write_text(
        "# the archive\nTypes: deb\nURIs: http://example.org/debian\nSigned-By: /usr/share/keyrings/b.gpg\n\n\n"
        "Types: deb\n# why\nURIs: http://example.org/other\n"
        "signed-by:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\nSuites: x\n"
    )

    def key(file: Path, number: int) -> str:
        return shell(LAUNCHER, f'key_of "{file}" {number}')

    assert key(one_line, 2) == "Signed-By: /usr/share/keyrings/a.gpg\n"
    assert key(one_line, 3) == ""
    assert key(paragraphs, 1) == "Signed-By: /usr/share/keyrings/b.gpg\n"
    assert key(paragraphs, 2) == "signed-by:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"


def test_a_python_without_ensurepip_is_passed_over(tmp_path: Path) -> None:
    # Debian's python3 without python3-venv: it runs, and cannot make an environment.
    crippled = tmp_path / "python3"
    crippled.write_text(f'#!/bin/sh\nexec {sys.executable} -S -c "import sys; sys.exit(1)"\n')
    crippled.chmod(0o755)
    script = f'GLASSBOX_PYTHON="{crippled}"; find_python'
    chosen = shell(LAUNCHER, script).strip()
    assert chosen != str(crippled)
    version = run([chosen, "-c", "import ensurepip, sys; print(sys.version_info >= (3, 11))"], environment())
    assert version.stdout == "True\n"


def pins(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Of each package in a lock file: its version and its hashes."""
    found = {}
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).strip()):
        pin = re.match(
            r"([a-z0-9.-]+)==(\S+)(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\\n|\n?))+)$", entry
        )
        assert pin is not None, entry
        found[pin[1]] = pin[2], re.findall(r"sha256:(\w+)", pin[3])
    return found


def test_locks_cover_the_project_with_hashes_and_without_addresses() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    needed = project["project"]["dependencies"]
    run_pins, test_pins, peer_pins = (pins(ROOT / f"requirements{which}.lock") for which in ("", "-test", "-peers"))
    for wanted, locked in [
        (needed, run_pins),
        (needed + groups["dev"] + groups["peers"], test_pins),
        (needed + groups["peers"], peer_pins),
    ]:
        for requirement in map(Requirement, wanted):
            version, hashes = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: make the locks anew"
            assert hashes
    assert run_pins.items() <= peer_pins.items() <= test_pins.items()
    for lock in ("requirements.lock", "requirements-test.lock", "requirements-peers.lock"):
        text = (ROOT / lock).read_text()
        assert "://" not in text
        assert "index-url" not in text.replace("--no-emit-index-url", "")
        assert "uv pip compile" in text.splitlines()[1]
