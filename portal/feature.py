"""WhatsApp Logs moved into the portal: who is looking, where clients and policies live, which page surrounds it."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask, url_for

from portal import clients, policies
from portal.access import current_person, current_sign_in
from portal.audience import audience
from portal.database import database, reading
from whatsapp_logs import Found, Viewer, WhatsAppLogs, WhatsAppService


def move_in(app: Flask, service: WhatsAppService) -> None:
    """Add the feature's pages to the portal."""
    WhatsAppLogs(service).init_app(
        app,
        layout="base.html",
        current_user=_viewer,
        sign_in_url=lambda wanted: url_for("auth.sign_in", next=wanted),
        confirm_url=_confirm_url,
        client_url=lambda client_id: url_for("clients.show", client_id=client_id),
        client_phone=_client_phone,
        policy_url=lambda policy_id: url_for("policies.show", policy_id=policy_id),
        client_names=_client_names,
        policy_names=_policy_numbers,
        find=_find,
        audience=audience(),
        probes_below="",
    )


def _viewer() -> Viewer | None:
    person = current_person()
    if person is None:
        return None
    return Viewer(name=person.username, rights=person.rights, timezone=person.timezone)


def _confirm_url(wanted: str) -> str | None:
    sign_in = current_sign_in()
    return None if sign_in is not None and sign_in.is_confirmed else url_for("auth.confirm", next=wanted)


def _client_names(client_ids: Iterable[str]) -> dict[str, str]:
    with reading() as conn:
        return clients.names(conn, list(client_ids))


def _client_phone(client_id: str) -> str | None:
    with database() as conn:
        client = clients.find(conn, int(client_id)) if client_id.isdecimal() else None
    return client.phone if client else None


def _find(text: str) -> Found:
    with database() as conn:
        return Found(client_ids=clients.ids_by_name(conn, text), policy_ids=policies.ids_by_number(conn, text))


def _policy_numbers(policy_ids: Iterable[str]) -> dict[str, str]:
    with reading() as conn:
        return policies.numbers(conn, list(policy_ids))
