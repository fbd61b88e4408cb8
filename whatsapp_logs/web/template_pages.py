"""The catalogue of templates: the list; one template with its versions and history; comparing, submitting, archiving."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.catalogue import OPEN, WAITING, Version
from whatsapp_logs.errors import InvalidInput, MessageNotFound, ProviderError, ProviderNotConfigured
from whatsapp_logs.message import Message
from whatsapp_logs.rights import Right
from whatsapp_logs.store.templates import COUNT_UP_TO
from whatsapp_logs.web import current, format, template_forms, template_words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

ROOT = "/whatsapp_logs/templates"
_ONE = f"{ROOT}/<int:template_id>"
_MAX_ID = 2**63 - 1


def register(blueprint: Blueprint) -> None:
    """Add the routes, the words for templates, and the version that a message is pinned to."""
    blueprint.context_processor(lambda: {"wl_version_of": _version_of, "tw": template_words})
    blueprint.add_url_rule(ROOT, "templates", templates)
    blueprint.add_url_rule(f"{ROOT}/synchronise", "synchronise_templates", synchronise, methods=["POST"])
    template_forms.register(blueprint, root=ROOT)
    blueprint.add_url_rule(_ONE, "template", template)
    blueprint.add_url_rule(f"{_ONE}/submit", "submit_template", submit, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/names", "name_template_fields", name_fields, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/archive", "archive_template", archive, methods=["POST"])


@requires(Right.SEE)
def templates() -> str:
    """The list; archived ones apart."""
    archived = request.args.get("archived") == "1"
    return render_template(
        "whatsapp_logs/templates.html",
        entries=current.service().template_entries(archived=archived),
        archived=archived,
        sync=current.service().template_sync(),
        counted=_counted,
        notice=take_notice(),
    )


@requires(Right.TEMPLATES)
def synchronise() -> BaseResponse:
    """Ask Twilio now."""
    try:
        done = current.service().synchronise_templates(asked_by=viewer().name)
    except ProviderNotConfigured as error:
        leave_notice(f"{error}.", tone="bad")
        return redirect(url_for(".templates"), 303)
    except ProviderError:  # noted beside the catalogue: the list says so until Twilio has answered
        return redirect(url_for(".templates"), 303)
    news = [f"{done.new} new here" if done.new else "", f"{done.changed} changed" if done.changed else ""]
    leave_notice(f"Twilio has {done.listed} templates; {', '.join(filter(None, news)) or 'nothing has changed'}.")
    return redirect(url_for(".templates"), 303)


@requires(Right.SEE)
def template(template_id: int) -> str | Response:
    """One template; for a script only its block, and 204 when nothing has changed since `seen`."""
    versions, events = versions_of(template_id), current.service().template_events(template_id)
    seen = _fingerprint(versions)
    if request.args.get("seen") == seen:
        return Response(status=204)
    name = "_template.html" if "HX-Request" in request.headers else "template.html"
    return render_template(
        f"whatsapp_logs/{name}",
        versions=versions,
        latest=versions[0],
        numbers={version.id: version.version for version in versions},
        events=events,
        may_be_submitted=versions[0].approval in OPEN,
        is_waiting=versions[0].approval in WAITING,
        can_be_written=template_forms.can_be_written(versions[0]),
        seen=seen,
        notice=take_notice(),
    )


@requires(Right.TEMPLATES)
def submit(template_id: int) -> BaseResponse:
    """Put the latest version to WhatsApp, if it is still the one that was seen."""
    latest = versions_of(template_id)[0]
    if request.form.get("seen") != latest.fingerprint:
        leave_notice("Nothing was submitted: somebody has changed the template since you opened this page.", tone="bad")
        return redirect(url_for(".template", template_id=template_id), 303)
    try:
        done = current.service().submit_template(latest.id, person=viewer().name)
        leave_notice(f"Version {done.version} is submitted. {template_words.advice(done)}".strip())
    except (ProviderError, ProviderNotConfigured, InvalidInput) as error:
        more = " Nothing is submitted twice: press again later." if isinstance(error, ProviderError) else ""
        leave_notice(f"{str(error).rstrip('.')}.{more}", tone="bad")
    return redirect(url_for(".template", template_id=template_id), 303)


@requires(Right.TEMPLATES)
def name_fields(template_id: int) -> BaseResponse:
    """What the office calls the latest version's fields."""
    latest = versions_of(template_id)[0]
    names = {one.key: request.form.get(f"name_{one.key}", one.name).replace("\0", "") for one in latest.fields}
    try:
        current.service().rename_template_fields(latest.id, names)
        leave_notice("Saved. Senders see these names.")
    except InvalidInput as problem:
        leave_notice(problem.reason, tone="bad")
    return redirect(url_for(".template", template_id=template_id), 303)


@requires(Right.TEMPLATES)
def archive(template_id: int) -> BaseResponse:
    """Offer the template no more, or again."""
    versions_of(template_id)
    away = request.form.get("do") != "restore"
    current.service().archive_template(template_id, archived_by=viewer().name if away else None)
    leave_notice("Archived: it is offered no more. Twilio keeps it." if away else "It is offered again.")
    return redirect(url_for(".template", template_id=template_id), 303)


def versions_of(template_id: int) -> list[Version]:
    """A template's versions. Raises MessageNotFound."""
    if template_id > _MAX_ID:
        raise MessageNotFound("There is no such template.")
    return current.service().template_versions(template_id)


def _version_of(message: Message) -> Version | None:
    """The version that the message is pinned to; None where the catalogue did not know it when it was sent."""
    pinned = message.template_version_id
    return None if pinned is None else current.service().template_version(pinned)


def _counted(used: int) -> str:
    return format.counted(min(used, COUNT_UP_TO), is_exact=used <= COUNT_UP_TO)


def _fingerprint(versions: list[Version]) -> str:
    told: Any = [(v.fingerprint, v.approval, v.category, v.rejection_reason, v.submitted_at) for v in versions]
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()
