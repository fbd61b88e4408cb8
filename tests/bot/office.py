"""An office of three clients, in memory: what the bot's tests ask instead of a portal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from whatsapp_logs.message import MediaFile
from whatsapp_logs.records import PolicyFacts

ASHA, BRUNO, NOBODY = "+447700900601", "+447700900602", "+447700900603"


def policy(id_: str, number: str, label: str = "Motor insurance", standing: str = "") -> PolicyFacts:
    return PolicyFacts(id=id_, number=number, label=label, ends_on=date(2027, 3, 24), standing=standing)


@dataclass
class Office:
    """Asha has two policies, Bruno one. `given_out` are the documents that somebody was given, as (client, policy)."""

    office: str = "Harbour Lane"
    given_out: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0
    numbers: dict[str, str] = field(default_factory=lambda: {ASHA: "1", BRUNO: "2"})
    details: dict[str, str] = field(default_factory=lambda: {"1": "24 March 1980", "2": "BS1 0AA"})
    of_client: dict[str, list[PolicyFacts]] = field(
        default_factory=lambda: {
            "1": [policy("11", "MOT-26-001"), policy("12", "HOM-26-002", "Home insurance")],
            "2": [policy("21", "TRV-26-003", "Travel insurance", "expired")],
        }
    )

    def client_of(self, address: str) -> str | None:
        return self.numbers.get(address)

    def identify(self, address: str, *, policy_number: str, detail: str) -> str | None:
        self.asked += 1
        client = self.numbers.get(address)
        theirs = {one.number for one in self.of_client.get(client or "", [])}
        return client if client and policy_number in theirs and detail == self.details[client] else None

    def policies(self, client_id: str, *, address: str) -> list[PolicyFacts]:
        return self.of_client[client_id] if self.numbers.get(address) == client_id else []

    def document(self, client_id: str, policy_id: str, *, address: str) -> MediaFile | None:
        if policy_id not in {one.id for one in self.policies(client_id, address=address)}:
            return None
        self.given_out.append((client_id, policy_id))
        content = b"%PDF-1.7 " + f"{client_id}/{policy_id}".encode()
        return MediaFile(content=content, content_type="application/pdf", filename=f"{policy_id}.pdf")
