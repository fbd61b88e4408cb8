"""Fixtures: a real PostgreSQL for every test that asks, one server per run and a fresh database per test.

`dsn`   a migrated database of the test's own (46 ms): commit as you like, run processes against it.
`conn`  a connection that is rolled back: to the test's own database if it uses `dsn`, else to one shared by this
        worker's tests, where a commit is an error (1 ms).
`new_database`   for everything else: a database per module, two databases, an empty one.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.postgres_keeper import TEMPLATE

ROOM_IN_MEMORY_BYTES = 1_000_000_000
_numbers = itertools.count(1)


class SharedConnection(psycopg.Connection[tuple[object, ...]]):
    """A connection to the database that several tests use in turn: nothing of one test may stay for the next."""

    def commit(self) -> None:
        raise AssertionError("This test commits: let it ask for `dsn` too, so that it gets a database of its own.")


@pytest.fixture(scope="session")
def postgres() -> str:
    """The DSN of the run's server, started by the first test that needs it and ended with pytest by its keeper."""
    pytest_pid = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = memory_or_disk() / f"whatsapp-logs-tests-{os.geteuid()}-{pytest_pid}"
    folder.mkdir(exist_ok=True)
    with (folder / "dsn").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        answer = file.read()
        if not answer:
            answer = _start_keeper(folder, pytest_pid)
            file.write(answer)
            file.flush()
    if not answer.startswith("postgresql://"):
        pytest.fail(f"The test database could not be prepared:\n{answer}", pytrace=False)
    return answer


@pytest.fixture(scope="session")
def new_database(postgres: str) -> Iterator[Callable[[], str]]:
    """A function that returns the DSN of a new migrated database; `migrated=False` for an empty one."""
    made: list[str] = []

    def create(*, migrated: bool = True) -> str:
        name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"
        template = f"TEMPLATE {TEMPLATE} STRATEGY FILE_COPY" if migrated else "TEMPLATE template0"
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} {template}")
        made.append(name)
        return make_conninfo(postgres, dbname=name)

    yield create
    with psycopg.connect(postgres, autocommit=True) as admin:
        for name in made:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def shared_dsn(new_database: Callable[[], str]) -> str:
    """This worker's shared database, in which nothing is ever committed."""
    return new_database()


@pytest.fixture
def dsn(new_database: Callable[[], str], postgres: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    own = new_database()
    yield own
    name = psycopg.conninfo.conninfo_to_dict(own)["dbname"]
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def conn(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection in a transaction that is rolled back after the test."""
    if "dsn" in request.fixturenames:
        connection = psycopg.connect(request.getfixturevalue("dsn"))
    else:
        connection = SharedConnection.connect(request.getfixturevalue("shared_dsn"))
        connection.execute("SELECT 1")  # So that `with conn.transaction()` is a savepoint, never a commit.
    yield connection
    connection.rollback()
    connection.close()


def _start_keeper(folder: Path, pytest_pid: int) -> str:
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres_keeper", str(folder), str(pytest_pid)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for pytest; the keeper follows when pytest has finished.
        text=True,
    )
    assert keeper.stdout
    return keeper.stdout.readline().rstrip("\n").replace("\r", "\n")


def memory_or_disk() -> Path:
    """Return the folder for the server's data: memory when there is room (5 s instead of 13 s for 60 databases)."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_IN_MEMORY_BYTES:
        return memory
    return Path(tempfile.gettempdir())
