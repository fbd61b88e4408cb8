"""Puts the payloads into every text that the database keeps, whatever table or column: what is added later is filled too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.security.payloads import XSS
from tests.security.target import Target
from whatsapp_logs import Draft, MediaFile, Source, StatusReport, Template
from whatsapp_logs.message import Inbound, Message

TAG = "§"  # stands before the column's name at the end of each payload, so that a page tells what it shows
# Nobody’s words: migrations’ own bookkeeping, what triggers derive from messages, a hash, a zone from the settings, a role and
# a file’s kind, which must be one of a few before anything is written; a key that the portal itself has told.
NOT_FILLED = frozenset({
    "public.portal_migrations", "whatsapp_logs.migrations", "whatsapp_logs.addresses", "whatsapp_logs.counts",
    "whatsapp_logs.count_totals", "whatsapp_logs.count_deltas", "whatsapp_logs.rare_statuses",
    "public.people.role", "public.people.password_hash", "public.people.timezone", "public.renewal_documents.content_type",
    # What the program itself writes of a campaign, in a shape that it reads again; a table's cells are filled by hand below.
    "whatsapp_logs.campaigns.state", "whatsapp_logs.campaigns.columns", "whatsapp_logs.campaigns.mapping",
    "whatsapp_logs.campaigns.forecast", "whatsapp_logs.campaigns.audience", "whatsapp_logs.campaign_recipients.cells",
    "public.renewal_rules.fields", "public.renewal_rules.document",  # likewise; the words of a field are a payload at once
    "whatsapp_logs.media.content_type", "whatsapp_logs.conversations.client_id", "whatsapp_logs.consent_events.client_id",
})  # fmt: skip
# Words that decide what a page shows: every second row keeps its own.
DECIDING = frozenset({
    "whatsapp_logs.messages.channel", "whatsapp_logs.messages.provider", "whatsapp_logs.messages.error_code",
    "whatsapp_logs.messages.message_type", "whatsapp_logs.template_versions.approval",
    "whatsapp_logs.template_versions.content_type",
})  # fmt: skip
PDF = MediaFile(content=b"%PDF-1.7 a policy of nobody", content_type="application/pdf", filename="policy.pdf")


def write_messages(target: Target) -> list[int]:
    """Messages of every kind that a page tells apart, with reports, runs and comparisons; returns the ids worth opening."""
    service = target.service
    (client_id, policy_id) = _first(target)
    drafts = [
        Draft(
            to="+447700900123",
            body="Hello",
            media=PDF,
            created_by="anna.admin",
            client_id=client_id,
            policy_id=policy_id,
        ),
        Draft(
            to="+447700900123",
            body="x",
            template=Template(sid="HX" + "a" * 32, name="policy_document", variables={"1": "A"}),
        ),
        Draft(to="+447700900124", body="x", media_url="https://files.example.test/a.pdf", client_id=client_id),
    ]
    # As many of each as there are payloads, so that each field of each kind is seen with several of them.
    made = [service.send(replace(draft, media=_own(draft, n))) for n in range(len(XSS)) for draft in drafts]
    service.record([_report(message, n) for n, message in enumerate(made)], source=Source.CALLBACK)
    for n in range(8):
        service.receive(
            Inbound(
                provider_id=f"SM{n + 9000:032x}", sender=f"+4477009001{n:02d}", recipient="+15550100100", body="Hi",
                profile_name="Asha", media=(("https://api.example.test/m", "image/png"),), payload={"ProfileName": "Asha"},
            )
        )  # fmt: skip
        service.record([StatusReport(provider_status="lost", provider_id=f"SM{n + 8000:032x}")], source=Source.CALLBACK)
    with psycopg.connect(target.dsn) as conn:
        _write_states(conn, [message.id for message in made])
        ids = [row[0] for row in conn.execute("SELECT id FROM whatsapp_logs.messages WHERE direction = 'inbound'")]
    return [message.id for message in made[: len(XSS) + 12]] + ids[:3]


def fill(dsn: str) -> None:
    """Overwrite every text and every JSON of the database with payloads."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "SET LOCAL session_replication_role = replica"
        )  # history is append-only; whoever attacks does not ask
        for table, columns in _columns(conn).items():
            for n, (column, kind, is_unique) in enumerate(columns):
                _fill(conn, table, column, kind, is_unique=is_unique, offset=n)


def _fill(
    conn: psycopg.Connection[tuple[object, ...]], table: str, column: str, kind: str, *, is_unique: bool, offset: int
) -> None:
    name = f"{table}.{column}"
    payload = sql.SQL("(%(xss)s::text[])[1 + mod(rows.n + %(offset)s, %(most)s)] || %(tag)s")
    if is_unique:
        payload = sql.SQL("{} || ' ' || rows.n").format(payload)
    if kind == "jsonb":
        payload = sql.SQL(
            "jsonb_build_object('1', {0}, {0}, jsonb_build_array({0}, jsonb_build_object('inside', {0})))"
            if column == "payload" else "jsonb_build_object('1', {0}, {0}, {0})"
        ).format(payload)  # fmt: skip
    if name == "public.people.username":
        payload = sql.SQL("lower({})").format(payload)
    conn.execute(
        sql.SQL(
            """
            UPDATE {table} AS t SET {column} = {payload}
            FROM (SELECT ctid AS place, row_number() OVER (ORDER BY ctid) AS n FROM {table}) AS rows
            WHERE t.ctid = rows.place AND (NOT %(every_second)s OR mod(rows.n, 2) = 0)
            """
        ).format(table=sql.Identifier(*table.split(".")), column=sql.Identifier(column), payload=payload),
        {
            "xss": list(XSS),
            "offset": offset,
            "most": len(XSS),
            "tag": f" {TAG}{table.partition('.')[2]}.{column}",
            "every_second": name in DECIDING,
        },
    )


def _columns(conn: psycopg.Connection[tuple[object, ...]]) -> dict[str, list[tuple[str, str, bool]]]:
    """Per table the columns that hold anybody's words: name, type, and whether each value is there once only."""
    rows = conn.execute(
        """
        SELECT n.nspname || '.' || c.relname, a.attname, t.typname,
               EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE c.relkind = 'r' AND n.nspname IN ('public', 'whatsapp_logs') AND a.attnum > 0 AND NOT a.attisdropped
          AND t.typname IN ('text', 'varchar', 'jsonb') AND a.attgenerated = ''
          AND c.relname NOT LIKE 'procrastinate%'
          -- Not where only words of a list may stand; a user name must merely be lower case.
          AND (a.attname = 'username' OR NOT EXISTS (
              SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey)))
        ORDER BY 1, a.attnum
        """
    )
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for table, column, kind, is_unique in rows.fetchall():
        if table not in NOT_FILLED and f"{table}.{column}" not in NOT_FILLED:
            found.setdefault(str(table), []).append((str(column), str(kind), bool(is_unique)))
    return found


def _own(draft: Draft, n: int) -> MediaFile | None:
    """A document of its own for each message, so that each file name is filled with another payload."""
    return draft.media and replace(draft.media, content=draft.media.content + str(n).encode())


def _report(message: Message, n: int) -> StatusReport:
    codes = ("63024", "99999", "63016", None)
    status = ("failed", "undelivered", "delivered", "unheard of")[n % 4]
    return StatusReport(
        provider_status=status,
        message_id=message.id,
        provider_id=f"SM{message.id:032x}",
        error_code=codes[n % 4],
        error_message="Twilio's words" if codes[n % 4] else None,
        price_unit="USD",
        payload={"MessageStatus": status},
    )


def _write_states(conn: psycopg.Connection[tuple[object, ...]], ids: list[int]) -> None:
    """What takes a provider's outage or a person to come about: waiting, unconfirmed, declared, runs with a problem."""
    conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET status = 'queued', failed_at = NULL, provider_id = NULL, error_code = NULL,
            wait_reason = 'Twilio is away', attempts = 3, retry_at = now() + interval '1 hour'
        WHERE id = ANY (%s)
        """,
        (ids[1:4],),
    )
    conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET status = 'queued', failed_at = NULL, provider_id = NULL, error_code = NULL, claimed_at = now(),
            unconfirmed_at = now() - interval '2 hours', created_at = created_at - interval '3 hours'
        WHERE id = ANY (%s)
        """,
        (ids[4:7],),
    )
    conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET status = 'failed', failed_at = now(), error_code = 'not_sent', error_message = 'Anna says so',
            unconfirmed_at = now() - interval '2 hours', provider_id = CASE WHEN mod(id, 2) = 0 THEN provider_id END
        WHERE id = ANY (%s)
        """,
        (ids[7:11],),
    )
    conn.execute("UPDATE whatsapp_logs.messages SET resend_of = %s WHERE id = %s", (ids[0], ids[12]))
    conn.execute(
        """
        INSERT INTO whatsapp_logs.refreshes (started_by, found, problem, finished_at)
        SELECT 'anna.admin', 5, 'Twilio is away', now() FROM generate_series(1, 3)
        """
    )
    for n in range(len(XSS)):
        conn.execute(
            """
            WITH run AS (
                INSERT INTO whatsapp_logs.reconciliations
                       (day, started_by, problem, finished_at, theirs, ours, equal, imported, attached,
                        unknown_to_provider, status_differed, price_differed)
                VALUES (current_date - %(n)s, 'anna.admin', CASE WHEN mod(%(n)s, 2) = 0 THEN 'Twilio is away' END, now(),
                        7, 6, 1, 1, 1, 1, 1, 1)
                RETURNING id
            )
            INSERT INTO whatsapp_logs.reconciliation_differences (reconciliation_id, provider_id, kind, message_id, ours, theirs)
            SELECT run.id, 'SM' || kind, kind, %(message)s, CASE kind WHEN 'status' THEN 'sent' ELSE 'x' END, 'read'
            FROM run, unnest(ARRAY['imported', 'attached', 'held_back', 'unknown_to_provider', 'status', 'price']) AS kind
            """,
            {"n": n, "message": ids[n]},
        )
    conn.execute(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        SELECT policy_id, 'offer.pdf', 'application/pdf', '%PDF-', sha256(policy_id::text::bytea), 'anna.admin' FROM policies
        """
    )
    conn.execute(
        """
        INSERT INTO whatsapp_logs.api_tokens (name, token_hash, rights, created_by, expires_at, last_used_at, last_used_from)
        SELECT 'a', n::text::bytea, '{see the log}', 'a', now() + interval '1 day', now(), 'a' FROM generate_series(1, 24) AS n;
        INSERT INTO whatsapp_logs.legal_holds (client_id, reason, placed_by)
        SELECT client_id::text, 'a', 'a' FROM clients;
        INSERT INTO whatsapp_logs.erasures (kind, what, reason, person, erased, held)
        SELECT kind, 'a', 'a', 'a', 1, 1 FROM generate_series(1, 24), unnest(ARRAY['retention', 'request']) AS kind;
        INSERT INTO whatsapp_logs.accesses (person, act, about, address)
        SELECT 'a', act, '{"format": "a", "error_code": "a"}', 'a'
        FROM generate_series(1, 8), unnest(ARRAY['opened', 'document', 'searched', 'listed', 'exported', 'access_log']) AS act;
        """
    )
    conn.execute(
        "UPDATE renewal_rules SET fields = jsonb_build_object('1', jsonb_build_object('text', (%s::text[])[rule_id]))",
        ([f"{payload} {TAG}renewal_rules.fields" for payload in XSS],),
    )
    _write_templates(conn)
    _write_campaigns(conn, ids)
    conn.execute(
        """
        INSERT INTO whatsapp_logs.consent_events (address, kind, source, wording, recorded_by, happened_at)
        SELECT 'a', 'opt_in', 'staff', 'a', 'a', now() FROM generate_series(1, 24)
        """
    )
    conn.execute("INSERT INTO whatsapp_logs.self_tests (nonce) VALUES ('abc')")
    conn.execute("INSERT INTO whatsapp_logs.refused_calls VALUES (%s, 'a', 'b', 1, now())", (datetime.now(UTC),))


def _write_templates(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """Templates in every state; what is a list of texts in them cannot be overwritten as one text, so it is a payload at once."""
    conn.execute(
        """
        WITH made AS (
            INSERT INTO whatsapp_logs.templates (name, language, created_by)
            SELECT 'a' || n, 'en', 'a' FROM generate_series(1, 24) AS n RETURNING id
        ), versions AS (
            INSERT INTO whatsapp_logs.template_versions
                   (template_id, version, content_sid, content_type, body, media_url, actions, variables, approval,
                    rejection_reason, created_by, submitted_by, submitted_at, decided_at)
            SELECT id, v, CASE WHEN v = 1 THEN 'HX' || id END, 'twilio/text', 'a', 'a',
                   jsonb_build_array(jsonb_build_object('kind', xss, 'title', xss || %(actions)s, 'target', xss)),
                   jsonb_build_array(jsonb_build_object('key', '1', 'name', xss || %(fields)s, 'sample', xss || %(fields)s)),
                   CASE v WHEN 2 THEN 'draft' ELSE (ARRAY['rejected', 'approved', 'paused', 'deleted'])[1 + mod(id, 4)] END,
                   'a', 'a', 'a', now(), now()
            FROM made, generate_series(1, 2) AS v,
                 LATERAL (SELECT (%(xss)s::text[])[1 + mod(made.id, %(most)s)] AS xss) AS one
            WHERE v = 1 OR mod(id, 3) = 0
            RETURNING id
        )
        INSERT INTO whatsapp_logs.template_events (version_id, approval, category, reason, told_by)
        SELECT id, 'rejected', 'a', 'a', 'a' FROM versions
        """,
        {
            "xss": list(XSS),
            "most": len(XSS),
            "actions": f" {TAG}template_versions.actions",
            "fields": f" {TAG}template_versions.variables",
        },
    )
    conn.execute("UPDATE whatsapp_logs.template_sync SET problem = 'a', asked_by = 'a', checked_at = now()")


def _write_campaigns(conn: psycopg.Connection[tuple[object, ...]], ids: list[int]) -> None:
    """A campaign in each state, with rows of every payload: some are messages, some are left out."""
    forecast = {
        "rows": 9, "reached": 5, "left_out": {"invalid_number": 4}, "waits": {"quiet_hours": 1}, "tomorrow": 1, "several": 1,
        "price": "1.5", "category": "UTILITY", "has_category_price": True, "seconds": 9,
    }  # fmt: skip
    tagged = [f"{payload} {TAG}campaign_recipients.cells" for payload in XSS]
    conn.execute(
        """
        WITH c AS (
            INSERT INTO whatsapp_logs.campaigns (name, state, source, columns, forecast, checked_at, recipients, queued_up_to,
                created_by, changed_by, asked_by, prepared_by, asked_at, released_by, released_at, stopped_by, ended_at)
            SELECT 'a', state, 'a', %(columns)s, %(forecast)s, now(), %(n)s, %(n)s, 'a', 'a', 'a', %(hands)s, now(), 'a',
                   CASE WHEN state NOT IN ('draft', 'waiting') THEN now() END, 'a',
                   CASE WHEN state IN ('done', 'canceled') THEN now() END
            FROM unnest(ARRAY['draft', 'waiting', 'running', 'paused', 'done', 'canceled']) AS state,
                 generate_series(1, 4)
            RETURNING id
        ), moved AS (
            UPDATE whatsapp_logs.messages SET campaign_id = (SELECT max(id) FROM c) WHERE id = ANY (%(ids)s)
        )
        INSERT INTO whatsapp_logs.campaign_recipients (campaign_id, upload, position, cells, address, problem, reason, message_id)
        SELECT c.id, 0, x.n, jsonb_build_array(x.payload), 'a', CASE mod(x.n, 2) WHEN 0 THEN 'invalid_number' END, 'a',
               CASE mod(x.n, 2) WHEN 1 THEN (%(ids)s::bigint[])[x.n] END
        FROM c, unnest(%(tagged)s::text[]) WITH ORDINALITY AS x (payload, n)
        """,
        {
            "columns": Jsonb(tagged),
            "forecast": Jsonb(forecast),
            "n": len(XSS),
            "ids": ids[: len(XSS)],
            "tagged": tagged,
            "hands": [f"{payload} {TAG}campaigns.prepared_by" for payload in XSS],
        },
    )


def _first(target: Target) -> tuple[int, int]:
    with psycopg.connect(target.dsn) as conn:
        row = conn.execute("SELECT client_id, policy_id FROM policies ORDER BY policy_id LIMIT 1").fetchone()
    assert row is not None
    return row
