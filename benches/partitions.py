"""A trial, not a part of the product: the log's messages in 36 monthly partitions. Do pages stay flat, and what goes faster?

Named only, because it writes the log once more: `./run bench --rows 10000000 partitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from benches.measure import Line, interleaved, timed
from benches.place import Place

_PARTITIONED = """
    DROP TABLE IF EXISTS bench.parted;
    CREATE TABLE bench.parted (LIKE whatsapp_logs.messages) PARTITION BY RANGE (created_at);
    DO $$
    DECLARE month date := date_trunc('month', now() - interval '36 months');
    BEGIN
        WHILE month <= now() LOOP
            EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.parted FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 80)',
                           'parted_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
            month := month + interval '1 month';
        END LOOP;
    END $$;
    INSERT INTO bench.parted SELECT * FROM whatsapp_logs.messages;
    ALTER TABLE bench.parted ADD PRIMARY KEY (id, created_at);  -- a key over all partitions has to hold what they are cut by
    CREATE INDEX ON bench.parted (created_at DESC, id DESC);
    CREATE INDEX ON bench.parted (recipient, created_at DESC, id DESC) WHERE direction = 'outbound';
    CREATE INDEX ON bench.parted (message_type, created_at DESC, id DESC);
    CREATE INDEX ON bench.parted (provider_id);
    ANALYZE bench.parted;
"""
_PAGE = """
    SELECT * FROM {table} WHERE direction = 'outbound' AND (created_at, id) < (%(at)s, 0) {more}
    ORDER BY created_at DESC, id DESC LIMIT 51
"""


def measure(place: Place) -> Iterator[Line]:
    """The same reads of both tables, and what it takes to let the oldest month go."""
    with closing(psycopg.connect(place.dsn(), autocommit=True)) as conn:
        conn.execute("SET maintenance_work_mem = '1GB'")
        conn.execute(_PARTITIONED.encode())
        row = conn.execute(
            "SELECT recipient, provider_id FROM whatsapp_logs.messages WHERE id = %s", [place.rows // 2]
        ).fetchone()
        assert row is not None
        now = datetime.now(UTC)
        reads: list[tuple[str, str, dict[str, Any]]] = [
            ("newest page", _PAGE, {"at": now, "more": ""}),
            ("page in the middle", _PAGE, {"at": now - timedelta(days=550), "more": ""}),
            ("a number's page", _PAGE, {"at": now, "more": "AND recipient = %(to)s", "to": row[0]}),
            ("by SID", "SELECT * FROM {table} WHERE provider_id = %(sid)s", {"sid": row[1]}),
        ]
        for name, query, values in reads:
            more = values.pop("more", "")
            whole, parted = (
                query.format(table=t, more=more).encode() for t in ("whatsapp_logs.messages", "bench.parted")
            )
            times = interleaved(
                30,
                whole=lambda q=whole, v=values: conn.execute(q, v).fetchall(),  # type: ignore[misc]
                parted=lambda q=parted, v=values: conn.execute(q, v).fetchall(),  # type: ignore[misc]
            )
            yield Line(
                f"36 partitions ÷ one table: {name}", times["parted"] * 1000, "ms", times["parted"] / times["whole"]
            )
        oldest = conn.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'bench.parted'::regclass ORDER BY 1 LIMIT 1"
        ).fetchone()
        assert oldest is not None
        drop_s = timed(lambda: conn.execute(f"DROP TABLE {oldest[0]}".encode()))
        yield Line("36 partitions: letting the oldest month go", drop_s * 1000, "ms")
        conn.execute("DROP TABLE bench.parted")
