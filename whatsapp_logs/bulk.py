"""Many drafts at once: rows and events in one statement, and a job for every fifty. What one draft is promised, each of many is."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs import gate, track
from whatsapp_logs.config import Config
from whatsapp_logs.message import Draft, Source
from whatsapp_logs.send import columns, known_to_the_portal, refused, timed, uncarried
from whatsapp_logs.store import media, messages, queue
from whatsapp_logs.store.pool import atomic

log = logging.getLogger(__name__)

_TOGETHER = 50  # hand-overs of one job: enough to be few, few enough for several workers to share


def queue_messages(
    conn: Connection[Any],
    drafts: Sequence[Draft],
    *,
    config: Config,
    now: datetime | None = None,
    in_order_of: str | None = None,
) -> list[int]:
    """Write all of them and their jobs into the caller's transaction, or none; the ids, in the order of the drafts.

    A draft that cannot be sent becomes a row too: failed, with the reason. One that was asked for before, by its request_key, is
    the message that it was then. Raises InvalidInput for an unknown client or policy.
    `in_order_of` names a row of hand-overs: none of it begins before the one before has ended.
    """
    with atomic(conn):
        known = _asked_before(conn, drafts)
        ids: list[int | None] = [known.get(draft.request_key or "") for draft in drafts]
        first = {draft.request_key or place: place for place, draft in reversed(list(enumerate(drafts)))}
        new = [n for n, id_ in enumerate(ids) if id_ is None and first[drafts[n].request_key or n] == n]
        if new:
            drafts_of_new = [timed(drafts[place]) for place in new]
            written = _write(conn, drafts_of_new, config=config, now=now or datetime.now(UTC), in_order_of=in_order_of)
            for place, id_ in zip(new, written, strict=True):
                ids[place] = id_
        if None in ids:  # a draft is here twice, or somebody else has asked the same in this very moment
            known = _asked_before(conn, drafts)
        return [known[str(draft.request_key)] if id_ is None else id_ for id_, draft in zip(ids, drafts, strict=True)]


def _write(
    conn: Connection[Any], drafts: Sequence[Draft], *, config: Config, now: datetime, in_order_of: str | None
) -> list[int | None]:
    """Rows, events and jobs of new drafts; None for one whose request_key is known after all."""
    verdicts = gate.examine(conn, drafts, config=config, now=now)
    rows = [
        columns(draft, verdict, config=config, media_id=_document(conn, draft, config), now=now)
        for draft, verdict in zip(drafts, verdicts, strict=True)
    ]
    with known_to_the_portal():
        ids = messages.insert_many(conn, rows)
    stopped, due = [], defaultdict(list)
    for id_, draft, verdict in zip(ids, drafts, verdicts, strict=True):
        if id_ is not None and verdict.refusal is not None:
            stopped.append(refused(id_, verdict.refusal))
        elif id_ is not None:
            due[draft.send_at].append(id_)
    track.record(conn, stopped, source=Source.SEND, now=now)
    for send_at, waiting in due.items():
        together = [waiting[begin : begin + _TOGETHER] for begin in range(0, len(waiting), _TOGETHER)]
        queue.defer_many(conn, "deliver", [{"ids": some} for some in together], at=send_at, lock=in_order_of)
    log.info("%s messages queued, %s refused", sum(map(len, due.values())), len(stopped))
    return ids


def _document(conn: Connection[Any], draft: Draft, config: Config) -> str | None:
    """Kept for a wrong number too: once it has been corrected, the message is sent again with its document."""
    return media.insert(conn, draft.media) if draft.media and not uncarried(draft, config) else None


def _asked_before(conn: Connection[Any], drafts: Sequence[Draft]) -> dict[str, int]:
    keys = [draft.request_key for draft in drafts if draft.request_key]
    return messages.ids_by_request_key(conn, keys) if keys else {}
