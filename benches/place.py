"""Where the benches run: one PostgreSQL that writes to the disk as in earnest, and filled databases, kept for the next run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benches import seed
from portal import migrate as portal_migrate
from portal.start.binaries import find_binaries
from portal.start.postgres import Server
from whatsapp_logs.errors import SchemaMismatch
from whatsapp_logs.store import migrate

# Those of a small server of one's own; what is not named here is as PostgreSQL comes.
SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "1GB",
    "effective_cache_size": "12GB",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "checkpoint_timeout": "30min",
    "autovacuum_naptime": "10min",
}


@dataclass
class Place:
    """The server, and databases by their number of messages. `rows` is how many the run is about."""

    rows: int
    folder: Path
    server: Server
    tell: Callable[[str], None]
    made: dict[int, str] = field(default_factory=dict)

    def dsn(self, rows: int | None = None) -> str:
        """A filled database of so many messages (default: the run's own); steps of the schema added since are applied to it."""
        rows = self.rows if rows is None else rows
        if rows not in self.made:
            self.made[rows] = self._database(rows)
        return self.made[rows]

    @contextlib.contextmanager
    def scratch(self, rows: int | None = None) -> Iterator[str]:
        """A copy of a filled database (default: a tenth of the run's rows) to write in, gone after the block."""
        source = conninfo_to_dict(self.dsn(self.tenth if rows is None else rows))["dbname"]
        name = sql.Identifier(f"scratch_{os.getpid()}")
        with psycopg.connect(self.server.dsn, autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(name, sql.Identifier(str(source)))
            )
            try:
                yield make_conninfo(self.server.dsn, dbname=f"scratch_{os.getpid()}")
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def psql(self, dsn: str, statement: str) -> None:
        """Run a statement by PostgreSQL's own client; what it prints is thrown away."""
        binaries = find_binaries()
        if binaries is None:
            raise RuntimeError("there is no psql beside the server")
        command = [binaries.bin / "psql", "-X", "-q", "-d", dsn, "-f", "-"]
        subprocess.run(command, input=statement.encode(), stdout=subprocess.DEVNULL, check=True)

    @property
    def tenth(self) -> int:
        """A tenth of the run's rows: what "flat" is compared with."""
        return self.rows // 10

    @property
    def is_smoke(self) -> bool:
        """Whether the run only shows that the benches run: so few rows say nothing about speed."""
        return self.rows <= 100_000

    def rounds(self, wanted: int) -> int:
        """How often something is measured."""
        return 1 if self.is_smoke else wanted

    def _database(self, rows: int) -> str:
        name = f"rows_{rows}_{seed.fingerprint()}"
        dsn = make_conninfo(self.server.dsn, dbname=name)
        with psycopg.connect(self.server.dsn, autocommit=True) as admin:
            if admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None:
                with contextlib.suppress(SchemaMismatch):  # made by other files than these: it is made anew
                    portal_migrate.apply(dsn)
                    migrate.apply(dsn)
                    return dsn
                admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
            draft = f"{name}_draft"
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(draft)))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
            began = time.monotonic()
            self._fill(make_conninfo(self.server.dsn, dbname=draft), rows)
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
            self.tell(f"# {rows} messages written in {time.monotonic() - began:.0f} s")
        return dsn

    def _fill(self, dsn: str, rows: int) -> None:
        portal_migrate.apply(dsn)
        migrate.apply(dsn)
        seed.fill(dsn, rows, tell=self.tell)


@contextlib.contextmanager
def opened(rows: int, *, tell: Callable[[str], None], folder: Path | None = None) -> Iterator[Place]:
    """The place, below a folder that is kept from run to run (BENCH_DIR; default: one of the system's for larger files)."""
    home = folder or Path(os.environ.get("BENCH_DIR") or f"/var/tmp/whatsapp-logs-bench-{os.geteuid()}")
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    server = Server(home / "postgres", settings=SETTINGS)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as scratch:
            Path(scratch).chmod(0o711)
            yield Place(rows, Path(scratch), server, tell)
    finally:
        server.stop()
