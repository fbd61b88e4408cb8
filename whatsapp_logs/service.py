"""What a running process holds: configuration, pool, gateway. Every public method is a line into a verb."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
from psycopg import Connection

from whatsapp_logs import (
    access_log,
    alarms,
    api_tokens,
    bulk,
    campaign_run,
    campaigns,
    export,
    gate,
    ledger,
    making,
    overview,
    phone,
    privacy,
    receive,
    reconcile,
    refresh,
    schedule,
    self_test,
    send,
    settle,
    templates,
    track,
)
from whatsapp_logs.access_log import Access, AccessFilter, Look
from whatsapp_logs.alarms import Alarm, Watch
from whatsapp_logs.api_tokens import ApiToken
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.campaigns import Owners, Told
from whatsapp_logs.catalogue import Version
from whatsapp_logs.channels.base import Gateway, TemplateGateway
from whatsapp_logs.config import Config
from whatsapp_logs.consent import ConsentEvent
from whatsapp_logs.desk import Desk
from whatsapp_logs.drafting import Wanted
from whatsapp_logs.errors import DatabaseAway, LoggingFailed, MessageNotFound, ProviderError, ProviderNotConfigured
from whatsapp_logs.filters import Addressee, Cursor, MessageFilter
from whatsapp_logs.gathering import Gathering
from whatsapp_logs.message import (
    Draft,
    Inbound,
    MediaFile,
    Message,
    Recorded,
    Source,
    Status,
    StatusEvent,
    StatusReport,
    Template,
)
from whatsapp_logs.records import Records, clients_of
from whatsapp_logs.rights import Right
from whatsapp_logs.store import (
    accesses,
    consent_events,
    contacts,
    counts,
    handover,
    health,
    media,
    messages,
    migrate,
    queue,
    reconciliations,
    refreshes,
    related,
    scheduled,
    searches,
    status_events,
    template_sync,
)
from whatsapp_logs.store import alarms as readings
from whatsapp_logs.store import api_tokens as tokens
from whatsapp_logs.store import campaigns as campaign_rows
from whatsapp_logs.store import interactive as interactive_rows
from whatsapp_logs.store import privacy as privacy_rows
from whatsapp_logs.store import templates as template_rows
from whatsapp_logs.store.alarms import Readings
from whatsapp_logs.store.campaigns import Campaign
from whatsapp_logs.store.pool import Database
from whatsapp_logs.store.reconciliations import Difference, Reconciliation
from whatsapp_logs.store.selection import portal_ids
from whatsapp_logs.twilio.content import TwilioTemplates
from whatsapp_logs.twilio.gateway import TwilioGateway

T = TypeVar("T")
log = logging.getLogger(__name__)


class WhatsAppService:
    """The message log of one process; make one and share it between threads.

    `conn` arguments take a psycopg connection with a transaction of the caller's: then row and job commit with the caller's own
    rows, or not at all. Every method raises DatabaseAway when the database does not answer.
    """

    def __init__(self, config: Config, *, gateway: Gateway | None = None, records: Records | None = None) -> None:
        self.config = config
        self.database = Database(config)
        self._gateway = gateway or (TwilioGateway(config) if config.twilio_configured else None)
        self._templates = TwilioTemplates(config) if config.twilio_configured else None
        self._callbacks = Gathering(partial(self.record, source=Source.CALLBACK))
        self._exports = export.Exports(self.transaction)
        self._beside: dict[str, privacy.Beside] = {}
        self._watches: dict[str, Watch] = {}
        self.desk = Desk(config, self.database, gateway=lambda: self.gateway, records=records)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> WhatsAppService:
        """A service with the settings of the environment and `.env`; raises ConfigError with all problems."""
        return cls(Config.from_env(env))

    @property
    def gateway(self) -> Gateway:
        """The provider; raises ProviderNotConfigured without credentials."""
        if self._gateway is None:
            raise ProviderNotConfigured()
        return self._gateway

    def transaction(self) -> AbstractContextManager[Connection[Any]]:
        """A connection inside a transaction of its own."""
        return self.database.transaction()

    # --- sending and logging ---

    def template(
        self,
        name: str,
        variables: Mapping[str, str],
        *,
        media_variable: str | None = None,
        language: str | None = None,
    ) -> Template | None:
        """The template of that name with its values: the environment's, else the catalogue's newest approved version, else None.

        A version of the catalogue knows its own `media_variable`. Without `language` the one that was there first.
        """
        sid = self.config.templates.get(name)
        if sid is not None:
            return Template(sid=sid, name=name, variables=variables, media_variable=media_variable)
        with self.database.reading() as conn:
            return templates.find(conn, name, variables, media_variable=media_variable, language=language)

    def preview(self, draft: Draft) -> gate.Verdict:
        """What the gate would say of this draft now: the same that `send` acts on."""
        return self.preview_many([draft])[0]

    def preview_many(self, drafts: Sequence[Draft]) -> list[gate.Verdict]:
        """The same of many, in their order."""
        with self.database.reading() as conn:
            return gate.examine(
                conn, [send.timed(draft) for draft in drafts], config=self.config, now=datetime.now(UTC)
            )

    def preview_again(self, message_id: int, *, to: str | None = None) -> gate.Verdict:
        """What the gate would say now if this message were sent again, to this number."""
        with self.database.reading() as conn:
            message = _found(messages.get(conn, message_id))
            draft = send.repetition(conn, message, to=to)
            return gate.examine(conn, [draft], config=self.config, now=datetime.now(UTC))[0]

    def send(self, draft: Draft, *, conn: Connection[Any] | None = None) -> Message:
        """Write the message down and have it sent; returns at once. A draft that cannot be sent is a row that says why."""
        if conn is not None:
            return send.queue_message(conn, draft, config=self.config)
        with self.transaction() as own:
            return send.queue_message(own, draft, config=self.config)

    def send_many(self, drafts: Sequence[Draft], *, conn: Connection[Any] | None = None) -> list[int]:
        """Write many messages down and have them sent, all or none; ids in order. Each is promised what `send` promises one."""
        if conn is not None:
            return bulk.queue_messages(conn, drafts, config=self.config)
        with self.transaction() as own:
            return bulk.queue_messages(own, drafts, config=self.config)

    def send_again(
        self,
        message_id: int,
        *,
        created_by: str,
        request_key: str,
        to: str | None = None,
        confirmed: frozenset[str] = frozenset(),
    ) -> Message:
        """Send a failed message once more, as a new one; asked twice with one key, the first one's. See `send.send_again`."""
        with self.transaction() as conn:
            return send.send_again(
                conn,
                _found(messages.get(conn, message_id)),
                created_by=created_by,
                request_key=request_key,
                config=self.config,
                to=to,
                confirmed=confirmed,
            )

    # --- messages for later ---

    def recipient_zone(self, to: str, *, timezone: str | None = None) -> ZoneInfo:
        """Where this number's owner lives, as far as it tells: the office's zone where that can be."""
        return schedule.zone_of(to, timezone=timezone, config=self.config, now=datetime.now(UTC))

    def send_time(self, day: date, clock: time, zone: ZoneInfo) -> datetime:
        """For `Draft.send_at`: when it is that time in that zone. Raises InvalidInput for one that has passed."""
        return schedule.moment(day, clock, zone, now=datetime.now(UTC))

    def scheduled(self, *, after: Cursor | None = None, limit: int = 50) -> list[Message]:
        """What is coming, soonest first; go on after `Cursor(message.send_at, message.id)` of the last one."""
        with self.database.reading() as conn:
            return scheduled.coming(conn, after=after, limit=limit)

    def preview_scheduled(self, message: Message) -> gate.Verdict:
        """What the gate would say of a scheduled message, as things stand now."""
        with self.database.reading() as conn:
            draft = gate.draft_of(message, media_variable=messages.media_variable(conn, message.id))
            return gate.examine_changed(conn, draft, message, config=self.config, now=datetime.now(UTC))

    def cancel_scheduled(
        self,
        *,
        canceled_by: str,
        message_ids: Sequence[int] = (),
        policy_id: str | int | None = None,
        client_id: str | int | None = None,
        reason: str | None = None,
        conn: Connection[Any] | None = None,
    ) -> list[int]:
        """Take back these messages, or all that wait for their time of a policy or client; returns which had not left yet."""
        now = datetime.now(UTC)
        with nullcontext(conn) if conn is not None else self.transaction() as given:
            if message_ids:
                return schedule.cancel(given, message_ids, canceled_by=canceled_by, now=now, reason=reason)
            policy, client = (None if one is None else str(one) for one in (policy_id, client_id))
            with portal_ids(MessageFilter(policy_id=policy or "", client_id=client or "")):
                return schedule.cancel_of(
                    given, policy_id=policy, client_id=client, canceled_by=canceled_by, now=now, reason=reason
                )

    def why_not_canceled(self, message_id: int) -> str:
        """Why a message could not be taken back: it has left, or somebody was quicker."""
        with self.database.reading() as conn:
            return schedule.why_not(conn, message_id, zone=self.config.zone)

    def change_scheduled(
        self,
        message_id: int,
        *,
        changed_by: str,
        send_at: datetime | None = None,
        body: str | None = None,
        variables: Mapping[str, str] | None = None,
        confirmed: frozenset[str] = frozenset(),
    ) -> gate.Verdict:
        """Change a message that has not left; where the verdict refuses or asks, nothing was changed. See `schedule.change`."""
        with self.transaction() as conn:
            return schedule.change(
                conn,
                message_id,
                changed_by=changed_by,
                send_at=send_at,
                body=body,
                variables=variables,
                confirmed=confirmed,
                config=self.config,
                now=datetime.now(UTC),
            )

    def log_message(self, *, message_sid: str, to: str, conn: Connection[Any] | None = None, **facts: Any) -> Message:
        """Log a message that other code has sent; see `send.record_sent` for the facts. Told twice, it is one message.

        Raises LoggingFailed when it cannot be written down, for whatever reason the database gives.
        """
        try:
            with nullcontext(conn) if conn is not None else self.transaction() as given:
                return send.record_sent(given, config=self.config, message_sid=message_sid, to=to, **facts)
        except (psycopg.Error, DatabaseAway) as error:
            raise LoggingFailed() from error

    def deliver(self, ids: Sequence[int]) -> None:
        """Hand these queued messages to the provider (the worker's part)."""
        send.deliver(self.transaction, self.gateway, ids, config=self.config)

    def record(self, reports: Sequence[StatusReport], *, source: Source) -> list[Recorded]:
        """Store what a provider reported, in one transaction: that of its only statement, wherever it is the only one."""
        with self.database.reading() if track.is_one_statement(reports) else self.transaction() as conn:
            return track.record(conn, reports, source=source)

    def record_callback(self, report: StatusReport) -> Recorded:
        """Store one report that somebody waits to see acknowledged; those of threads that come together share a commit."""
        return self._callbacks.record(report)

    def receive(self, received: Inbound) -> int:
        """Write a customer's message down; returns its id. Told twice, it is one row."""
        with self.transaction() as conn:
            return receive.receive(conn, received, now=datetime.now(UTC))

    def receive_all(self, received: Sequence[Inbound]) -> list[int]:
        """The same of several that arrived together, in their order and in one transaction."""
        with self.transaction() as conn:
            return receive.receive_all(conn, received, now=datetime.now(UTC))

    # --- what customers agreed to ---

    def consent_of(self, address: str) -> list[ConsentEvent]:
        """One number's lines in the ledger of consent, the latest first."""
        with self.database.reading() as conn:
            return consent_events.of_address(conn, address)

    def consent_of_client(self, client_id: str, address: str | None) -> list[ConsentEvent]:
        """A client's lines, by their id and by the number that they have now; the latest first."""
        with self.database.reading() as conn:
            return consent_events.of_client(conn, client_id, address)

    def consent_page(
        self, *, before: Cursor | None = None, kind: str | None = None, limit: int = 50
    ) -> list[ConsentEvent]:
        """Everybody's lines, the latest first."""
        with self.database.reading() as conn:
            return consent_events.page(conn, before=before, kind=kind, limit=limit)

    def record_consent(
        self,
        *,
        address: str,
        kind: str,
        wording: str,
        recorded_by: str,
        scope: str = "all",
        happened_at: datetime | None = None,
        client_id: str | None = None,
    ) -> int:
        """Write down what a customer said, signed or ticked; see `ledger.record`. Raises InvalidInput."""
        with self.transaction() as conn:
            return ledger.record(
                conn,
                address=phone.to_address(address, region=self.config.default_region),
                kind=kind,
                scope=scope,
                wording=wording,
                recorded_by=recorded_by,
                happened_at=happened_at or datetime.now(UTC),
                client_id=client_id,
            )

    # --- campaigns; the verbs are `campaigns.py`, whose docstrings say what they raise ---

    def campaigns(self, *, before: int | None = None, limit: int = 50) -> list[Campaign]:
        """Campaigns, the newest first."""
        with self.database.reading() as conn:
            return campaign_rows.latest(conn, before=before, limit=limit)

    def campaign(self, campaign_id: int) -> Told:
        """All that a campaign's page tells. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return campaigns.told(conn, campaign_id, config=self.config)

    def campaign_table(self, campaign: Campaign, *, limit: int) -> list[campaign_rows.Recipient]:
        """The first rows of a campaign's table."""
        with self.database.reading() as conn:
            return campaign_rows.rows(conn, campaign, limit=limit)

    def campaign_results(
        self, campaign: Campaign, *, after: int = 0, limit: int = 50, only_problems: bool = False
    ) -> list[campaign_rows.Result]:
        """Rows of a campaign's table with what became of them, from the one after that position on."""
        with self.database.reading() as conn:
            return campaign_rows.results(conn, campaign, after=after, limit=limit, only_problems=only_problems)

    def begin_campaign(self, table: Table, *, name: str, source: str, created_by: str) -> int:
        """A new draft with an uploaded table; its id."""
        with self.transaction() as conn:
            return campaigns.begin(conn, table, name=name, source=source, created_by=created_by)

    def begin_campaign_with(self, found: Sequence[Addressee], **how: Any) -> int:
        """A new draft with those whom the portal has chosen; its id. See `campaigns.begin_with`."""
        with self.transaction() as conn:
            return campaigns.begin_with(conn, found, **how)

    def replace_campaign_table(self, campaign_id: int, table: Table, *, source: str, person: str) -> None:
        """Another table for a draft."""
        with self.transaction() as conn:
            campaigns.replace_table(conn, campaign_id, table, source=source, person=person)

    def map_campaign(self, campaign_id: int, **meaning: Any) -> bool:
        """Say what goes out and what its fields are filled with, and check every row; see `campaigns.map_columns`.

        Of many rows the worker does that; whether it is done.
        """
        with self.transaction() as conn:
            campaigns.map_columns(conn, campaign_id, **meaning)
            return self._check(conn, campaign_id)

    def check_campaign(self, campaign_id: int) -> bool:
        """Ask the gate about every row again; whether it is done, or the worker does it."""
        with self.transaction() as conn:
            return self._check(conn, campaign_id)

    def run_check(self, campaign_id: int, *, asked_at: datetime) -> None:
        """Check a large campaign's rows (the worker's part); see `campaigns.check_in_steps`."""
        campaigns.check_in_steps(
            self.transaction, campaign_id, asked_at=asked_at, config=self.config, owners=self._owners()
        )

    def _check(self, conn: Connection[Any], campaign_id: int) -> bool:
        is_small = campaigns.known(conn, campaign_id).recipients <= campaigns.CHECKED_AT_ONCE
        if is_small:
            campaigns.check(conn, campaign_id, config=self.config, owners=self._owners())
        else:
            campaigns.check_soon(conn, campaign_id)
        return is_small

    def _owners(self) -> Owners | None:
        """Whose number each is, by the office's records; None without them."""
        records = self.desk.records
        return None if records is None else partial(clients_of, records)

    def start_campaign(self, campaign_id: int, *, person: str, again: bool = False) -> Campaign:
        """Send it, or ask for its release."""
        with self.transaction() as conn:
            return campaigns.start(conn, campaign_id, person=person, again=again, config=self.config)

    def release_campaign(self, campaign_id: int, *, person: str) -> Campaign:
        """Let it go, as a second person."""
        with self.transaction() as conn:
            return campaigns.release(conn, campaign_id, person=person)

    def take_campaign_back(self, campaign_id: int, *, person: str) -> None:
        """Make it a draft again."""
        with self.transaction() as conn:
            campaigns.take_back(conn, campaign_id, person=person)

    def pause_campaign(self, campaign_id: int, *, person: str) -> None:
        """Hand nothing more over."""
        with self.transaction() as conn:
            campaigns.pause(conn, campaign_id, person=person)

    def resume_campaign(self, campaign_id: int, *, person: str) -> None:
        """Go on."""
        with self.transaction() as conn:
            campaigns.resume(conn, campaign_id, person=person)

    def cancel_campaign(self, campaign_id: int, *, person: str) -> int:
        """End it; returns how many messages are not sent."""
        with self.transaction() as conn:
            return campaigns.cancel(conn, campaign_id, person=person)

    def retry_campaign(self, campaign_id: int, *, kinds: frozenset[str], person: str) -> int:
        """A new draft, checked, with those whose message failed for a reason of these kinds; its id."""
        with self.transaction() as conn:
            again = campaigns.retry(conn, campaign_id, kinds=kinds, person=person)
            self._check(conn, again)
            return again

    def campaign_in_doubt(self, campaign_id: int) -> int:
        """How many of a campaign's messages in doubt somebody may settle now."""
        now, waited = datetime.now(UTC), settle.BY_HAND_AFTER
        with self.database.reading() as conn:
            campaigns.known(conn, campaign_id)
            return len(campaign_rows.in_doubt(conn, campaign_id, now=now, waited=waited, limit=100_000))

    def settle_campaign(self, campaign_id: int, *, was_sent: bool, created_by: str) -> int:
        """Have the worker look up what is in doubt and record this person's word for the rest; returns how many there are."""
        count = self.campaign_in_doubt(campaign_id)
        if count:
            with self.transaction() as conn:
                queue.defer(conn, "settle_campaign", campaign_id=campaign_id, was_sent=was_sent, created_by=created_by)
        return count

    def run_settling(self, campaign_id: int, *, was_sent: bool, created_by: str) -> int:
        """Carry that out (the worker's part); see `settle.campaign_by_hand`."""
        return settle.campaign_by_hand(
            self.transaction, self.gateway, campaign_id, was_sent=was_sent, created_by=created_by
        )

    def test_campaign(self, campaign_id: int, *, to: str, person: str) -> Message:
        """Send the first row's message to one's own number, as a single message."""
        with self.transaction() as conn:
            draft = campaigns.test_draft(conn, campaign_id, to=to, person=person)
            message = send.queue_message(conn, draft, config=self.config)
            campaigns.note_test(conn, campaign_id, message)
            return message

    def run_campaigns(self) -> None:
        """Hand campaigns' messages over for a slice of time (the worker's part)."""
        campaign_run.run(self.transaction, self.gateway, config=self.config)

    # --- asking the provider ---

    def refresh_message(self, message: Message) -> Recorded | None:
        """Ask about one message now. Raises ProviderNotConfigured or ProviderAway."""
        return refresh.one(self.transaction, self.gateway, message)

    def refresh_all(self, *, started_by: str | None) -> refreshes.Refresh:
        """Begin "refresh all", or join the run under way."""
        assert self.gateway
        with self.transaction() as conn:
            return refresh.start(conn, started_by=started_by)

    def run_refresh(self, refresh_id: int) -> None:
        """Carry a run out (the worker's part)."""
        refresh.run(self.transaction, self.gateway, refresh_id)

    def refresh_progress(self, refresh_id: int | None = None) -> refreshes.Refresh | None:
        """How far a run is; without an id the one under way, or the last."""
        with self.database.reading() as conn:
            return refreshes.latest(conn) if refresh_id is None else refreshes.get(conn, refresh_id)

    def cancel_refresh(self, refresh_id: int) -> None:
        """Ask a run to stop after the batch it is at."""
        with self.transaction() as conn:
            refreshes.ask_to_cancel(conn, refresh_id)

    def settle_unconfirmed(self) -> int:
        """Look up messages whose answer was lost; returns how many were found."""
        with self.transaction() as conn:
            lost = handover.unconfirmed(conn, now=datetime.now(UTC), limit=100)
        return settle.by_list(self.transaction, self.gateway, lost) if lost else 0

    def declare_not_sent(self, message_id: int, *, created_by: str) -> Message:
        """Settle an unconfirmed message by this person's word, unless Twilio's list shows it now; see `settle.by_hand`."""
        return settle.by_hand(self.transaction, self.gateway, self.message(message_id), created_by=created_by)

    # --- comparing with the provider ---

    def reconcile_day(self, day: date, *, started_by: str | None) -> Reconciliation:
        """Begin comparing a UTC day with the provider's list, or join the run under way. Raises ProviderNotConfigured."""
        assert self.gateway
        with self.transaction() as conn:
            return reconcile.start(conn, day, started_by=started_by)

    def run_reconciliation(self, reconciliation_id: int) -> None:
        """Carry a comparison out (the worker's part)."""
        reconcile.run(self.transaction, self.gateway, reconciliation_id, sender=self.config.sender)

    def reconciliations(self) -> list[Reconciliation]:
        """The last comparison of each day, the newest day first."""
        with self.database.reading() as conn:
            return reconciliations.latest(conn)

    def reconciliation(self, reconciliation_id: int) -> Reconciliation:
        """One comparison. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return _found(reconciliations.get(conn, reconciliation_id), "There was no such reconciliation.")

    def differences(self, reconciliation_id: int, *, limit: int = 500) -> list[Difference]:
        """What a comparison found to differ, the gravest first."""
        with self.database.reading() as conn:
            return reconciliations.differences(conn, reconciliation_id, limit=limit)

    def found_at_provider(self, message_id: int) -> datetime | None:
        """When the message was found at the provider because the log had no record of it; None for the log's own."""
        with self.database.reading() as conn:
            return reconciliations.found_at(conn, message_id)

    # --- templates ---

    @property
    def template_gateway(self) -> TemplateGateway:
        """The provider's templates; raises ProviderNotConfigured without credentials."""
        if self._templates is None:
            raise ProviderNotConfigured()
        return self._templates

    def synchronise_templates(self, *, asked_by: str | None = None) -> templates.Synchronised:
        """Bring the catalogue to what the provider has. Raises ProviderNotConfigured or ProviderAway."""
        return templates.synchronise(self.transaction, self.template_gateway, asked_by=asked_by)

    def make_contents(self) -> None:
        """Have Twilio keep what the bot's questions need to be pressed, if anything is wanted; see `making.make`."""
        try:
            names = making.make(self.transaction, self.template_gateway)
            if names:
                self.synchronise_templates()  # the gate knows what the catalogue knows
                with self.transaction() as conn:
                    interactive_rows.put_away(conn, names)
        except ProviderError as error:
            log.warning("questions stay text for now: %s", error)

    def template_sync(self) -> template_sync.Sync:
        """When the catalogue was last compared with the provider's, and what kept it from that since."""
        with self.database.reading() as conn:
            return template_sync.read(conn)

    def template_entries(self, *, archived: bool = False) -> list[template_rows.Entry]:
        """The catalogue by name, with how often each template was used lately."""
        with self.database.reading() as conn:
            return template_rows.entries(conn, archived=archived, now=datetime.now(UTC))

    def template_versions(self, template_id: int) -> list[Version]:
        """A template's versions, the latest first. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return _found(template_rows.of_template(conn, template_id) or None, "There is no such template.")

    def template_version(self, version_id: int) -> Version | None:
        """One version, such as the one that a message is pinned to."""
        with self.database.reading() as conn:
            return template_rows.version(conn, version_id)

    def template_events(self, template_id: int) -> list[template_rows.Event]:
        """How the approval of a template's versions changed, the latest first."""
        with self.database.reading() as conn:
            return template_rows.events(conn, template_id)

    def usable_templates(self, *, name: str | None = None, language: str | None = None) -> list[Version]:
        """What may be sent with at any time: the newest approved version of each template."""
        with self.database.reading() as conn:
            return template_rows.usable(conn, name=name, language=language)

    def templates_of_words(self) -> list[Version]:
        """Those of them that a campaign, or a person answering, fills in and sends."""
        return [one for one in self.usable_templates() if one.is_of_words_alone]

    def templates_of_policies(self) -> list[Version]:
        """Those of them that can be filled in from a policy: of words, or with a document of ours."""
        return [one for one in self.usable_templates() if one.is_filled_in]

    def templates_named(self) -> dict[str, Version | None]:
        """What TWILIO_TEMPLATE_… names, by name: the catalogue's version of that SID; None where it does not know it yet."""
        with self.database.reading() as conn:
            known = {
                one.content_sid: one for one in template_rows.of_sids(conn, sorted(self.config.templates.values()))
            }
        return {name: known.get(sid) for name, sid in self.config.templates.items()}

    def latest_template(self, name: str, *, language: str | None = None) -> Version | None:
        """The version of that name that was submitted last, whatever became of it."""
        with self.database.reading() as conn:
            return template_rows.latest(conn, name=name, language=language)

    def save_template(
        self, wanted: Wanted, *, person: str, template_id: int | None = None, seen: str | None = None
    ) -> int:
        """Write a template's draft, or the next version of one that is there; returns its id. See `templates.save`."""
        with self.transaction() as conn:
            return templates.save(conn, wanted, template_id=template_id, seen=seen, config=self.config, person=person)

    def submit_template(self, version_id: int, *, person: str) -> Version:
        """Put a version to WhatsApp; see `templates.submit`."""
        return templates.submit(self.transaction, self.template_gateway, version_id, person=person)

    def rename_template_fields(self, version_id: int, names: Mapping[str, str]) -> None:
        """What the office calls a version's fields. Raises InvalidInput."""
        with self.transaction() as conn:
            templates.rename_fields(conn, version_id, names)

    def archive_template(self, template_id: int, *, archived_by: str | None) -> bool:
        """Offer a template no more, or again (None); False when there is none."""
        with self.transaction() as conn:
            return template_rows.set_archived(conn, template_id, archived_by=archived_by)

    def last_inbound_at(self, address: str) -> datetime | None:
        """When this customer last wrote to us."""
        with self.database.reading() as conn:
            return contacts.last_inbound_at(conn, address, our_number=self.config.sender)

    def window_until(self, address: str) -> datetime | None:
        """Until when free text may be sent to this address; None where only approved templates reach it."""
        return gate.window_until(self.last_inbound_at(address), now=datetime.now(UTC))

    # --- reading ---

    def overview(
        self,
        wanted: MessageFilter,
        *,
        before: Cursor | None = None,
        after: Cursor | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> overview.Overview:
        """One page of the log with its counts."""
        with self.database.reading() as conn:
            return overview.read(conn, wanted, before=before, after=after, offset=offset, limit=limit)

    def page(
        self,
        wanted: MessageFilter,
        *,
        before: Cursor | None = None,
        after: Cursor | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> messages.Page:
        """One page of the log, newest first."""
        with self.database.reading() as conn:
            return messages.page(conn, wanted, before=before, after=after, offset=offset, limit=limit)

    def count(self, wanted: MessageFilter) -> int:
        """How many messages match; see `overview.count` for "more than that"."""
        with self.database.reading() as conn:
            return overview.count(conn, wanted)

    def count_by_status(self, wanted: MessageFilter) -> Mapping[Status, int] | None:
        """How many messages of a filter without statuses stand at each status; None when there are too many to count."""
        with self.database.reading() as conn:
            return overview.count_by_status(conn, wanted)

    def export(self, wanted: MessageFilter, reader: export.Reader, *, form: str = export.CSV) -> Generator[bytes]:
        """The whole list as a file, block by block; see `export.Exports.file`."""
        return self._exports.file(wanted, reader, form=form)

    def message(self, message_id: int) -> Message:
        """The message of that id. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return _found(messages.get(conn, message_id))

    def message_by_sid(self, message_sid: str) -> Message:
        """The message of that Twilio SID. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return _found(messages.by_provider_id(conn, message_sid))

    def sent_again(self, ids: Sequence[int]) -> dict[int, int]:
        """For those of these messages that were sent again: their id → the latest repetition's."""
        with self.database.reading() as conn:
            return related.sent_again(conn, ids)

    def clients_of(self, addresses: Sequence[str]) -> dict[str, str]:
        """Whose number each of these is, as far as messages were sent there: address → client id."""
        with self.database.reading() as conn:
            return related.clients_of(conn, addresses)

    def latest_messages(self, *, policy_ids: Sequence[str], message_type: str) -> dict[str, Message]:
        """The newest message of this type of each policy, by policy id; a policy without one is not in it."""
        with self.database.reading() as conn:
            return messages.latest_of_policies(conn, policy_ids, message_type=message_type)

    def timeline(self, message_id: int) -> list[StatusEvent]:
        """A message's events in the order in which they happened."""
        with self.database.reading() as conn:
            return status_events.timeline(conn, message_id)

    def unmatched(self, *, limit: int = 100) -> list[StatusEvent]:
        """Reports of messages that nobody knows, newest first."""
        with self.database.reading() as conn:
            return status_events.parked(conn, limit=limit)

    def status_counts(self, *, types: tuple[str, ...] = ()) -> dict[Status, int]:
        """How many outgoing messages stand at each status, exact."""
        with self.database.reading() as conn:
            return counts.totals(conn).by_status(types=types)

    def message_types(self) -> list[str]:
        """The message types that occur, the most frequent first."""
        with self.database.reading() as conn:
            return counts.totals(conn).types

    def document(self, media_id: str) -> MediaFile:
        """A stored document. Raises MessageNotFound."""
        with self.database.reading() as conn:
            return _found(media.get(conn, media_id), "This document is not in the log.")

    # --- who has looked ---

    def note_access(self, look: Look) -> None:
        """Write down who looks at what, before it is shown. The same person's same look is written once in a quarter of an hour."""
        with self.transaction() as conn:
            accesses.write(conn, look)

    def accesses(self, wanted: AccessFilter, *, before: Cursor | None = None, limit: int = 50) -> list[Access]:
        """Looks, newest first; of a client: at its messages, for its numbers, and exports that held some. Changed by nobody."""
        with self.database.reading() as conn:
            whom: list[str] = []
            if wanted.client_id:
                with portal_ids(MessageFilter(client_id=wanted.client_id)):
                    numbers, policies = accesses.of_client(conn, wanted.client_id)
                whom = [f"client:{wanted.client_id}", *(f"policy:{policy}" for policy in policies)]
                whom += access_log.numbers(self.config, numbers)
            return accesses.page(conn, wanted, whom=whom, before=before, limit=limit)

    def people_who_looked(self) -> list[str]:
        """Everybody in the access log, by name."""
        with self.database.reading() as conn:
            return accesses.people(conn)

    def remember_search(self, phone: str, *, person: str) -> str:
        """A word for a phone search, for addresses; only this person's, for half a day."""
        with self.transaction() as conn:
            return searches.remember(conn, phone, person=person)

    def recall_search(self, token: str, *, person: str) -> str | None:
        """What a word of `remember_search` stands for; None when it is not this person's, or no longer."""
        with self.database.reading() as conn:
            return searches.recall(conn, token, person=person)

    # --- what is erased, and what is held ---

    def retention(self) -> list[tuple[privacy_rows.Rule, privacy_rows.Due]]:
        """Each rule, and what it would erase tonight."""
        with self.database.reading() as conn:
            return [(rule, privacy_rows.due(conn, rule)) for rule in privacy_rows.rules(conn)]

    def set_retention(self, message_type: str, months: int | None, *, set_by: str) -> None:
        """Keep what messages of this type said for so many months; None for good."""
        with self.transaction() as conn:
            privacy_rows.set_rule(conn, message_type, months, set_by=set_by)

    def run_retention(self) -> int:
        """Erase what the rules let go (the worker's part, every night); returns how many messages."""
        return privacy.run_retention(self.transaction)

    def holds(self) -> list[privacy_rows.Hold]:
        """The legal holds in force."""
        with self.database.reading() as conn:
            return privacy_rows.holds(conn)

    def place_hold(self, *, client_id: str | None, policy_id: str | None, reason: str, placed_by: str) -> None:
        """Keep a client's or a policy's messages from being erased, by whatever rule or request."""
        with self.transaction() as conn:
            privacy_rows.place_hold(conn, client_id=client_id, policy_id=policy_id, reason=reason, placed_by=placed_by)

    def lift_hold(self, hold_id: int, *, lifted_by: str) -> bool:
        """End a hold; False when there is none of that number."""
        with self.transaction() as conn:
            return privacy_rows.lift_hold(conn, hold_id, lifted_by=lifted_by)

    def rehearse_erasure(self, client_id: str, *, number: str | None = None) -> privacy_rows.Due:
        """What erasing this client would erase, and what stays. `number` is the portal's for them now: it is searched for too."""
        with self.database.reading() as conn, portal_ids(MessageFilter(client_id=client_id)):
            numbers = privacy.numbers_of(conn, client_id, number, config=self.config)
            return privacy.rehearse_client(conn, client_id, numbers, beside=tuple(self._beside.values()))

    def erase_client(self, client_id: str, *, reason: str, person: str, number: str | None = None) -> privacy_rows.Due:
        """Erase what a client's messages and their rows in campaigns' tables said, to which number, and that they were theirs.

        What the portal keeps of them beside goes too. Held ones stay, and those on their way; a row that is no message yet becomes
        none.
        """
        with self.transaction() as conn, portal_ids(MessageFilter(client_id=client_id)):
            numbers = privacy.numbers_of(conn, client_id, number, config=self.config)
            beside = tuple(self._beside.values())
            return privacy.erase_client(conn, client_id, numbers, reason=reason, person=person, beside=beside)

    def erase_beside(self, name: str, beside: privacy.Beside) -> None:
        """Have the portal's own records of a client rehearsed and erased with the messages, in the same transaction."""
        self._beside[name] = beside

    def erasures(self) -> list[privacy_rows.Erasure]:
        """What was erased, the latest first."""
        with self.database.reading() as conn:
            return privacy_rows.erasures(conn)

    # --- programs that read ---

    def make_api_token(self, *, name: str, rights: frozenset[Right], created_by: str, lasts: timedelta) -> str:
        """A new token for the API. It is returned once; here only its hash is kept."""
        token = api_tokens.make()
        with self.transaction() as conn:
            tokens.insert(
                conn,
                name=name,
                token_hash=api_tokens.hashed(token),
                rights=rights,
                created_by=created_by,
                lasts=lasts,
            )
        return token

    def api_tokens(self) -> list[ApiToken]:
        """Every token, those that still work first."""
        with self.database.reading() as conn:
            return tokens.all_of_them(conn)

    def revoke_api_token(self, token_id: int, *, revoked_by: str) -> bool:
        """End a token; False when there is none that still works."""
        with self.transaction() as conn:
            return tokens.revoke(conn, token_id, revoked_by=revoked_by)

    def use_api_token(self, token: str, *, address: str | None) -> ApiToken | None:
        """The token that a call carries, and that it was used; None for one that is expired, ended or made up."""
        with self.database.reading() as conn:
            found = tokens.find(conn, api_tokens.hashed(token))
            if found is not None and tokens.is_worth_noting(found, datetime.now(UTC)):
                tokens.note_use(conn, found, address=address)
        return found

    # --- the surroundings ---

    def server(self) -> health.Server:
        """The database server's version and clock, and the workers' last sign of life."""
        with self.database.reading() as conn:
            return health.look(conn)

    def state(self) -> str:
        """A word that is another one as soon as anything in the database has changed."""
        with self.database.reading() as conn:
            return health.state(conn)

    def readings(self) -> readings.Readings:
        """The state of the log's surroundings: what alarms and metrics are made of."""
        silence = timedelta(minutes=self.config.alarm_callback_silence_minutes)
        with self.database.reading() as conn:
            return readings.read(conn, callback_silence=silence)

    def alarms(self, taken: Readings | None = None) -> list[Alarm]:
        """What somebody should look at now, the gravest first; by readings that were just taken, where there are some."""
        return alarms.raised(taken or self.readings(), self.config, watches=self._watches.values())

    def alarm_names(self) -> tuple[str, ...]:
        """Every alarm that there is, the portal's own too."""
        return (*alarms.names(), *(name for watch in self._watches.values() for name in watch.names))

    def watch(self, name: str, watch: Watch) -> None:
        """Raise a portal's own alarms beside the log's, wherever those are shown; asked again under the same name, in its place."""
        self._watches[name] = watch

    def count_refused(self, calls: Mapping[tuple[str, str], int]) -> None:
        """Add calls that were refused, per (route, reason)."""
        with self.transaction() as conn:
            readings.count_refused(conn, calls)

    def test_callback(self, *, worker_timeout_s: float = 10.0) -> list[self_test.Step]:
        """Call ourselves back through the public address; each part of the way in turn, up to the first that fails."""
        return self_test.run(self.transaction, self.config, worker_timeout_s=worker_timeout_s)

    def hear_self_test(self, nonce: str) -> bool:
        """The signed callback of a test has come; False when nobody has begun such a test."""
        with self.transaction() as conn:
            return self_test.hear(conn, nonce)

    def check_schema(self) -> None:
        """Raise SchemaMismatch unless the tables are this program's."""
        with self.database.reading() as conn:
            migrate.check_current(conn)

    def close(self) -> None:
        """Give everything back."""
        self.database.close()


def _found(value: T | None, text: str = "This message is not in the log.") -> T:
    if value is None:
        raise MessageNotFound(text)
    return value
