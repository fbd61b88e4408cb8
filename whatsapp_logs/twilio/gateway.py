"""Twilio's wire through its official client. Which faults prove that nothing was sent, and which do not, is decided here."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance
from urllib3.exceptions import NewConnectionError

from whatsapp_logs.config import Config
from whatsapp_logs.errors import NotSent, ProviderAway, Refused, Unconfirmed, UnknownToProvider
from whatsapp_logs.message import MOST_FILES, Outgoing, ProviderMessage, StatusReport
from whatsapp_logs.twilio import files

_PREFIX = "whatsapp:"
_PAGE_SIZE = 1000
_TOO_MANY_REQUESTS = 429
_LOGIN_REFUSED = (401, 403)
_NO_SUCH_MESSAGE = (400, 404)  # 400 for what is no SID at all: one such row must not stop a refresh of all others
_LEFT_TWILIO = frozenset({"sent", "delivered", "read", "undelivered", "partially_delivered"})
_MAX_INTEGER = 2**31 - 1
# Raised before anything goes out: an address that is none, a proxy that does not let us through.
_BEFORE_SENDING = (
    requests.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
# What the library raises for an answer that is no JSON, or JSON of another shape: it reads without looking.
_NOT_UNDERSTOOD = (ValueError, TypeError, AttributeError, KeyError)

# The library logs every URL with its query at INFO: telephone numbers. Our own log has one line per decision instead.
logging.getLogger("twilio.http_client").setLevel(logging.WARNING)


class TwilioGateway:
    """WhatsApp through Twilio's REST API 2010-04-01; the simulator is reached by its base URL alone."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._local = threading.local()  # one client per thread: nobody promises that a shared session is safe

    def send(self, outgoing: Outgoing) -> StatusReport:
        """Create the message at Twilio; see `channels.base.Gateway`. Twilio has no idempotency parameter: never repeat blindly."""
        try:
            instance = self._client().messages.create(**self._create_arguments(outgoing))
            return _report(instance, message_id=outgoing.message_id)
        except (TwilioRestException, TwilioServiceException) as error:
            _raise_for_create(error)
        except requests.RequestException as error:
            if _never_sent(error):
                raise NotSent("Twilio cannot be reached. The message waits and is tried again.") from error
            raise Unconfirmed(
                "Twilio's answer was lost. The message is looked up before anything is sent again."
            ) from error
        except (TwilioException, *_NOT_UNDERSTOOD) as error:
            raise Unconfirmed("Twilio answered in a way nobody understands. The message is looked up.") from error

    def fetch(self, provider_id: str) -> ProviderMessage:
        """One message by its SID: the authority where the list lags."""
        with asking():
            try:
                return _listed(self._client().messages(provider_id).fetch())
            except (TwilioRestException, TwilioServiceException) as error:
                if int(error.status) in _NO_SUCH_MESSAGE:
                    raise UnknownToProvider("Twilio has no message of this SID.", code=str(error.code)) from error
                raise

    def sent_between(self, since: datetime, until: datetime) -> Iterator[ProviderMessage]:
        """Twilio's list by date_sent, 1 000 a page, newest first."""
        return self._list(date_sent_after=since.astimezone(UTC), date_sent_before=until.astimezone(UTC))

    def sent_to(self, recipient: str, since: datetime) -> Iterator[ProviderMessage]:
        """Twilio's list of one recipient. Not by DateSent: what is still queued or has failed has none and would be missed."""
        for listed in self._list(to=_PREFIX + recipient):
            if listed.created_at is not None and listed.created_at < since:
                return
            yield listed

    def fetch_file(self, url: str, *, max_bytes: int) -> bytes:
        """A customer's file from the address that the webhook told; see `files.fetch`."""
        return files.fetch(self._config, url, max_bytes=max_bytes)

    def files_of(self, provider_id: str) -> list[tuple[str, str]]:
        """The addresses and types of a message's files, as its webhook would have told them, in Twilio's order."""
        account = self._config.twilio_account_sid
        below = f"{self._config.twilio_api_base_url}/2010-04-01/Accounts/{account}/Messages/{provider_id}/Media"
        with asking():
            try:
                found = self._client().messages(provider_id).media.list(limit=MOST_FILES)
            except (TwilioRestException, TwilioServiceException) as error:
                if int(error.status) in _NO_SUCH_MESSAGE:
                    raise UnknownToProvider("Twilio has no message of this SID.", code=str(error.code)) from error
                raise
            return [(f"{below}/{one.sid}", str(one.content_type or "")) for one in found]

    def check(self) -> None:
        """List one message: proves address, login and account."""
        with asking():
            self._client().messages.page(page_size=1)

    def _list(self, **conditions: Any) -> Iterator[ProviderMessage]:
        with asking():
            for instance in self._client().messages.stream(page_size=_PAGE_SIZE, **conditions):
                listed = _listed(instance)
                if _is_whatsapp(instance):
                    yield listed

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = new_client(self._config)
        return client

    def _create_arguments(self, outgoing: Outgoing) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "to": _PREFIX + outgoing.recipient,
            "from_": self._config.twilio_whatsapp_from,
            "status_callback": outgoing.status_callback,
        }
        if outgoing.template is not None:
            arguments["content_sid"] = outgoing.template.sid
            arguments["content_variables"] = json.dumps(dict(outgoing.template.variables))
            return arguments
        if outgoing.body:
            arguments["body"] = outgoing.body
        if outgoing.media_url:
            arguments["media_url"] = [outgoing.media_url]
        return arguments


def new_client(config: Config) -> Client:
    """A client of the official library that reaches Twilio, or the simulator, and does not wait for ever."""
    http = TwilioHttpClient(timeout=config.provider_timeout_s)  # its default is no time-out
    client = Client(config.twilio_account_sid, config.twilio_auth_token, http_client=http)
    client.api.base_url = config.twilio_api_base_url
    client.content.base_url = config.twilio_content_base_url
    return client


@contextmanager
def asking() -> Iterator[None]:
    """Say ProviderAway for whatever keeps a question from being answered."""
    try:
        yield
    except requests.RequestException as error:
        raise ProviderAway("Twilio cannot be reached. Try again in a few minutes.") from error
    except (TwilioRestException, TwilioServiceException) as error:
        raise ProviderAway(_away(int(error.status)), code=str(error.code)) from error
    except TwilioException as error:  # a failing page raises the bare base class with the response as second argument
        response = error.args[1] if len(error.args) > 1 else None
        raise ProviderAway(_away(getattr(response, "status_code", 503))) from error
    except _NOT_UNDERSTOOD as error:
        raise ProviderAway("Twilio's answer cannot be understood. Try again in a few minutes.") from error


def _raise_for_create(error: TwilioRestException | TwilioServiceException) -> NoReturn:
    code, status = str(error.code), int(error.status)
    text = error.msg if isinstance(error, TwilioRestException) else error.detail or error.title
    if status == _TOO_MANY_REQUESTS:
        raise NotSent("Twilio is busy (429). The message waits and is tried again.", code=code) from error
    if status in _LOGIN_REFUSED:
        text = "Twilio refuses our login. The message waits; the administrator has to check the account's credentials."
        raise NotSent(text, code=code) from error
    if status >= 500:
        raise Unconfirmed(
            "Twilio failed while taking the message. It is looked up before anything is sent again.", code=code
        ) from error
    if code == str(status):  # the library's stand-in for a missing code: then it is not Twilio that speaks
        text = f"Something else answers in Twilio's place (HTTP {status}). The message waits; check proxy and address."
        raise NotSent(text) from error
    raise Refused(str(text), code=code) from error


def _never_sent(error: requests.RequestException) -> bool:
    """Whether the request cannot have reached Twilio: refused, no route, name unknown, TLS session not established.

    An SSLError alone proves nothing: a broken record may be the answer to a request that was taken.
    """
    if isinstance(error, _BEFORE_SENDING):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError) or _in_handshake(error)


def _in_handshake(error: BaseException | None) -> bool:
    while error is not None:
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in traceback.walk_tb(error.__traceback__)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _away(http_status: int) -> str:
    if http_status == _TOO_MANY_REQUESTS:
        return "Twilio is busy (429). Try again in a few minutes."
    if http_status in _LOGIN_REFUSED:
        return "Twilio refuses our login. The administrator has to check the account's credentials."
    return f"Twilio does not answer properly (HTTP {http_status}). Try again in a few minutes."


def _is_whatsapp(instance: MessageInstance) -> bool:
    """An account's text messages and messages of other channels stand in the same list."""
    return any((address or "").startswith(_PREFIX) for address in (instance.to, instance.from_))


def _listed(instance: MessageInstance) -> ProviderMessage:
    return ProviderMessage(
        report=_report(instance),
        direction="inbound" if str(instance.direction) == "inbound" else "outbound",
        recipient=_bare(instance.to),
        sender=_bare(instance.from_) or None,
        body=instance.body or None,
        created_at=_utc(instance.date_created),
        files=_count(instance.num_media) or 0,
    )


def _report(instance: MessageInstance, *, message_id: int | None = None) -> StatusReport:
    if not instance.sid:
        raise ValueError("the answer names no message")
    status = str(instance.status or "(none)")
    sent_at = _utc(instance.date_sent) if status in _LEFT_TWILIO else None
    happened_at = sent_at if status == "sent" else _utc(instance.date_updated)
    return StatusReport(
        provider_status=status,
        provider_id=str(instance.sid),
        message_id=message_id,
        error_code=None if instance.error_code is None else str(instance.error_code),
        error_message=instance.error_message,
        happened_at=happened_at if message_id is None else None,  # an answer to us happened now
        sent_at=sent_at if message_id is None else None,
        price=_price(instance.price),
        price_unit=instance.price_unit,
        num_segments=_count(instance.num_segments),
        payload={
            "direction": str(instance.direction),
            "date_sent": _text(instance.date_sent),
            "date_updated": _text(instance.date_updated),
        },
    )


def _price(text: object) -> Decimal | None:
    """Facts beside the status never cost us the status: what is no number is left out."""
    try:
        price = None if text is None else Decimal(str(text))
    except InvalidOperation:
        return None
    return price if price is not None and price.is_finite() else None


def _count(text: object) -> int | None:
    digits = str(text or "")
    return int(digits) if digits.isascii() and digits.isdigit() and int(digits) <= _MAX_INTEGER else None


def _bare(address: str | None) -> str:
    return (address or "").removeprefix(_PREFIX)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
