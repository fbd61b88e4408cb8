"""The office's records as the bot asks for them. A portal provides them: RECORDS names a function that makes them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, cast

from whatsapp_logs.errors import ConfigError
from whatsapp_logs.message import MediaFile


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """A policy as a customer is told of it. `id` is the portal's key as text; `label` what it is: "Motor insurance".

    `standing` is said beside it where it is not simply in force: "expired", "cancelled".
    """

    id: str
    number: str
    label: str
    ends_on: date
    standing: str = ""


class Records(Protocol):
    """What the bot may ask. Answers come from the portal's own database, within a second; an error of theirs calls a person.

    `address` is the customer's number in E.164. A number alone is no identity: it may have been given to somebody else.
    """

    office: str

    def client_of(self, address: str) -> str | None:
        """The one client whose number this is, to link messages by; None where nobody or more than one has it."""

    def identify(self, address: str, *, policy_number: str, detail: str) -> str | None:
        """The client's id, if the number on file, the policy and the detail (as typed) are all theirs; else None.

        Takes as long, and tells as little, whichever of them is wrong.
        """

    def policies(self, client_id: str, *, address: str) -> Sequence[PolicyFacts]:
        """The client's policies, those in force first; none once the number on file is another one."""

    def document(self, client_id: str, policy_id: str, *, address: str) -> MediaFile | None:
        """The document of one of this client's policies; None for anybody else's, and where there is none."""


def clients_of(records: Records, addresses: Sequence[str]) -> Mapping[str, str]:
    """`client_of` for many: address → client id. Records that have a `clients_of(addresses)` of their own are asked once."""
    together = getattr(records, "clients_of", None)
    if together is not None:
        return cast(Mapping[str, str], together(addresses))
    found = {address: records.client_of(address) for address in addresses}
    return {address: client_id for address, client_id in found.items() if client_id is not None}


def load(path: str) -> Records:
    """The records that RECORDS names, as module:function. Raises ConfigError where that cannot be."""
    module, _, name = path.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError([f"RECORDS is {path!r}, which cannot be loaded: {error}. Write module:function."]) from error
    return cast(Records, make())
