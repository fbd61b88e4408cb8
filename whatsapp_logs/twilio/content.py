"""Twilio's Content API through its official client: the account's templates and what WhatsApp says of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.rest import Client
from twilio.rest.content.v1.content import ContentList
from twilio.rest.content.v1.content.approval_create import ApprovalCreateList

from whatsapp_logs.catalogue import Content, ProviderTemplate, content_of, usual_names
from whatsapp_logs.config import Config
from whatsapp_logs.errors import Refused, UnknownToProvider
from whatsapp_logs.twilio.gateway import asking, new_client

_PAGE_SIZE = 500
_NOT_FOUND, _NO_SUCH = 404, "20404"
_REFUSALS = frozenset({400, 409, 422})


class TwilioTemplates:
    """Templates at Twilio, `channels.base.TemplateGateway`; the simulator is reached by its base URL alone."""

    def __init__(self, config: Config, *, page_size: int = _PAGE_SIZE) -> None:
        self._config, self._page_size = config, page_size
        self._local = threading.local()  # one client per thread: nobody promises that a shared session is safe

    def templates(self) -> Iterator[ProviderTemplate]:
        """Every template of the account with its approval, newest first."""
        with asking():
            for instance in self._client().content.v1.content_and_approvals.stream(page_size=self._page_size):
                yield _listed(instance, instance.approval_requests)

    def template(self, sid: str) -> ProviderTemplate:
        """One template by its SID: the authority where the list lacks it."""
        with asking(), _answered():
            context = self._client().content.v1.contents(sid)
            return _listed(context.fetch(), context.approval_fetch().fetch().whatsapp)

    def create(self, *, name: str, language: str, content: Content) -> str:
        """Have the template kept; returns its SID."""
        request = ContentList.ContentCreateRequest(
            {"friendly_name": name, "language": language, "variables": content.samples, "types": content.types()}
        )
        with asking(), _answered():
            return _sid(self._client().content.v1.contents.create(content_create_request=request).sid)

    def submit(self, sid: str, *, name: str, category: str) -> str:
        """Put the template to WhatsApp; returns its approval from now on."""
        request = ApprovalCreateList.ContentApprovalRequest({"name": name, "category": category})
        with asking(), _answered():
            approvals = self._client().content.v1.contents(sid).approval_create
            return str(approvals.create(content_approval_request=request).status or "received").lower()

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = new_client(self._config)
        return client


@contextmanager
def _answered() -> Iterator[None]:
    """Tell a "no" from what keeps Twilio from answering, which is left to `asking`."""
    try:
        yield
    except (TwilioRestException, TwilioServiceException) as error:
        status, code = int(error.status), str(error.code)
        if status == _NOT_FOUND and code == _NO_SUCH:  # a proxy's 404 proves nothing
            raise UnknownToProvider("Twilio has no template of this SID.", code=code) from error
        if status in _REFUSALS and code != str(status):  # without a code of Twilio's it is not Twilio that speaks
            text = error.msg if isinstance(error, TwilioRestException) else error.detail or error.title
            raise Refused(f"Twilio does not take the template: {text}", code=code) from error
        raise


def _listed(instance: Any, approval: Any) -> ProviderTemplate:
    """What is missing or of another shape in an answer becomes nothing; a template without a SID is none."""
    told = _mapping(approval)
    sid = _sid(instance.sid)
    name = str(instance.friendly_name or told.get("name") or sid)
    return ProviderTemplate(
        sid=sid,
        name=name,
        language=str(instance.language or ""),
        content=content_of(_mapping(instance.types), _mapping(instance.variables), names=usual_names(name)),
        approval=str(told.get("status") or "unsubmitted").lower(),
        category=str(told.get("category") or "").upper(),
        rejection_reason=str(told.get("rejection_reason") or "") or None,
        created_at=instance.date_created if isinstance(instance.date_created, datetime) else None,
    )


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _sid(sid: Any) -> str:
    if not sid:
        raise ValueError("the answer names no template")
    return str(sid)
