"""Who may do what: rights, the roles made of them, and the person looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Right(StrEnum):
    """One thing a person may do. Every route declares the right it needs."""

    SEE = "see the log"
    NUMBERS = "see full phone numbers"
    TEXTS = "see message texts and documents"
    REFRESH = "refresh statuses"
    SEND = "send messages"
    TEMPLATES = "manage message templates"
    CAMPAIGNS = "prepare campaigns"
    RELEASE = "release campaigns"
    EXPORT = "export the log"
    ACCESS_LOG = "see who has looked at what"
    ADMINISTER = "administer the log"


ROLES: Mapping[str, frozenset[Right]] = MappingProxyType(
    {
        "administrator": frozenset(Right),
        "agent": frozenset({Right.SEE, Right.NUMBERS, Right.TEXTS, Right.REFRESH, Right.SEND, Right.CAMPAIGNS}),
        # Taking thousands of people's data away in a file is no part of an agent's day.
        "compliance": frozenset({Right.SEE, Right.NUMBERS, Right.TEXTS, Right.EXPORT, Right.ACCESS_LOG}),
        "viewer": frozenset({Right.SEE}),
    }
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in person as the portal tells of them. `timezone` is an IANA name; None takes the office's."""

    name: str
    rights: frozenset[Right]
    timezone: str | None = None

    def may(self, right: Right) -> bool:
        """Whether the person has been given this right."""
        return right in self.rights
