"""Twilio's wire through its official client. Which faults prove that nothing was sent, and which do not, is decided here."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance
from urllib3.exceptions import NewConnectionError

from whatsapp_logs.config import Config
from whatsapp_logs.errors import NotSent, ProviderAway, Refused, Unconfirmed, UnknownToProvider
from whatsapp_logs.message import Outgoing, ProviderMessage, StatusReport

_PREFIX = "whatsapp:"
_PAGE_SIZE = 1000
_TOO_MANY_REQUESTS = 429
_LOGIN_REFUSED = (401, 403)

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
        except TwilioRestException as error:
            _raise_for_create(error)
        except requests.RequestException as error:
            if _never_connected(error):
                raise NotSent("Twilio cannot be reached. The message waits and is tried again.") from error
            raise Unconfirmed(
                "Twilio's answer was lost. The message is looked up before anything is sent again."
            ) from error
        except TwilioException as error:
            raise Unconfirmed("Twilio answered in a way nobody understands. The message is looked up.") from error
        return _report(instance, message_id=outgoing.message_id)

    def fetch(self, provider_id: str) -> ProviderMessage:
        """One message by its SID: the authority where the list lags."""
        try:
            return _listed(self._client().messages(provider_id).fetch())
        except TwilioRestException as error:
            if error.status == 404:
                raise UnknownToProvider("Twilio has no message of this SID.", code=str(error.code)) from error
            raise ProviderAway(_away(error.status), code=str(error.code)) from error
        except (TwilioException, requests.RequestException) as error:
            raise ProviderAway("Twilio cannot be reached. Try again in a few minutes.") from error

    def sent_between(self, since: datetime, until: datetime) -> Iterator[ProviderMessage]:
        """Twilio's list by date_sent, 1 000 a page, newest first."""
        return self._list(date_sent_after=since.astimezone(UTC), date_sent_before=until.astimezone(UTC))

    def sent_to(self, recipient: str, since: datetime) -> Iterator[ProviderMessage]:
        """Twilio's list of one recipient. Not by DateSent: what is still queued or has failed has none and would be missed."""
        for listed in self._list(to=_PREFIX + recipient):
            if listed.created_at is not None and listed.created_at < since:
                return
            yield listed

    def check(self) -> None:
        """List one message: proves address, login and account."""
        try:
            self._client().messages.page(page_size=1)
        except TwilioException as error:
            response = error.args[1] if len(error.args) > 1 else None
            raise ProviderAway(_away(getattr(response, "status_code", 503))) from error
        except requests.RequestException as error:
            raise ProviderAway("Twilio cannot be reached. Check this machine's network.") from error

    def _list(self, **conditions: Any) -> Iterator[ProviderMessage]:
        try:
            for instance in self._client().messages.stream(page_size=_PAGE_SIZE, **conditions):
                yield _listed(instance)
        except (
            TwilioException
        ) as error:  # a failing page raises the bare base class with the response as second argument
            response = error.args[1] if len(error.args) > 1 else None
            raise ProviderAway(_away(getattr(response, "status_code", 503))) from error
        except requests.RequestException as error:
            raise ProviderAway("Twilio cannot be reached. Try again in a few minutes.") from error

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            http = TwilioHttpClient(timeout=self._config.provider_timeout_s)  # its default is to wait for ever
            client = Client(self._config.twilio_account_sid, self._config.twilio_auth_token, http_client=http)
            client.api.base_url = self._config.twilio_api_base_url
            self._local.client = client
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


def _raise_for_create(error: TwilioRestException) -> NoReturn:
    code, status = str(error.code), int(error.status)
    if status == _TOO_MANY_REQUESTS:
        raise NotSent("Twilio is busy (429). The message waits and is tried again.", code=code) from error
    if status in _LOGIN_REFUSED:
        text = "Twilio refuses our login. The message waits; the administrator has to check the account's credentials."
        raise NotSent(text, code=code) from error
    if status >= 500:
        raise Unconfirmed(
            "Twilio failed while taking the message. It is looked up before anything is sent again.", code=code
        ) from error
    raise Refused(str(error.msg), code=code) from error


def _never_connected(error: requests.RequestException) -> bool:
    """Whether the request cannot have reached Twilio: refused, no route, name unknown, TLS not established."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)


def _away(http_status: int) -> str:
    if http_status == _TOO_MANY_REQUESTS:
        return "Twilio is busy (429). Try again in a few minutes."
    if http_status in _LOGIN_REFUSED:
        return "Twilio refuses our login. The administrator has to check the account's credentials."
    return f"Twilio does not answer properly (HTTP {http_status}). Try again in a few minutes."


def _listed(instance: MessageInstance) -> ProviderMessage:
    return ProviderMessage(
        report=_report(instance),
        direction="inbound" if str(instance.direction) == "inbound" else "outbound",
        recipient=_bare(instance.to),
        sender=_bare(instance.from_) or None,
        body=instance.body or None,
        created_at=_utc(instance.date_created),
    )


def _report(instance: MessageInstance, *, message_id: int | None = None) -> StatusReport:
    status = str(instance.status)
    happened_at = _utc(instance.date_sent) if status == "sent" else _utc(instance.date_updated)
    return StatusReport(
        provider_status=status,
        provider_id=str(instance.sid),
        message_id=message_id,
        error_code=None if instance.error_code is None else str(instance.error_code),
        error_message=instance.error_message,
        happened_at=happened_at if message_id is None else None,  # an answer to us happened now
        price=None if instance.price is None else Decimal(str(instance.price)),
        price_unit=instance.price_unit,
        num_segments=int(instance.num_segments) if instance.num_segments else None,
        payload={
            "direction": str(instance.direction),
            "date_sent": _text(instance.date_sent),
            "date_updated": _text(instance.date_updated),
        },
    )


def _bare(address: str | None) -> str:
    return (address or "").removeprefix(_PREFIX)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
