"""\"Did Mrs Thompson get it?\": the portal's own words for clients and policies, and the lists they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.web import current, looks
from whatsapp_logs.web.asking import Asked

_MAX_TEXT = 100
_MAX_CHOICES = 12


@dataclass(frozen=True, slots=True)
class Choice:
    """A client or policy that somebody may have meant. `kind` is client or policy."""

    kind: str
    id: str
    label: str
    asked: Asked


def choices(here: Asked, text: str) -> list[Choice]:
    """What the words may mean, as lists like `here`; raises InvalidInput when they mean nothing the portal knows."""
    text = " ".join(text.replace("\0", "").split())[:_MAX_TEXT]
    extension = current.extension()
    assert extension.find is not None
    found = extension.find(text)
    clients, policies = ([str(one) for one in ids] for ids in (found.client_ids, found.policy_ids))
    if not clients and not policies:
        raise InvalidInput(
            "whom", f"No client or policy is called “{text[:40]}”. Try the surname alone, or part of the number."
        )
    looks.at_names(text, clients, policies)
    client_names = extension.client_names(clients) if clients else {}
    policy_names = extension.policy_names(policies) if policies else {}
    meant = [
        Choice("client", one, client_names.get(one, one), here.with_filter(client_id=one, policy_id=""))
        for one in clients
    ]
    meant += [
        Choice("policy", one, policy_names.get(one, one), here.with_filter(client_id="", policy_id=one))
        for one in policies
    ]
    return meant[:_MAX_CHOICES]
