"""The API's shapes. What the views answer and what openapi.json describes are these same models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from whatsapp_logs import phone
from whatsapp_logs.message import IN_FLIGHT, Message, ProviderMessage, Status, StatusEvent
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.store.refreshes import Refresh
from whatsapp_logs.twilio.error_codes import explain
from whatsapp_logs.web import format
from whatsapp_logs.web.listing import Figures

Sid = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[!-~]+$", description="Twilio's id of the message, SM… or MM…"),
]


class Shape(BaseModel):
    """A part of a request or an answer."""

    model_config = ConfigDict(frozen=True)


class Problem(Shape):
    """Why something was not done, in words for the person who asked."""

    success: bool = False
    message: str
    field: str | None = Field(None, description="The parameter that cannot be used (400 only)")


class RefreshStatusRequest(Shape):
    """Which message to ask Twilio about."""

    message_sid: Sid


class RefreshStatus(Shape):
    """One message was asked about."""

    success: bool = True
    message: str
    message_sid: str
    status: Status
    changed: bool = Field(description="Whether Twilio told anything new")


class RefreshRun(Shape):
    """A run of "refresh all statuses": begun, joined or ended."""

    success: bool = True
    updated_count: int = Field(description="Messages whose row changed")
    total_count: int = Field(description="Messages to ask about; 0 until they have been counted")
    message: str
    asked_count: int = Field(description="Messages asked about so far")
    failed_count: int = Field(description="Messages that Twilio does not know")
    finished: bool
    refresh_id: int
    started_at: datetime
    finished_at: datetime | None
    progress_url: str = Field(description="Where this shape is told again, as the run goes on")

    @classmethod
    def of(cls, run: Refresh, *, progress_url: str) -> RefreshRun:
        """The run in the API's words; `success` is false when it stopped before its end by itself."""
        total = run.found or 0
        stopped_by_itself = run.problem is not None and not run.cancel_asked
        return cls(
            success=not stopped_by_itself,
            updated_count=run.changed,
            total_count=total,
            message=run.problem or _run_words(run, total),
            asked_count=run.asked,
            failed_count=run.failed,
            finished=run.is_finished,
            refresh_id=run.id,
            started_at=run.started_at,
            finished_at=run.finished_at,
            progress_url=progress_url,
        )


class MessageRow(Shape):
    """A message as the log knows it. Times are UTC, addresses as Twilio writes them."""

    log_id: int
    sid: str | None = Field(description="Null until Twilio has the message")
    status: Status
    direction: str
    message_type: str
    to: str = Field(description="Masked for those who may not see numbers")
    from_: str | None = Field(alias="from", serialization_alias="from")
    body: str | None = Field(description="Null for those who may not see texts")
    masked: bool = Field(description="Whether numbers and texts are kept from this viewer")
    error_code: str | None
    error_message: str | None
    price: str | None = Field(description="Decimal with Twilio's sign: -0.0075 was charged")
    price_unit: str | None
    num_segments: int | None
    policy_id: str | None
    client_id: str | None
    created_by: str | None
    date_created: datetime
    date_updated: datetime
    date_sent: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @classmethod
    def of(cls, message: Message, *, viewer: Viewer) -> MessageRow:
        """The row as this viewer may see it."""
        return cls.model_validate(_fields(message, viewer))


class Event(Shape):
    """What a provider, or we, reported of the message."""

    status: Status | None = Field(description="Null: a word of Twilio's that is unknown here")
    provider_status: str
    source: str
    happened_at: datetime
    error_code: str | None
    error_message: str | None

    @classmethod
    def of(cls, event: StatusEvent, *, viewer: Viewer) -> Event:
        """The event as this viewer may see it."""
        told = cls.model_validate(event, from_attributes=True)
        return told.model_copy(update={"error_message": _shown(event.error_message, viewer)})


class Advice(Shape):
    """An error code explained."""

    title: str
    cause: str
    action: str
    more_info: str | None


class MessageDetails(MessageRow):
    """A message whole: as Twilio tells it now or, when Twilio is away, as the log knows it."""

    source: str = Field(description="twilio: asked just now · log: from our own rows, `source_note` says why")
    source_note: str | None
    provider_status: str | None = Field(description="Twilio's own word, when it was asked just now")
    template_name: str | None
    last_status_check: datetime | None
    error_advice: Advice | None
    timeline: list[Event]

    @classmethod
    def whole(
        cls,
        message: Message,
        events: Sequence[StatusEvent],
        *,
        viewer: Viewer,
        live: ProviderMessage | None,
        note: str | None,
    ) -> MessageDetails:
        """The details as this viewer may see them; `live` is Twilio's answer, without it `note` says why."""
        fields = _fields(message, viewer) | (_told_now(message, live, viewer) if live else {})
        advice = explain(fields["error_code"])  # type: ignore[arg-type]
        return cls.model_validate(
            fields
            | {
                "source": "twilio" if live else "log",
                "source_note": note,
                "provider_status": live.report.provider_status if live else None,
                "template_name": message.template_name,
                "last_status_check": message.last_status_check,
                "error_advice": advice and Advice.model_validate(advice, from_attributes=True),
                "timeline": [Event.of(event, viewer=viewer) for event in events],
            }
        )


class Details(Shape):
    """The details of one message."""

    success: bool = True
    message: MessageDetails


class FilterQuery(Shape):
    """Which messages; the page's filters, and the first portal's names for them."""

    status: list[Status] = Field([], description="Repeat it for several; also status_filter")
    type: list[str] = Field([], description="policy_document, renewal_reminder, general …; also message_type_filter")
    phone_filter: str = Field(
        "", description="Any part of a number, in any form; the whole number if numbers are masked"
    )
    date_from: str = Field("", description="First day, like 2026-11-23, in the viewer's time zone")
    date_to: str = Field("", description="Last day, included")
    client: str = ""
    policy: str = ""
    error_code: str = ""
    direction: str = Field("outbound", description="outbound or inbound")


class MessagesQuery(FilterQuery):
    """Which messages, and which page of them."""

    before: str = Field("", description="`next_cursor` of the page before")
    page: int = Field(
        1, ge=1, le=200, description="The first portal's page numbers; a cursor is faster and misses nothing"
    )
    limit: int = Field(50, ge=1, le=200)


class ExportQuery(FilterQuery):
    """Which messages, and how."""

    format: Literal["csv", "xlsx"] = "csv"


class Messages(Shape):
    """One page of the log, newest first."""

    success: bool = True
    messages: list[MessageRow]
    next_cursor: str | None = Field(description="Give it as `before` to go on; null on the last page")


class StatsBody(Shape):
    """The log's totals, exact: outgoing messages only."""

    total_messages: int
    status_counts: dict[Status, int]
    success_rate: float = Field(
        description="Per cent of `ended_messages` that were delivered or read, rounded down; 0 while none has ended"
    )
    ended_messages: int = Field(description="Delivered, read, failed or undelivered")
    delivered_messages: int = Field(description="Delivered, whether read or not")
    read_messages: int = Field(description="Read, as far as recipients let us know")
    failed_messages: int = Field(description="Failed or undelivered")
    in_flight_messages: int = Field(description="Not at an end: neither successes nor failures")

    @classmethod
    def of(cls, figures: Figures) -> StatsBody:
        """The same figures as on the page's cards."""
        return cls(
            total_messages=figures.total,
            status_counts={status: figures.by_status.get(status, 0) for status in Status if status != "received"},
            success_rate=format.tenths(figures.reached, figures.ended) / 10,
            ended_messages=figures.ended,
            delivered_messages=figures.reached,
            read_messages=figures.read,
            failed_messages=figures.failed,
            in_flight_messages=figures.of(IN_FLIGHT),
        )


class Stats(Shape):
    """The log's totals."""

    success: bool = True
    stats: StatsBody


def _fields(message: Message, viewer: Viewer) -> dict[str, object]:
    sees_numbers, sees_texts = viewer.may(Right.NUMBERS), viewer.may(Right.TEXTS)
    inbound = message.direction == "inbound"
    to, sender = _as_twilio(message.recipient, message.channel), _as_twilio(message.sender, message.channel)
    if not sees_numbers and inbound:
        sender = message.sender and phone.masked(message.sender)
    elif not sees_numbers:
        to = phone.masked(message.recipient)
    return {
        "log_id": message.id,
        "sid": message.provider_id,
        "status": message.status,
        "direction": "inbound" if inbound else "outbound-api",
        "message_type": message.message_type,
        "to": to,
        "from": sender,
        "body": message.body if sees_texts else None,
        "masked": not (sees_numbers and sees_texts),
        "error_code": message.error_code,
        "error_message": _shown(message.error_message, viewer),
        "price": None if message.price is None else f"{message.price:f}",
        "price_unit": message.price_unit,
        "num_segments": message.num_segments,
        "policy_id": message.policy_id,
        "client_id": message.client_id,
        "created_by": message.created_by,
        "date_created": message.created_at,
        "date_updated": message.updated_at,
        "date_sent": message.sent_at,
        "delivered_at": message.delivered_at,
        "read_at": message.read_at,
    }


def _told_now(message: Message, live: ProviderMessage, viewer: Viewer) -> dict[str, object]:
    """What Twilio's answer adds. Its list may lag behind its callbacks, so that nothing known is taken back."""
    report = live.report
    newer = report.status is not None and report.status.rank >= message.status.rank
    told: dict[str, object] = {
        "direction": report.payload.get("direction"),
        "price": None if report.price is None else f"{report.price:f}",
        "price_unit": report.price_unit and report.price_unit.upper(),
        "num_segments": report.num_segments,
        "date_sent": report.payload.get("date_sent"),
        "date_updated": report.payload.get("date_updated"),
    }
    if newer:
        told |= {
            "status": report.status,
            "error_code": report.error_code,
            "error_message": _shown(report.error_message, viewer),
        }
    return {name: value for name, value in told.items() if value is not None}


def _as_twilio(address: str | None, channel: str) -> str | None:
    return f"{channel}:{address}" if address and channel == "whatsapp" else address


def _shown(text: str | None, viewer: Viewer) -> str | None:
    return text if text is None or viewer.may(Right.NUMBERS) else phone.masked_in(text)


def _run_words(run: Refresh, total: int) -> str:
    if not run.is_finished:
        return f"Asking Twilio: {run.asked} of {total} messages so far." if run.found else "Asking Twilio."
    if not total:
        return "No message is pending."
    return f"Updated {run.changed} of {total} messages."
