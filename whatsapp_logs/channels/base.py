"""The contract of a provider: what a gateway is asked, what it answers, how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from whatsapp_logs.catalogue import Content, ProviderTemplate
from whatsapp_logs.message import Outgoing, ProviderMessage, StatusReport


class Gateway(Protocol):
    """One provider for one channel. Every call may take `provider_timeout_s`; none holds a database connection."""

    def send(self, outgoing: Outgoing) -> StatusReport:
        """Hand a message over, once; the report carries the provider's id and its first status.

        Raises Refused (no, for good), NotSent (proof that nothing was sent), Unconfirmed (nobody knows).
        """

    def fetch(self, provider_id: str) -> ProviderMessage:
        """The message as the provider sees it now. Raises UnknownToProvider or ProviderAway."""

    def sent_between(self, since: datetime, until: datetime) -> Iterator[ProviderMessage]:
        """What the provider lists as sent in that time, newest first, page by page; may lag. Raises ProviderAway."""

    def sent_to(self, recipient: str, since: datetime) -> Iterator[ProviderMessage]:
        """What the provider lists for one recipient since then, sent or not, newest first. Raises ProviderAway."""

    def fetch_file(self, url: str, *, max_bytes: int) -> bytes:
        """A file that a customer has sent, from the provider's own address. Raises Refused (never) or ProviderAway (later)."""

    def files_of(self, provider_id: str) -> list[tuple[str, str]]:
        """Addresses and types of a customer's files, where no webhook told them. Raises UnknownToProvider or ProviderAway."""

    def check(self) -> None:
        """Ask something cheap to see that the provider answers and accepts our login. Raises ProviderAway."""


class TemplateGateway(Protocol):
    """The provider's templates. Every call may take `provider_timeout_s`; none holds a database connection."""

    def templates(self) -> Iterator[ProviderTemplate]:
        """Every template with its approval, page by page. Raises ProviderAway."""

    def template(self, sid: str) -> ProviderTemplate:
        """One template. Raises UnknownToProvider or ProviderAway."""

    def create(self, *, name: str, language: str, content: Content) -> str:
        """Have a template kept; returns its id. Raises Refused, or ProviderAway: then it may be kept all the same."""

    def submit(self, sid: str, *, name: str, category: str) -> str:
        """Ask for approval; returns the approval from now on. Raises Refused, UnknownToProvider, or ProviderAway as `create`."""
