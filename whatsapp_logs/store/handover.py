"""Handing over: compare and set, so that no message is ever handed over twice, and what became of each claim."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs.message import NOT_SENT, Message
from whatsapp_logs.store.messages import COLUMNS, fetch
from whatsapp_logs.store.text import storable


def claim(conn: Connection[Any], message_id: int, *, now: datetime) -> bool:
    """Take a message that waits to be handed over; nobody else gets it. False when it does not wait (any more, or yet).

    A campaign's messages are left to its runner, which knows the rate and whether it is paused: `campaigns.claim`.
    """
    row = conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET claimed_at = %(now)s, attempts = attempts + 1, retry_at = NULL, wait_reason = NULL, updated_at = %(now)s
        WHERE id = %(id)s AND status IN ('scheduled', 'queued') AND claimed_at IS NULL AND provider_id IS NULL
          AND campaign_id IS NULL
          AND (send_at IS NULL OR send_at <= %(now)s)
        RETURNING id
        """,
        {"id": message_id, "now": now},
    ).fetchone()
    return row is not None


def release(conn: Connection[Any], message_id: int, *, reason: str, retry_at: datetime) -> None:
    """Give a claim back: the provider has proved that nothing was sent. `reason` is shown to people."""
    conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET claimed_at = NULL, retry_at = %(retry_at)s, wait_reason = %(reason)s, updated_at = now()
        WHERE id = %(id)s AND provider_id IS NULL
        """,
        {"id": message_id, "retry_at": retry_at, "reason": reason},
    )


def withdraw(conn: Connection[Any], message_id: int) -> None:
    """Undo a claim of this transaction's: nothing is handed over after all."""
    conn.execute(
        "UPDATE whatsapp_logs.messages SET claimed_at = NULL, attempts = attempts - 1 WHERE id = %(id)s",
        {"id": message_id},
    )


def hold_drafts(conn: Connection[Any], recipient: str) -> None:
    """Have everybody else who queues a single message to this recipient wait for this transaction."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('draft ' || %(to)s, 0))", {"to": storable(recipient)})


def mark_unconfirmed(conn: Connection[Any], ids: Sequence[int], *, reason: str, now: datetime) -> None:
    """The provider's answer was lost: these may have been sent, and must be looked up before anybody sends again."""
    conn.execute(
        """
        UPDATE whatsapp_logs.messages SET unconfirmed_at = %(now)s, wait_reason = %(reason)s, updated_at = %(now)s
        WHERE id = ANY (%(ids)s) AND provider_id IS NULL AND unconfirmed_at IS NULL
        """,
        {"ids": list(ids), "reason": reason, "now": now},
    )


def waiting(conn: Connection[Any], *, now: datetime, quiet_s: int, limit: int) -> list[int]:
    """Ids that should have been handed over: nobody claimed them for `quiet_s`, no retry or set time lies ahead; no campaign's."""
    rows = conn.execute(
        """
        (SELECT m.id FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
         WHERE r.status = 'queued' AND m.claimed_at IS NULL AND m.provider_id IS NULL AND m.campaign_id IS NULL
           AND COALESCE(m.retry_at, m.send_at, m.created_at) < %(now)s - make_interval(secs => %(quiet_s)s)
         ORDER BY r.created_at, r.message_id LIMIT %(limit)s)
        UNION ALL
        (SELECT m.id FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
         WHERE r.status = 'scheduled' AND r.send_at < %(now)s - make_interval(secs => %(quiet_s)s)
           AND m.claimed_at IS NULL AND m.provider_id IS NULL
         ORDER BY r.send_at, r.message_id LIMIT %(limit)s)
        LIMIT %(limit)s
        """,
        {"now": now, "quiet_s": quiet_s, "limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def abandoned_claims(conn: Connection[Any], *, now: datetime, after_s: int) -> list[int]:
    """Ids claimed longer than `after_s` ago without an outcome: their worker died between claim and record."""
    rows = conn.execute(
        """
        SELECT m.id FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        WHERE r.status IN ('scheduled', 'queued') AND m.claimed_at < %(now)s - make_interval(secs => %(after_s)s)
          AND m.provider_id IS NULL AND m.unconfirmed_at IS NULL
        ORDER BY m.id
        """,
        {"now": now, "after_s": after_s},
    ).fetchall()
    return [row[0] for row in rows]


def unconfirmed(conn: Connection[Any], *, now: datetime, limit: int) -> list[Message]:
    """Messages whose outcome at the provider is not known and that are due to be looked up, the longest not looked up first.

    Each wait is a quarter of the age: the provider's list lags, but what it has not shown in a day it hardly will.
    """
    return fetch(
        conn,
        f"""
        SELECT {COLUMNS} FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id
        WHERE r.status IN ('scheduled', 'queued') AND m.unconfirmed_at IS NOT NULL AND m.provider_id IS NULL
          AND (m.last_status_check IS NULL OR m.last_status_check <= %(now)s - (%(now)s - m.unconfirmed_at) / 4)
        ORDER BY m.last_status_check NULLS FIRST, m.id LIMIT %(limit)s
        """,  # noqa: S608 - words of ours; values are parameters
        {"now": now, "limit": limit},
    )


def without_outcome(conn: Connection[Any], recipient: str) -> list[Message]:
    """One recipient's messages that are being handed over, or whose answer was lost, in the order of their hand-over.

    Those that a person has declared sent, or not sent, are among them: the provider may have them all the same.
    """
    return fetch(
        conn,
        f"""
        SELECT {COLUMNS} FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id
        WHERE (r.status IN ('scheduled', 'queued') OR (r.status = 'sent' AND m.unconfirmed_at IS NOT NULL)
               OR (r.status = 'failed' AND r.error_code = %(not_sent)s AND m.unconfirmed_at IS NOT NULL))
          AND m.recipient = %(recipient)s AND m.claimed_at IS NOT NULL AND m.provider_id IS NULL
        ORDER BY m.claimed_at, m.id
        """,  # noqa: S608 - words of ours; values are parameters
        {"recipient": recipient, "not_sent": NOT_SENT},
    )


def hold_recipient(conn: Connection[Any], recipient: str) -> None:
    """Have everybody else who wants to settle a message to this recipient by hand wait for this transaction."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('settle ' || %(to)s, 0))", {"to": recipient})


def looked_up(conn: Connection[Any], ids: Sequence[int], *, now: datetime) -> None:
    """The provider was asked about these just now."""
    conn.execute(
        "UPDATE whatsapp_logs.messages SET last_status_check = %(now)s WHERE id = ANY (%(ids)s)",
        {"ids": list(ids), "now": now},
    )
