"""The one gate before every send: what keeps a message from its recipient, or should, and what to do about it.

It is asked by every preview, when a message is queued, and once more when it is handed over; the rules are the same, so that no
preview can lie. What a finding means depends on the way by which the message leaves: `OUTCOMES`. Rules: ../docs/sending.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from psycopg import Connection

from whatsapp_logs import phone, zones
from whatsapp_logs.catalogue import UNCLEAN
from whatsapp_logs.channels import whatsapp
from whatsapp_logs.config import Config, is_public
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import Draft, Message, Path, Template
from whatsapp_logs.store import facts
from whatsapp_logs.store.facts import Facts, TemplateFacts

WINDOW = timedelta(hours=24)
_EARLY = timedelta(
    minutes=1
)  # the provider's clock decides, and the way there takes time: better closed a minute too soon
DAY = timedelta(days=1)
_TEXT_NOT_SHOWN = ("application/", "audio/", "video/", "text/vcard")  # Twilio ignores Body with these


class Rule(StrEnum):
    """What is asked of every message, in this order. The value names the rule in settings, in confirmations and beside errors."""

    ADDRESS = "address"
    CONTENT = "content"
    CONSENT = "consent"
    WINDOW = "window"
    TEMPLATE = "template"
    VARIABLES = "variables"
    MEDIA = "media"
    DUPLICATE = "duplicate"
    FREQUENCY = "frequency"
    QUIET_HOURS = "quiet_hours"
    SENDER_LIMIT = "sender_limit"


class Outcome(StrEnum):
    """What a finding means: it is never sent; a person has to say that it is meant; it leaves later; it is only said."""

    REFUSES = "refuses"
    ASKS = "asks"
    WAITS = "waits"
    TELLS = "tells"
    PASSES = "passes"


class Action(StrEnum):
    """What to do about a finding; pages make a button or link of it where they can."""

    CORRECT_NUMBER = "Correct the number"
    USE_TEMPLATE = "Send an approved template instead"
    CHOOSE_TEMPLATE = "Choose another template"
    FILL_FIELDS = "Fill in every field"
    SHORTEN = "Shorten the text"
    CHANGE_FILE = "Attach another file"
    SEND_ANYWAY = "Send it all the same"
    SEND_LATER = "Send it later"
    CALL = "Call or write a letter"
    RECORD_CONSENT = "Record the customer's agreement"
    NONE = ""


# Finding by finding, way by way. A rule that is not named for a way refuses.
_ASKING = {Rule.DUPLICATE: Outcome.ASKS, Rule.FREQUENCY: Outcome.ASKS, Rule.QUIET_HOURS: Outcome.TELLS}
_TALKING = {Rule.DUPLICATE: Outcome.PASSES, Rule.FREQUENCY: Outcome.PASSES, Rule.QUIET_HOURS: Outcome.PASSES}
_ON_ITS_OWN = {Rule.DUPLICATE: Outcome.REFUSES, Rule.QUIET_HOURS: Outcome.WAITS}
OUTCOMES: Mapping[Path, Mapping[Rule, Outcome]] = {
    path: dict.fromkeys(Rule, Outcome.REFUSES) | {Rule.SENDER_LIMIT: Outcome.WAITS} | special
    for path, special in {
        Path.SINGLE: _ASKING,
        Path.AGAIN: _ASKING,
        Path.SCHEDULED: _ASKING,
        Path.REPLY: _TALKING,
        Path.BOT: _TALKING,
        Path.CAMPAIGN: _ON_ITS_OWN | {Rule.FREQUENCY: Outcome.REFUSES},
        Path.RENEWAL: _ON_ITS_OWN | {Rule.FREQUENCY: Outcome.WAITS},
    }.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the gate has found. `code` stands in the log beside a refusal; `text` is for whoever sends.

    `until` is when a message that waits may leave. `is_confirmed`: somebody has seen this and wants it all the same.
    """

    rule: Rule
    outcome: Outcome
    code: str
    text: str
    action: Action = Action.NONE
    until: datetime | None = None
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All that the gate has to say of one draft. `recipient` is the address it would go to.

    `window_until` is when free text may be sent no longer; None where it may not be sent now. `template` is the catalogue's.
    `lately` is how many messages they were sent within the day; `begins` is whether they count against the sender's daily limit.
    """

    recipient: str
    findings: tuple[Finding, ...] = ()
    window_until: datetime | None = None
    template: TemplateFacts | None = None
    lately: int = 0
    begins: bool = False

    @property
    def refusal(self) -> Finding | None:
        """Why it is not sent: what is refused, or asked and not yet answered."""
        for finding in self.findings:
            if finding.outcome is Outcome.REFUSES or (finding.outcome is Outcome.ASKS and not finding.is_confirmed):
                return finding
        return None

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """What a person has to answer, unless something is refused anyway."""
        if any(finding.outcome is Outcome.REFUSES for finding in self.findings):
            return ()
        return tuple(f for f in self.findings if f.outcome is Outcome.ASKS and not f.is_confirmed)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing, and keeps nothing."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.TELLS)

    @property
    def waits(self) -> Finding | None:
        """Why it leaves later only: the finding that keeps it longest."""
        waiting = [finding for finding in self.findings if finding.outcome is Outcome.WAITS and finding.until]
        return max(waiting, key=lambda finding: finding.until.timestamp() if finding.until else 0, default=None)


@dataclass(slots=True, kw_only=True)  # not frozen, which would be half of what making one costs
class _Case:
    """A draft with everything that the rules ask about."""

    draft: Draft
    recipient: str
    config: Config
    now: datetime
    facts: Facts
    template: TemplateFacts | None
    catalogue_is_known: bool
    written_to: tuple[int, datetime | None]
    media_type: str | None = None
    message: Message | None = None

    @property
    def leaves_at(self) -> datetime:
        return max(self.now, self.draft.send_at) if self.draft.send_at else self.now

    @property
    def window_until(self) -> datetime | None:
        return window_until(self.facts.last_inbound_at, now=self.leaves_at)


@dataclass(slots=True)
class _Found:
    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        case: _Case,
        rule: Rule,
        code: str,
        text: str,
        action: Action = Action.NONE,
        *,
        until: datetime | None = None,
        only_told: bool = False,
    ) -> None:
        outcome = Outcome.TELLS if only_told else OUTCOMES[case.draft.path][rule]
        if outcome is Outcome.PASSES or rule in case.config.gate_off:
            return
        confirmed = rule in case.draft.confirmed
        self.findings.append(
            Finding(
                rule=rule, outcome=outcome, code=code, text=text, action=action, until=until, is_confirmed=confirmed
            )
        )


def window_until(last_inbound_at: datetime | None, *, now: datetime) -> datetime | None:
    """When the window that the customer's last message has opened closes; None where none is open at `now`."""
    until = None if last_inbound_at is None else last_inbound_at + WINDOW - _EARLY
    return until if until is not None and until > now else None


def examine(conn: Connection[Any], drafts: Sequence[Draft], *, config: Config, now: datetime) -> list[Verdict]:
    """What the gate has to say of each of these drafts, in their order; three statements, however many there are."""
    return _examine(conn, [(draft, None) for draft in drafts], config=config, now=now)


def examine_claimed(
    conn: Connection[Any], message: Message, *, media_variable: str | None, config: Config, now: datetime
) -> Verdict:
    """The same of a message that is about to be handed over: what has changed since it was queued counts."""
    return examine_all_claimed(conn, [(message, media_variable)], config=config, now=now)[0]


def examine_all_claimed(
    conn: Connection[Any], claimed: Sequence[tuple[Message, str | None]], *, config: Config, now: datetime
) -> list[Verdict]:
    """The same of many, each with the placeholder that takes its document's link."""
    pairs = [(draft_of(message, media_variable=variable), message) for message, variable in claimed]
    return _examine(conn, pairs, config=config, now=now)


def examine_changed(conn: Connection[Any], draft: Draft, message: Message, *, config: Config, now: datetime) -> Verdict:
    """The same of a message that waits for its time, as this draft would have it."""
    return _examine(conn, [(draft, message)], config=config, now=now)[0]


def draft_of(message: Message, *, media_variable: str | None = None) -> Draft:
    """A queued message as the draft that it was, without its document's bytes."""
    template = None
    if message.template_sid is not None:
        template = Template(
            sid=message.template_sid,
            name=message.template_name or "",
            variables=message.variables or {},
            media_variable=media_variable,
        )
    return Draft(
        to=message.recipient,
        message_type=message.message_type,
        body=message.body,
        media_url=message.media_url,
        template=template,
        policy_id=message.policy_id,
        client_id=message.client_id,
        created_by=message.created_by,
        send_at=message.send_at,
        path=Path(message.path),
        confirmed=frozenset(message.confirmed or ()),
        timezone=message.timezone,
        campaign_id=message.campaign_id,
    )


def address_of(draft: Draft, config: Config) -> tuple[str, str | None]:
    """The recipient's address, and why it cannot be one; then it is what was written."""
    try:
        return phone.to_address(draft.to, region=config.default_region), None
    except InvalidInput as error:
        return draft.to.strip()[:100] or "(none)", error.reason


def _examine(
    conn: Connection[Any], pairs: Sequence[tuple[Draft, Message | None]], *, config: Config, now: datetime
) -> list[Verdict]:
    addresses = [address_of(draft, config) for draft, _ in pairs]
    known = facts.of_drafts(
        conn,
        [_asked(place, draft, addresses[place][0], message, now) for place, (draft, message) in enumerate(pairs)],
        our_number=config.sender,
        now=now,
        within=DAY,
    )
    sids = {draft.template.sid for draft, _ in pairs if draft.template}
    templates = facts.of_templates(conn, sorted(sids)) if sids else {}
    catalogue_is_known = bool(sids) and (bool(templates) or facts.knows_templates(conn))
    limit = config.daily_customers
    written_to: tuple[int, datetime | None] = (0, None)
    if limit:
        written_to = facts.written_to_first(conn, our_number=config.sender, since=now - DAY, limit=limit)
    verdicts = []
    for place, (draft, message) in enumerate(pairs):
        recipient, wrong = addresses[place]
        case = _Case(
            draft=draft,
            recipient=recipient,
            config=config,
            now=now,
            facts=known[place],
            template=templates.get(draft.template.sid) if draft.template else None,
            catalogue_is_known=catalogue_is_known,
            written_to=written_to,
            media_type=draft.media.content_type if draft.media else message.media_content_type if message else None,
            message=message,
        )
        verdicts.append(_judge(case, wrong))
    return verdicts


def _asked(place: int, draft: Draft, recipient: str, message: Message | None, now: datetime) -> dict[str, Any]:
    """What `of_drafts` takes; of ten thousand drafts, what is nothing is left out."""
    asked: dict[str, Any] = {
        "place": place,
        "recipient": recipient,
        "body": draft.body,
        "template_sid": draft.template.sid if draft.template else None,
        "variables": dict(draft.template.variables) if draft.template else None,
        "media_sha256": hashlib.sha256(draft.media.content).hexdigest() if draft.media else None,
        "media_id": message.media_id if message else None,
        "media_url": draft.media_url,
        "message_type": draft.message_type,
        "id": message.id if message else None,
        "timed": draft.send_at is not None,
        "leaves_at": (max(now, draft.send_at) if draft.send_at else now).isoformat(),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _judge(case: _Case, wrong_address: str | None) -> Verdict:
    found = _Found()
    if wrong_address is not None:
        found.add(case, Rule.ADDRESS, "invalid_number", wrong_address, Action.CORRECT_NUMBER)
    for rule in (_content, _consent, _window, _template, _media, _duplicate, _frequency, _quiet_hours, _sender_limit):
        rule(case, found)
    return Verdict(
        recipient=case.recipient,
        findings=tuple(found.findings),
        window_until=case.window_until,
        template=case.template,
        lately=case.facts.lately,
        begins=_begins(case),
    )


def _begins(case: _Case) -> bool:
    """Whether this is a customer more for the sender's limit, which is of customers, not of messages."""
    last = case.facts.last_initiated_at
    return case.window_until is None and (last is None or last <= case.now - DAY)


def _content(case: _Case, found: _Found) -> None:
    if case.message is not None:
        return  # it was looked at when the document's bytes were at hand
    problem = whatsapp.problem_of(case.draft, max_media_bytes=case.config.max_media_bytes)
    if problem is not None:
        code, text = problem
        action = {"text_too_long": Action.SHORTEN, "nothing_to_send": Action.NONE}.get(code, Action.CHANGE_FILE)
        found.add(case, Rule.MEDIA if code.startswith("media") else Rule.CONTENT, code, text, action)


def _consent(case: _Case, found: _Found) -> None:
    if case.facts.opted_out_at is not None:
        when = f"{case.facts.opted_out_at.astimezone(case.config.zone):%-d %B %Y}"
        how = (
            "blocked us or asked WhatsApp to stop"
            if (case.facts.opted_out_by or "").startswith("error")
            else "asked us to stop"
        )
        text = f"This customer {how} on {when}. Nothing is sent until they write START. Call them, or write a letter."
        found.add(case, Rule.CONSENT, "opted_out", text, Action.CALL)
    elif case.template is not None and case.template.category == "MARKETING":
        if case.facts.marketing == "opt_out":
            text = "This customer wants no advertising. Messages about their policies still reach them."
            found.add(case, Rule.CONSENT, "no_marketing", text, Action.CHOOSE_TEMPLATE)
        elif case.facts.marketing is None and case.config.consent_required != "none":
            text = "Nobody has recorded that this customer agreed to advertising, and this template is advertising."
            found.add(case, Rule.CONSENT, "no_marketing_consent", text, Action.RECORD_CONSENT)
    elif case.config.consent_required == "always" and _is_begun_by_us(case) and not case.facts.has_agreed:
        unknown = "Nobody has recorded that this customer agreed to be written to on WhatsApp."
        text = f"{unknown} Record the consent, or wait until they write."
        found.add(case, Rule.CONSENT, "no_consent", text, Action.RECORD_CONSENT)


def _is_begun_by_us(case: _Case) -> bool:
    """Whether it is a template outside of an open window; bare words are the window's to refuse there."""
    return case.draft.template is not None and case.window_until is None


def _window(case: _Case, found: _Found) -> None:
    if case.draft.template is not None or case.window_until is not None:
        return
    since = case.facts.last_inbound_at
    last = (
        "This customer has not written to us"
        if since is None
        else "This customer's last message is more than 24 hours old"
    )
    text = f"{last}, so WhatsApp delivers approved templates only. Send an approved template instead."
    found.add(case, Rule.WINDOW, "window_closed", text, Action.USE_TEMPLATE)


_NOT_APPROVED = {
    "paused": "WhatsApp has paused the template {name} because too many people complained about it.",
    "disabled": "WhatsApp has disabled the template {name} for good.",
    "rejected": "WhatsApp has rejected the template {name}.",
    "pending": "The template {name} is still waiting for WhatsApp's approval.",
    "received": "The template {name} is still waiting for WhatsApp's approval.",
    "deleted": "The template {name} was deleted at Twilio.",
}


def not_approved(name: str, approval: str) -> str:
    """Why a template that stands so cannot be sent with."""
    return _NOT_APPROVED.get(approval, "The template {name} has not been approved by WhatsApp.").format(name=name)


def _template(case: _Case, found: _Found) -> None:
    wanted = case.draft.template
    if wanted is None:
        return
    known = case.template
    if known is None and case.catalogue_is_known:
        what = wanted.name or "this message"
        text = f"Twilio has no template of this id for {what}. Synchronise the templates, or choose another."
        found.add(case, Rule.TEMPLATE, "template_unknown", text, Action.CHOOSE_TEMPLATE)
    elif known is not None and not _may_be_used(known, case):
        text = not_approved(known.name, known.approval)
        found.add(case, Rule.TEMPLATE, f"template_{known.approval}", text, Action.CHOOSE_TEMPLATE)
    _variables(case, found, wanted, known)


def _may_be_used(known: TemplateFacts, case: _Case) -> bool:
    """Approved; or, within an open window, one that was never put to WhatsApp: buttons and lists need no approval there."""
    return known.approval == "approved" or (known.approval == "unsubmitted" and case.window_until is not None)


def _variables(case: _Case, found: _Found, wanted: Template, known: TemplateFacts | None) -> None:
    given = {key: value for key, value in wanted.variables.items() if key != wanted.media_variable}
    names = known.fields if known else {}
    needed = names.keys() - {wanted.media_variable, known.media_variable if known else None}
    empty = sorted(key for key in needed | given.keys() if not (given.get(key) or "").strip())
    if empty:
        which = ", ".join(f"{{{{{key}}}}} ({names[key]})" if names.get(key) else f"{{{{{key}}}}}" for key in empty)
        text = f"The template's field {which} is empty: the customer would read Twilio's sample instead."
        found.add(case, Rule.VARIABLES, "variables_missing", text, Action.FILL_FIELDS)
    if (wanted.media_variable or (known and known.media_variable)) and not _has_document(case):
        text = "The template carries a document, and none is attached: the customer would get Twilio's sample file."
        found.add(case, Rule.VARIABLES, "document_missing", text, Action.CHANGE_FILE)
    unclean = sorted(key for key, value in given.items() if UNCLEAN.search(value or ""))
    if unclean:
        which = ", ".join(f"{{{{{key}}}}}" for key in unclean)
        text = f"The template's field {which} has a line break, a tab or more than four blanks in a row; WhatsApp refuses those."
        found.add(case, Rule.VARIABLES, "variables_unclean", text, Action.FILL_FIELDS)
    foreign = sorted(given.keys() - needed) if known else []
    if foreign:
        which = ", ".join(f"{{{{{key}}}}}" for key in foreign)
        found.add(case, Rule.VARIABLES, "variables_unknown", f"The template has no field {which}.", Action.FILL_FIELDS)


def _has_document(case: _Case) -> bool:
    of_message = case.message is not None and case.message.media_id is not None
    return bool(case.draft.media or case.draft.media_url or of_message)


def _media(case: _Case, found: _Found) -> None:
    url = case.draft.media_url
    if case.draft.template is None and case.draft.body and (case.media_type or "").startswith(_TEXT_NOT_SHOWN):
        text = "WhatsApp shows no text beside a document of this kind. Send the text as a message of its own."
        found.add(case, Rule.MEDIA, "text_not_shown", text, only_told=True)
    if url and case.message is None and (problem := _link_problem(url, case.config)):
        found.add(case, Rule.MEDIA, "media_link", problem, Action.CHANGE_FILE)


def _link_problem(url: str, config: Config) -> str | None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "The document's link is no web address. Attach the file instead."
    if parts.username or parts.password:
        return "The document's link carries a login; Twilio cannot use it. Attach the file instead."
    if not config.simulated and config.twilio_configured and not is_public(parts.hostname):
        return "The document's link leads to a private address that Twilio cannot reach. Attach the file instead."
    return None


def _duplicate(case: _Case, found: _Found) -> None:
    if case.facts.twin is None or case.facts.twin_at is None:
        return
    at = case.facts.twin_at.astimezone(case.config.zone)
    went = "goes" if case.facts.twin_at > case.now else "went"
    text = f"The very same {went} to this customer at {at:%H:%M on %-d %B} (message {case.facts.twin})."
    found.add(case, Rule.DUPLICATE, "duplicate", text, Action.SEND_ANYWAY)


def _frequency(case: _Case, found: _Found) -> None:
    cap = case.config.frequency_cap
    if not cap or case.facts.lately < cap:
        return
    sent = f"{case.facts.lately} messages within 24 hours, by everybody together"
    text = f"This customer has been sent {sent}; the office's limit is {cap}."
    until = (case.facts.oldest_at or case.now) + DAY
    found.add(case, Rule.FREQUENCY, "too_many", text, Action.SEND_ANYWAY, until=until)


def _quiet_hours(case: _Case, found: _Found) -> None:
    hours = case.config.quiet_hours
    if hours is None:
        return
    theirs = _zones(case)
    until = zones.night_until(theirs, case.leaves_at, begins=hours[0], ends=hours[1])
    if until is None:
        return
    there = until.astimezone(theirs[0])
    text = f"It is night where this customer lives; automatic messages leave at {there:%H:%M on %-d %B} there."
    found.add(case, Rule.QUIET_HOURS, "quiet_hours", text, Action.SEND_LATER, until=until)


def _zones(case: _Case) -> tuple[Any, ...]:
    if case.draft.timezone:
        return (zones.named(case.draft.timezone),)
    return zones.of_number(case.recipient) or (case.config.zone,)


def _sender_limit(case: _Case, found: _Found) -> None:
    limit = case.config.daily_customers
    if not limit or not _begins(case):
        return
    count, first = case.written_to
    if count >= limit and first is not None:
        reached = f"WhatsApp lets this number write to {limit:,} customers within 24 hours, and it has"
        text = f"{reached}. The message leaves as soon as it may."
        found.add(case, Rule.SENDER_LIMIT, "sender_limit", text, Action.SEND_LATER, until=first + DAY)


def rules_of(words: Iterable[str]) -> frozenset[str]:
    """The rules of these names; raises InvalidInput for a name that is none."""
    try:
        return frozenset(Rule(word) for word in words)
    except ValueError as error:
        raise InvalidInput("confirmed", f"The gate has no rule of that name: {error}.") from error
