"""`./run` itself: what it finds, what it installs with, and that it costs nothing when all is there."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from portal.start import install

ROOT = Path(__file__).parents[2]


def test_run_without_a_usable_python_says_what_to_install(tmp_path: Path) -> None:
    done = run("help", checkout=copy_of_run(tmp_path), PATH=bare_path(tmp_path))
    assert done.returncode == 1
    assert "apt install python3 python3-venv" in done.stderr


def test_run_with_a_python_that_cannot_make_environments_says_what_to_install(tmp_path: Path) -> None:
    path = bare_path(tmp_path, python3='#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n')
    done = run("help", checkout=copy_of_run(tmp_path), PATH=path)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "run: python3 cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
    )


def test_run_installs_once_and_again_only_when_the_pins_have_changed(tmp_path: Path) -> None:
    checkout = copy_of_run(tmp_path)
    path = bare_path(tmp_path, python3=PRETENDING_PYTHON)
    said = [run("help", checkout=checkout, PATH=path).stdout for _ in range(2)]
    assert said == ["installs portal\nruns -m portal help\n", "runs -m portal help\n"]
    with (checkout / "requirements" / "portal.txt").open("a") as pins:
        pins.write("# changed\n")
    assert run("help", checkout=checkout, PATH=path).stdout == said[0]


def test_run_installs_again_after_it_was_interrupted(tmp_path: Path) -> None:
    checkout = copy_of_run(tmp_path)
    path = bare_path(tmp_path, python3=PRETENDING_PYTHON)
    run("help", checkout=checkout, PATH=path)
    (checkout / ".venv" / "installed-portal").unlink()  # It is written last.
    assert run("help", checkout=checkout, PATH=path).stdout.startswith("installs portal\n")


def test_run_costs_less_than_a_tenth_of_a_second_when_all_is_there(tmp_path: Path) -> None:
    checkout = copy_of_run(tmp_path)
    path = bare_path(tmp_path, python3=PRETENDING_PYTHON)
    run("help", checkout=checkout, PATH=path)
    began = _seconds_of_children()
    for _ in range(5):
        run("help", checkout=checkout, PATH=path)
    assert _seconds_of_children() - began < 5 * 0.1


def test_pips_own_settings_reach_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://mirror.example.test/simple\ntrusted-host = a.example.test\n  b.example.test\n"
        "cert = /from/global.pem\n[install]\ncert = /from/install.pem\nfind-links = /wheels /more\n"
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_TIMEOUT", "77")
    found = install.environment_for_uv()
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example.test/simple"
    assert found["UV_INSECURE_HOST"] == "a.example.test b.example.test"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    assert found["SSL_CERT_FILE"] == "/from/install.pem"
    assert found["UV_HTTP_TIMEOUT"] == "77"


def test_uvs_own_settings_win_over_pips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example.test/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example.test/simple")
    assert install.environment_for_uv()["UV_DEFAULT_INDEX"] == "https://uv.example.test/simple"


def _seconds_of_children() -> float:
    """What the programs that have ended have cost, whatever else the machine did meanwhile."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


# Stands in for Python: install.py makes a .venv whose python tells what it is asked to run.
PRETENDING_PYTHON = """#!/bin/sh
case "$1" in
    -c) exit 0 ;;
    portal/start/install.py)
        echo "installs $2"
        mkdir -p .venv/bin
        printf '#!/bin/sh\\necho "runs $*"\\n' >.venv/bin/python
        chmod +x .venv/bin/python
        echo "$3 $(readlink -f .venv/bin/python)" >".venv/installed-$2" ;;
esac
"""


def copy_of_run(tmp_path: Path) -> Path:
    checkout = tmp_path / "a checkout"
    (checkout / "requirements").mkdir(parents=True)
    (checkout / "requirements" / "portal.txt").write_text("flask==3\n")
    (checkout / "requirements" / "dev.txt").write_text("pytest==9\n")
    (checkout / "run").write_text((ROOT / "run").read_text())
    (checkout / "run").chmod(0o755)
    return checkout


def bare_path(tmp_path: Path, **programs: str) -> str:
    """A PATH with the system's small programs and `programs`, but no Python of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "cksum", "readlink", "mkdir", "chmod", "cat"):
        found = next(Path(place, name) for place in ("/usr/bin", "/bin") if Path(place, name).exists())
        (folder / name).symlink_to(found)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


def run(*arguments: str, checkout: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "run", *arguments], env=env, capture_output=True, text=True, check=False, timeout=20
    )
