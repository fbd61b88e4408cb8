"""Rows of API tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import kwargs_row

from whatsapp_logs.api_tokens import ApiToken
from whatsapp_logs.rights import Right

_COLUMNS = (
    """id, name, rights, created_by, created_at, expires_at, last_used_at, last_used_from, revoked_at, revoked_by"""
)
_USED_EVERY = timedelta(minutes=1)  # reading must not be writing each time


def insert(
    conn: Connection[Any],
    *,
    name: str,
    token_hash: bytes,
    rights: frozenset[Right],
    created_by: str,
    lasts: timedelta,
) -> int:
    """Keep a new token; returns its id."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.api_tokens (name, token_hash, rights, created_by, expires_at)
        VALUES (%(name)s, %(hash)s, %(rights)s, %(by)s, now() + %(lasts)s) RETURNING id
        """,
        {"name": name, "hash": token_hash, "rights": sorted(rights), "by": created_by, "lasts": lasts},
    ).fetchone()
    assert row is not None
    return int(row[0])


def find(conn: Connection[Any], token_hash: bytes) -> ApiToken | None:
    """The valid token of that hash."""
    with conn.cursor(row_factory=kwargs_row(_token)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM whatsapp_logs.api_tokens
            WHERE token_hash = %(hash)s AND revoked_at IS NULL AND expires_at > now()
            """,  # noqa: S608 - a list of columns, written here
            {"hash": token_hash},
        ).fetchone()


def note_use(conn: Connection[Any], token: ApiToken, *, address: str | None) -> None:
    """Remember that it was used, to the minute."""
    conn.execute(
        """
        UPDATE whatsapp_logs.api_tokens SET last_used_at = now(), last_used_from = %(address)s
        WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < now() - %(every)s)
        """,
        {"id": token.id, "address": address, "every": _USED_EVERY},
    )


def is_worth_noting(token: ApiToken, now: datetime) -> bool:
    """Whether its last use was noted some time ago."""
    return token.last_used_at is None or now - token.last_used_at > _USED_EVERY


def all_of_them(conn: Connection[Any]) -> list[ApiToken]:
    """Every token there ever was, those that still work first, then the newest."""
    with conn.cursor(row_factory=kwargs_row(_token)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM whatsapp_logs.api_tokens
            ORDER BY (revoked_at IS NULL AND expires_at > now()) DESC, id DESC LIMIT 200
            """  # noqa: S608 - likewise
        ).fetchall()


def revoke(conn: Connection[Any], token_id: int, *, revoked_by: str) -> bool:
    """End it; False when there is no such token that still works."""
    done = conn.execute(
        """
        UPDATE whatsapp_logs.api_tokens SET revoked_at = now(), revoked_by = %(by)s
        WHERE id = %(id)s AND revoked_at IS NULL
        """,
        {"id": token_id, "by": revoked_by},
    )
    return done.rowcount > 0


def _token(**row: Any) -> ApiToken:
    known = {right.value: right for right in Right}
    # A right of another version of the program is none.
    row["rights"] = frozenset(known[word] for word in row["rights"] if word in known)
    return ApiToken(**row)
