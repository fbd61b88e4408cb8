"""Campaigns: a table of recipients is given its meaning, checked row by row, released by a second person, and becomes messages.

What a check finds is the gate's own word (`gate.examine`), so that its forecast is what happens. See ../docs/sending.md.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import Connection

from whatsapp_logs import gate, phone, track
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.catalogue import Version
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput, MessageNotFound, NotAllowed
from whatsapp_logs.filters import Addressee
from whatsapp_logs.message import ERASED, GENERAL, MESSAGE_TYPES, Draft, Message, Path, Source, StatusReport
from whatsapp_logs.store import campaigns, facts, queue, senders, templates
from whatsapp_logs.store.campaigns import Campaign, Progress, Recipient
from whatsapp_logs.twilio.error_codes import explain

log = logging.getLogger(__name__)

Owners = Callable[[Sequence[str]], Mapping[str, str]]  # of these numbers, those that are one client's → the client's id

Transactions = Callable[[], AbstractContextManager[Connection[Any]]]

RUNNER, CHECK = "run_campaigns", "check_campaign"
CHECKED_AT_ONCE = 1000  # rows of a table that is checked while somebody waits; the worker checks larger ones
SILENT_S = 15.0  # a runner that gives no sign of life for so long has lost its worker
KEPT_FOR = timedelta(days=90)  # so long a table is kept once its campaign has ended
MAX_NAME = 100
LATER, AFTER_FIX = "later", "after_fix"
_AT_ONCE = 1000  # rows of one statement of a check
_SHORTENED = re.compile(
    r"\d(?:[.,]\d+)?E\+?\d+", re.IGNORECASE
)  # what Excel makes of a number in a narrow column, and saves
_BARE_DIGITS = re.compile(r"[1-9]\d{9,14}")  # a number with its country code, whose plus a spreadsheet took for a sign
_LIKELY_NUMBER = ("whatsapp", "mobile", "phone", "telephone", "tel", "cell", "number", "msisdn", "handy", "telefon")


class SentBefore(InvalidInput):
    """This very table was sent already; somebody has to say that it is meant again."""

    def __init__(self, earlier: Campaign) -> None:
        self.earlier = earlier
        super().__init__("again", f"This very table was sent already, as campaign {earlier.id} “{earlier.name}”.")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why messages of a campaign failed: the code, how often, the words. `retry` is later, after_fix, or no."""

    code: str
    count: int
    text: str
    retry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that a campaign's page tells. `resume_at` is until when the whole sender waits; `same` sent this very table today."""

    campaign: Campaign
    template: Version | None
    progress: Progress
    failures: tuple[Failure, ...] = ()
    retries: tuple[Campaign, ...] = ()
    same: tuple[Campaign, ...] = ()
    resume_at: datetime | None = None
    resume_reason: str | None = None
    needs_release: bool = False

    @property
    def can_retry(self) -> dict[str, int]:
        """How many may work now by themselves ("later"), and how many with those that somebody has corrected ("all")."""
        later = sum(one.count for one in self.failures if one.retry == LATER)
        fixed = sum(one.count for one in self.failures if one.retry == AFTER_FIX)
        return {"later": later, "all": later + fixed if fixed else 0}


@dataclass(frozen=True, slots=True)
class _Checked:
    """A row as the check left it."""

    row: Recipient
    draft: Draft
    problem: str | None = None
    reason: str | None = None


# --- preparing ---


def begin(conn: Connection[Any], table: Table, *, name: str, source: str, created_by: str) -> int:
    """A new draft with this table; its id."""
    campaign_id = campaigns.insert(conn, name=_named(name), created_by=created_by)
    _take(conn, campaign_id, table.columns, ((row, None, None, None) for row in table.rows), person=created_by)
    campaigns.change(conn, campaign_id, source=source[:200], content_sha256=table.sha256, mapping=guess(table.columns))
    return campaign_id


def begin_with(
    conn: Connection[Any],
    found: Sequence[Addressee],
    *,
    name: str,
    source: str,
    wanted: Mapping[str, str],
    created_by: str,
) -> int:
    """A new draft with those whom the portal has chosen; its id."""
    if not found:
        raise InvalidInput("audience", "Nobody fits this choice. Choose others.")
    columns = ("Number", *dict.fromkeys(field for one in found for field in one.fields))
    cells = [(one.to, *(one.fields.get(column, "") for column in columns[1:])) for one in found]
    ids = [
        (None if one.client_id is None else str(one.client_id), None if one.policy_id is None else str(one.policy_id))
        for one in found
    ]
    campaign_id = campaigns.insert(conn, name=_named(name), created_by=created_by)
    rows = ((row, client, policy, None) for row, (client, policy) in zip(cells, ids, strict=True))
    _take(conn, campaign_id, columns, rows, person=created_by)
    table = Table(columns, tuple(cells))
    campaigns.change(
        conn,
        campaign_id,
        source=source[:200],
        audience=dict(wanted),
        content_sha256=table.sha256,
        mapping=guess(columns),
    )
    return campaign_id


def _take(
    conn: Connection[Any],
    campaign_id: int,
    columns: Sequence[str],
    rows: Iterable[tuple[Sequence[str], str | None, str | None, int | None]],
    *,
    person: str,
) -> None:
    upload = campaigns.begin_upload(conn, campaign_id)
    count = campaigns.add_rows(conn, campaign_id, upload, rows)
    campaigns.change(conn, campaign_id, columns=list(columns), recipients=count, **_unchecked(), **_touch(person))


def replace_table(conn: Connection[Any], campaign_id: int, table: Table, *, source: str, person: str) -> None:
    """Another table for a draft; what its columns mean is kept where they are the same."""
    campaign = _draft(conn, campaign_id)
    _take(conn, campaign_id, table.columns, ((row, None, None, None) for row in table.rows), person=person)
    mapping = campaign.mapping if list(table.columns) == campaign.columns else guess(table.columns)
    campaigns.change(
        conn, campaign_id, source=source[:200], audience=None, content_sha256=table.sha256, mapping=mapping
    )


def guess(columns: Sequence[str]) -> dict[str, Any]:
    """Which column holds the number, by its name; the first one where none sounds like it."""
    words = [re.sub(r"[^a-z]", "", column.lower()) for column in columns]
    likely = (n for part in _LIKELY_NUMBER for n, word in enumerate(words) if part in word)
    return {"to": next(likely, 0), "fields": {}}


def guess_field(name: str, columns: Sequence[str]) -> int | None:
    """The column that sounds like a template's field."""
    wanted = set(re.findall(r"[a-z]+", name.lower()))
    best, score = None, 0
    for place, column in enumerate(columns):
        same = len(wanted & set(re.findall(r"[a-z]+", column.lower())))
        if same > score:
            best, score = place, same
    return best


def map_columns(
    conn: Connection[Any],
    campaign_id: int,
    *,
    name: str,
    template_id: int,
    message_type: str,
    mapping: Mapping[str, Any],
    person: str,
) -> None:
    """Say which template goes out and what its fields are filled with. Raises InvalidInput for a field without a meaning."""
    campaign = _draft(conn, campaign_id)
    template = templates.version(conn, template_id)
    if template is None or template.approval != "approved":
        raise InvalidInput("template", "Choose a template that WhatsApp has approved.")
    if template.media_variable:
        raise InvalidInput(
            "template",
            "This template carries a document of its own for everybody: send it from the policy, or as a reminder.",
        )
    if message_type not in MESSAGE_TYPES and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,50}", message_type):
        raise InvalidInput("message_type", "Choose one of the types that are offered.")
    width = len(campaign.columns)
    to = mapping.get("to")
    if not isinstance(to, int) or not 0 <= to < width:
        raise InvalidInput("to", "Choose the column that holds the phone number.")
    fields = {}
    for field in template.fields:
        given = mapping.get("fields", {}).get(field.key, {})
        text = " ".join(str(given.get("text", "")).split())
        if isinstance(given.get("column"), int) and 0 <= given["column"] < width:
            fields[field.key] = {"column": given["column"]}
        elif text:
            fields[field.key] = {"text": text[:1000]}
        else:
            raise InvalidInput(f"field-{field.key}", f"Choose what “{field.name}” is filled with.")
    campaigns.change(
        conn,
        campaign_id,
        name=_named(name),
        template_version_id=template.id,
        message_type=message_type or GENERAL,
        mapping={"to": to, "fields": fields},
        **_unchecked(),
        **_touch(person),
    )


# --- what each row becomes ---


def draft_of(campaign: Campaign, template: Version, row: Recipient) -> Draft:
    """The message that a row would be."""
    cells, mapping = row.cells, campaign.mapping

    def cell(place: int) -> str:
        return " ".join(cells[place].split()) if place < len(cells) else ""

    variables = {
        key: cell(given["column"]) if "column" in given else str(given["text"])
        for key, given in mapping["fields"].items()
    }
    return Draft(
        to=cell(mapping["to"]),
        message_type=campaign.message_type,
        body=template.text(variables),
        template=template.with_values(variables),
        client_id=row.client_id,
        policy_id=row.policy_id,
        created_by=campaign.released_by or campaign.changed_by,
        request_key=f"campaign:{campaign.id}:{row.position}",
        resend_of=row.resend_of,
        path=Path.CAMPAIGN,
        campaign_id=campaign.id,
    )


def check(
    conn: Connection[Any],
    campaign_id: int,
    *,
    config: Config,
    owners: Owners | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Ask the gate about every row, write down beside each why it is left out, and return the counts of all.

    `owners` tells whose number each is; by it the rows of an uploaded table are linked to the portal's clients.
    """
    now = now or datetime.now(UTC)
    campaign = _to_be_checked(conn, campaign_id)
    outlook = _Outlook(config=config, template=_template(conn, campaign), room=_room(conn, config, now))
    after: int | None = 0
    while after is not None:
        after = _check_some(conn, campaign, outlook, after=after, config=config, owners=owners, now=now)
    return _keep_forecast(conn, campaign, outlook, now)


def check_soon(conn: Connection[Any], campaign_id: int, *, now: datetime | None = None) -> None:
    """Have the worker do the same, because there are many rows; a check that is under way is given up."""
    now = now or datetime.now(UTC)
    campaign = _to_be_checked(conn, campaign_id)
    _template(conn, campaign)
    campaigns.change(conn, campaign_id, forecast=None, checked_at=None, check_asked_at=now, checked_up_to=0)
    queue.defer(conn, CHECK, campaign_id=campaign_id, asked_at=now.isoformat())


def check_in_steps(
    transactions: Transactions, campaign_id: int, *, asked_at: datetime, config: Config, owners: Owners | None
) -> None:
    """Carry out what `check_soon` has asked for, a thousand rows a transaction; given up where the campaign was changed since."""
    now, outlook, after = datetime.now(UTC), None, 0
    while True:
        with transactions() as conn:
            campaign = campaigns.get(conn, campaign_id, hold=True)
            if campaign is None or campaign.check_asked_at != asked_at or not campaign.is_draft:
                log.info("the check of campaign %s is given up: it has changed since", campaign_id)
                return
            if outlook is None:
                outlook = _Outlook(config=config, template=_template(conn, campaign), room=_room(conn, config, now))
            found = _check_some(conn, campaign, outlook, after=after, config=config, owners=owners, now=now)
            if found is None:
                _keep_forecast(conn, campaign, outlook, now)
                return
            after = found
            campaigns.change(conn, campaign_id, checked_up_to=after)


def _to_be_checked(conn: Connection[Any], campaign_id: int) -> Campaign:
    campaign = _held(conn, campaign_id)
    if campaign.has_begun:
        raise InvalidInput("campaign", "This campaign has been released already.")
    return _draft(conn, campaign_id)


def _check_some(
    conn: Connection[Any],
    campaign: Campaign,
    outlook: _Outlook,
    *,
    after: int,
    config: Config,
    owners: Owners | None,
    now: datetime,
) -> int | None:
    """Check the next rows; the position of the last of them, None where there are no more."""
    some = campaigns.rows(conn, campaign, after=after, limit=_AT_ONCE)
    if not some:
        return None
    found = _look_at(conn, campaign, outlook.template, some, outlook, config=config, owners=owners, now=now)
    campaigns.checked(conn, campaign, [_as_row(one, config) for one in found])
    return some[-1].position


def _keep_forecast(conn: Connection[Any], campaign: Campaign, outlook: _Outlook, now: datetime) -> dict[str, Any]:
    forecast = outlook.forecast(campaign.recipients)
    campaigns.change(conn, campaign.id, forecast=forecast, checked_at=now, check_asked_at=None)
    return forecast


class _Outlook:
    """What the rows looked at so far come to, and what of them counts for the later ones."""

    def __init__(self, *, config: Config, template: Version, room: int | None) -> None:
        self.config, self.template, self.room = config, template, room
        self.seen: dict[tuple[str, str], int] = {}  # address and text → the first row with them
        self.per_address: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.waits_until: datetime | None = None
        self.reached = self.begins = self.in_window = 0

    def add(self, one: _Checked, verdict: gate.Verdict) -> _Checked:
        """The row with what the rows before it have to say about it, counted."""
        if one.problem is None:
            one = self._beside_others(one, verdict)
        if one.problem is not None:
            self.left_out[one.problem] += 1
            return one
        address = verdict.recipient
        self.begins += verdict.begins and not self.per_address[address]
        self.in_window += verdict.window_until is not None
        self.seen[address, one.draft.body or ""] = one.row.position
        self.per_address[address] += 1
        self.reached += 1
        if verdict.waits is not None and verdict.waits.until is not None:
            self.waits[verdict.waits.rule.value] += 1
            self.waits_until = max(filter(None, (self.waits_until, verdict.waits.until)))
        return one

    def _beside_others(self, one: _Checked, verdict: gate.Verdict) -> _Checked:
        address, cap = verdict.recipient, self.config.frequency_cap
        twin = self.seen.get((address, one.draft.body or ""))
        if twin is not None:
            text = f"The very same message to this number stands in row {twin} already."
            return _Checked(one.row, one.draft, "duplicate_row", text)
        if cap and "frequency" not in self.config.gate_off and verdict.lately + self.per_address[address] >= cap:
            text = f"With the rows above, this customer would be sent more than {cap} messages within 24 hours."
            return _Checked(one.row, one.draft, "too_many", text)
        return one

    def forecast(self, rows: int) -> dict[str, Any]:
        """The counts, as they are kept with the campaign."""
        later = 0 if self.room is None else max(0, self.begins - self.room)
        price = self._price()
        return {
            "rows": rows,
            "reached": self.reached,
            "left_out": dict((+self.left_out).most_common()),
            "waits": dict(self.waits),
            "waits_until": None if self.waits_until is None else self.waits_until.isoformat(),
            "begins": self.begins,
            "tomorrow": later,
            "several": sum(n > 1 for n in self.per_address.values()),
            "price": str(price),
            "category": self.template.category,
            "has_category_price": self.template.category.lower() in self.config.prices,
            "seconds": -(-self.reached // self.config.sender_rate),
        }

    def _price(self) -> Decimal:
        """Twilio's own for each; WhatsApp's for each template, but for a useful one within an open window."""
        category = self.template.category.lower()
        charged = self.reached - (self.in_window if category == "utility" else 0)
        prices = self.config.prices
        return prices["message"] * self.reached + prices.get(category, Decimal(0)) * charged


def _look_at(
    conn: Connection[Any],
    campaign: Campaign,
    template: Version,
    rows: Sequence[Recipient],
    outlook: _Outlook,
    *,
    config: Config,
    owners: Owners | None,
    now: datetime,
) -> list[_Checked]:
    outlook.left_out[ERASED] += sum(row.problem == ERASED for row in rows)
    rows = [row for row in rows if row.problem != ERASED]
    drafts = [_with_number(draft_of(campaign, template, row), config) for row in rows]
    verdicts = gate.examine(conn, drafts, config=config, now=now)
    if owners is not None and campaign.is_uploaded:
        known = owners(sorted({verdict.recipient for verdict in verdicts}))
        rows = [replace(row, client_id=known.get(said.recipient)) for row, said in zip(rows, verdicts, strict=True)]
    found = []
    for row, draft, verdict in zip(rows, drafts, verdicts, strict=True):
        refusal = verdict.refusal
        one = _Checked(row, draft)
        if refusal is not None:
            one = _Checked(row, draft, refusal.code, _shortened(draft.to) or refusal.text)
        found.append(outlook.add(one, verdict))
    return found


def _with_number(draft: Draft, config: Config) -> Draft:
    """The draft with a plus before bare digits that are a number only with it: spreadsheets take it for a sign."""
    digits = re.sub(r"[\s()/.-]", "", draft.to)
    if not _BARE_DIGITS.fullmatch(digits):
        return draft
    try:
        phone.to_address(draft.to, region=config.default_region)
    except InvalidInput:
        return replace(draft, to=f"+{digits}")
    return draft


def _shortened(text: str) -> str | None:
    if _SHORTENED.fullmatch(text):
        return "Excel has shortened this number for good. Format the column as text in your own table, and choose the file again."
    return None


def _as_row(one: _Checked, config: Config) -> dict[str, Any]:
    address, wrong = gate.address_of(one.draft, config)
    assert one.draft.template is not None
    return {
        "position": one.row.position,
        "address": None if wrong else address,
        "client_id": one.row.client_id,
        "policy_id": one.row.policy_id,
        "variables": dict(one.draft.template.variables),
        "problem": one.problem,
        "reason": one.reason,
    }


def _room(conn: Connection[Any], config: Config, now: datetime) -> int | None:
    """How many customers the sender may still write to first within the day; None without a limit."""
    if not config.daily_customers or "sender_limit" in config.gate_off:
        return None
    count, _ = facts.written_to_first(
        conn, our_number=config.sender, since=now - gate.DAY, limit=config.daily_customers
    )
    return max(0, config.daily_customers - count)


def test_draft(conn: Connection[Any], campaign_id: int, *, to: str, person: str) -> Draft:
    """The message of the first row that is not left out, to the number of whoever tests; asked for again, it goes again."""
    campaign = _held(conn, campaign_id)
    template = _template(conn, campaign)
    if campaign.check_asked_at is not None:
        raise InvalidInput("campaign", "Its rows are still being checked: wait until it is said what would happen.")
    first = next((row for row in campaigns.rows(conn, campaign, limit=_AT_ONCE) if row.problem is None), None)
    if first is None:
        raise InvalidInput("campaign", "Nobody would be reached. Correct the table, or choose another template.")
    return replace(
        draft_of(campaign, template, first),
        to=to,
        path=Path.SINGLE,
        client_id=None,
        policy_id=None,
        resend_of=None,
        campaign_id=None,
        created_by=person,
        request_key=None,
        confirmed=frozenset({gate.Rule.DUPLICATE, gate.Rule.FREQUENCY}),
    )


def note_test(conn: Connection[Any], campaign_id: int, message: Message) -> None:
    """Keep with the campaign which message its test was."""
    campaigns.change(conn, campaign_id, tested_at=message.created_at, test_message_id=message.id)


# --- releasing ---


def needs_release(conn: Connection[Any], campaign: Campaign, *, person: str, config: Config, now: datetime) -> bool:
    """Whether a second person has to release it: it is large, or one of several that this person has sent alone today."""
    reached = (campaign.forecast or {}).get("reached", 0)
    alone = campaigns.started_alone(conn, person, since=now - gate.DAY)
    return bool(reached + alone >= config.campaign_release_from)


def start(conn: Connection[Any], campaign_id: int, *, person: str, again: bool = False, config: Config) -> Campaign:
    """Send it, or ask for its release where it needs one. Raises SentBefore unless `again` says that the same table is meant."""
    now = datetime.now(UTC)
    campaign = _draft(conn, campaign_id)
    if campaign.check_asked_at is not None:
        raise InvalidInput("campaign", "Its rows are still being checked: wait until it is said what would happen.")
    if campaign.forecast is None:
        raise InvalidInput("campaign", "Check the rows first: what it is about has changed.")
    if not campaign.forecast["reached"]:
        raise InvalidInput("campaign", "Nobody would be reached. Correct the table, or choose another template.")
    earlier = campaigns.same_table(conn, campaign, since=now - gate.DAY)
    if earlier and not again:
        raise SentBefore(earlier[0])
    asked = {"asked_by": person, "asked_at": now}
    campaigns.hold_starts(conn, person)
    if needs_release(conn, campaign, person=person, config=config, now=now):
        campaigns.change(conn, campaign_id, state="waiting", **asked)
        log.info("campaign %s waits for its release, asked by %s", campaign_id, person)
    else:
        campaigns.change(conn, campaign_id, **asked)
        _set_going(conn, campaign_id, person=person, now=now)
    return _held(conn, campaign_id)


def release(conn: Connection[Any], campaign_id: int, *, person: str) -> Campaign:
    """A second person has looked, and lets it go. Raises NotAllowed for one who has ever had a hand in it."""
    campaign = _held(conn, campaign_id)
    if campaign.state != "waiting":
        raise InvalidInput("campaign", "This campaign does not wait for a release any more.")
    if person in campaign.people:
        raise NotAllowed("You have prepared this campaign yourself: somebody else has to look at it and release it.")
    _set_going(conn, campaign_id, person=person, now=datetime.now(UTC))
    return _held(conn, campaign_id)


def _set_going(conn: Connection[Any], campaign_id: int, *, person: str, now: datetime) -> None:
    campaigns.change(conn, campaign_id, state="running", released_by=person, released_at=now)
    queue.defer(conn, RUNNER)
    log.info("campaign %s released by %s", campaign_id, person)


def take_back(conn: Connection[Any], campaign_id: int, *, person: str) -> None:
    """Make a campaign that waits for its release a draft again."""
    campaign = _held(conn, campaign_id)
    if campaign.state != "waiting":
        raise InvalidInput("campaign", "This campaign does not wait for a release any more.")
    campaigns.change(conn, campaign_id, state="draft", asked_by=None, asked_at=None, **_unchecked())
    log.info("campaign %s taken back by %s", campaign_id, person)


# --- while it runs ---


def pause(conn: Connection[Any], campaign_id: int, *, person: str) -> None:
    """Hand nothing more over; what was claimed before this commits is the last."""
    campaign = _held(conn, campaign_id)
    if campaign.state != "running":
        raise InvalidInput("campaign", "This campaign is not running.")
    campaigns.change(conn, campaign_id, state="paused", stopped_by=person)
    log.info("campaign %s paused by %s", campaign_id, person)


def resume(conn: Connection[Any], campaign_id: int, *, person: str) -> None:
    """Go on."""
    campaign = _held(conn, campaign_id)
    if campaign.state != "paused":
        raise InvalidInput("campaign", "This campaign is not paused.")
    campaigns.change(conn, campaign_id, state="running", stopped_by=None)
    queue.defer(conn, RUNNER)
    log.info("campaign %s goes on, by %s", campaign_id, person)


def cancel(conn: Connection[Any], campaign_id: int, *, person: str) -> int:
    """End it; what was not handed over stays in the log as canceled. Returns how many messages that were."""
    campaign = _held(conn, campaign_id)
    if campaign.state in ("done", "canceled"):
        raise InvalidInput("campaign", "This campaign has ended already.")
    campaigns.change(conn, campaign_id, state="canceled", stopped_by=person, ended_at=datetime.now(UTC))
    stopped = campaigns.drop_due(conn, campaign_id)
    _cancel(conn, [(message_id, person) for message_id in stopped])
    log.info("campaign %s canceled by %s: %s messages not sent", campaign_id, person, len(stopped))
    return len(stopped)


def _cancel(conn: Connection[Any], each: Sequence[tuple[int, str | None]]) -> None:
    text = "{} canceled the campaign before this message was handed over."
    reports = [
        StatusReport(provider_status="canceled", message_id=message_id, error_message=text.format(person))
        for message_id, person in each
    ]
    track.record(conn, reports, source=Source.SEND)


def settle_ends(conn: Connection[Any]) -> None:
    """End what is through; what Twilio gave back after its campaign was canceled is canceled too."""
    _cancel(conn, campaigns.drop_canceled(conn))
    for campaign_id in campaigns.finished(conn):
        log.info("campaign %s is done", campaign_id)


def wake(conn: Connection[Any], *, config: Config, now: datetime) -> None:
    """Have a runner begin if there is something to do and nobody does it: after a night, or a worker's death."""
    settle_ends(conn)
    due = campaigns.earliest(conn)
    if due is None or due > now or queue.is_waiting(conn, RUNNER):
        return
    sender = senders.get(conn, config.sender)
    if sender is not None and sender.resume_at is not None and sender.resume_at > now:
        return
    if senders.has_runner(conn, config.sender, silent_s=SILENT_S):
        queue.defer(
            conn, RUNNER, at=now + timedelta(seconds=SILENT_S)
        )  # should it have died just now, somebody comes back
    else:
        queue.defer(conn, RUNNER)


# --- trying again ---


def failures(conn: Connection[Any], campaign: Campaign) -> list[Failure]:
    """Why its messages failed and were not sent again, the most frequent reason first."""
    found = []
    for code, count, text in campaigns.failures(conn, campaign):
        advice = explain(code)
        known = advice is not None and advice.is_known
        retry = "later" if advice is None or advice.retry in ("yes", "later") else advice.retry
        if code in _OURS:
            retry = _OURS[code]
        title = f"{advice.title}. {advice.action}." if known and advice else text or "Twilio gave no reason."
        found.append(Failure(code, count, title, retry))
    return found


# The gate's own refusals: what may work tomorrow, what needs somebody's hand, what never will.
_OURS = {
    "duplicate": "later", "too_many": "later", "opted_out": "no", "no_marketing": "no", "no_marketing_consent": "after_fix",
    "no_consent": "after_fix",
    "invalid_number": "after_fix", "variables_missing": "after_fix", "variables_unclean": "after_fix", "window_closed": "no",
    "template_paused": "later", "template_disabled": "no", "template_rejected": "no", "template_deleted": "no", "not_sent": "later",
}  # fmt: skip


def retry(conn: Connection[Any], campaign_id: int, *, kinds: frozenset[str], person: str) -> int:
    """A new draft with those whose message failed for a reason of these kinds; its id. Pressed twice, the same draft."""
    campaign = _held(conn, campaign_id)
    if not campaign.has_begun:
        raise InvalidInput("campaign", "This campaign has not been sent yet.")
    for earlier in campaigns.retries_of(conn, campaign_id):
        if earlier.is_draft:
            return earlier.id
    codes = [one.code for one in failures(conn, campaign) if one.retry in kinds]
    if not codes:
        raise InvalidInput("kinds", "Nobody is left for whom it may work now.")
    again = campaigns.insert(
        conn, name=f"{campaign.name[: MAX_NAME - 8]} (again)", created_by=person, retry_of=campaign_id
    )
    upload = campaigns.begin_upload(conn, again)
    count = campaigns.copy_failed(conn, campaign, again, upload, codes)
    if not count:
        raise InvalidInput("kinds", "Nobody is left for whom it may work now.")
    campaigns.change(
        conn,
        again,
        columns=campaign.columns,
        mapping=campaign.mapping,
        template_version_id=campaign.template_version_id,
        message_type=campaign.message_type,
        recipients=count,
        source=f"the failed ones of campaign {campaign_id}",
        **_touch(person),
    )
    return again


# --- what is told of it ---


def told(conn: Connection[Any], campaign_id: int, *, config: Config) -> Told:
    """All that a campaign's page tells; a few statements, none of which grows with the log."""
    now = datetime.now(UTC)
    campaign = known(conn, campaign_id)
    sender = senders.get(conn, config.sender) if campaign.state == "running" else None
    waits = sender is not None and sender.resume_at is not None and sender.resume_at > now
    return Told(
        campaign=campaign,
        template=template_of(conn, campaign),
        progress=campaigns.progress(conn, campaign),
        failures=tuple(failures(conn, campaign)) if campaign.has_begun else (),
        retries=tuple(campaigns.retries_of(conn, campaign_id)),
        same=tuple(campaigns.same_table(conn, campaign, since=now - gate.DAY)) if campaign.is_draft else (),
        resume_at=sender.resume_at if sender is not None and waits else None,
        resume_reason=sender.reason if sender is not None and waits else None,
        needs_release=campaign.is_draft
        and needs_release(conn, campaign, person=campaign.changed_by, config=config, now=now),
    )


# --- small things ---


def known(conn: Connection[Any], campaign_id: int) -> Campaign:
    """The campaign of that id. Raises MessageNotFound."""
    return _there(campaigns.get(conn, campaign_id))


def template_of(conn: Connection[Any], campaign: Campaign) -> Version | None:
    """The campaign's template, once one is chosen."""
    return None if campaign.template_version_id is None else templates.version(conn, campaign.template_version_id)


def _held(conn: Connection[Any], campaign_id: int) -> Campaign:
    return _there(campaigns.get(conn, campaign_id, hold=True))


def _there(campaign: Campaign | None) -> Campaign:
    if campaign is None:
        raise MessageNotFound("There is no such campaign.")
    return campaign


def _draft(conn: Connection[Any], campaign_id: int) -> Campaign:
    campaign = _held(conn, campaign_id)
    if not campaign.is_draft:
        raise InvalidInput("campaign", "This campaign is no draft any more: it cannot be changed.")
    return campaign


def _template(conn: Connection[Any], campaign: Campaign) -> Version:
    template = template_of(conn, campaign) if campaign.is_mapped else None
    if template is None:
        raise InvalidInput("campaign", "Choose a template and what its fields are filled with first.")
    return template


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidInput("name", f"Give the campaign a name of up to {MAX_NAME} characters.")
    return name


def _unchecked() -> dict[str, Any]:
    """What was found of the rows counts no longer, and a check that is under way neither."""
    return {"forecast": None, "checked_at": None, "check_asked_at": None}


def _touch(person: str) -> dict[str, Any]:
    return {"changed_by": person, "changed_at": datetime.now(UTC)}
