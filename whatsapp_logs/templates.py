"""The catalogue of templates: written here, submitted to WhatsApp, and kept the same as the provider's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection

from whatsapp_logs import catalogue
from whatsapp_logs.catalogue import Field, ProviderTemplate, Version
from whatsapp_logs.channels.base import TemplateGateway
from whatsapp_logs.config import Config
from whatsapp_logs.drafting import MAX_FIELD_NAME, Wanted, problems_of
from whatsapp_logs.errors import InvalidInput, ProviderError, Refused, UnknownToProvider
from whatsapp_logs.message import Template
from whatsapp_logs.store import template_sync, templates

log = logging.getLogger(__name__)

_ALREADY_SUBMITTED = "92009"
_LOOKED_UP = 50  # templates that the list does not show are asked for one by one, so many a time
Transaction = Callable[[], AbstractContextManager[Connection[Any]]]


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What a comparison with the provider has brought: templates listed, versions new here, versions that changed."""

    listed: int
    new: int
    changed: int


# --- writing ---


def save(
    conn: Connection[Any],
    wanted: Wanted,
    *,
    template_id: int | None,
    seen: str | None,
    config: Config,
    person: str,
) -> int:
    """Write a template's draft; with `template_id` the next version of that template. Returns the template's id.

    `seen` is the fingerprint of the version that the form was filled in with: a draft that somebody else has changed since is not
    overwritten. Raises InvalidInput.
    """
    problem = next(iter(problems_of(wanted, is_new=template_id is None).items()), None)
    if problem is not None:
        raise InvalidInput(*problem)
    templates.lock(conn)
    if template_id is None:
        template_id = templates.add_template(conn, name=wanted.name, language=wanted.language, created_by=person)
        if template_id is None:
            text = f"There is a template {wanted.name} in this language already. Open it and write its next version."
            raise InvalidInput("name", text)
    else:
        _check_unchanged(conn, template_id, seen)
    content = wanted.content(public_base_url=config.public_base_url)
    values = {
        "content_type": content.content_type,
        "body": content.body,
        "media_url": content.media_url,
        "media_variable": content.media_variable,
        "actions": [dict(action) for action in content.actions],
        "variables": templates.as_json(content.fields),
        "category": wanted.category,
    }
    templates.put_draft(conn, template_id, values, created_by=person)
    return template_id


def _check_unchanged(conn: Connection[Any], template_id: int, seen: str | None) -> None:
    latest = next(iter(templates.of_template(conn, template_id)), None)
    if latest is None:
        raise InvalidInput("version", "There is no such template.")
    if template_sync.is_being_submitted(conn, latest.id):
        raise InvalidInput("body", "This version is being submitted just now. Look again in a minute.")
    if latest.fingerprint != seen:
        text = f"{latest.created_by} has changed version {latest.version} while you wrote. Open it in another tab and compare."
        raise InvalidInput("body", text)


def rename_fields(conn: Connection[Any], version_id: int, names: Mapping[str, str]) -> None:
    """What the office calls a version's fields; Twilio knows their keys only. Raises InvalidInput."""
    version = _found(templates.version(conn, version_id))
    named: list[Field] = []
    for one in version.fields:
        name = " ".join(names.get(one.key, one.name).split())
        if not name or len(name) > MAX_FIELD_NAME or name in [other.name for other in named]:
            text = f"Give each field a name of its own, in up to {MAX_FIELD_NAME} characters: {{{{{one.key}}}}}."
            raise InvalidInput(f"name_{one.key}", text)
        named.append(Field(key=one.key, name=name, sample=one.sample))
    templates.set_variables(conn, version_id, templates.as_json(named))


# --- submitting ---


def submit(transaction: Transaction, provider: TemplateGateway, version_id: int, *, person: str) -> Version:
    """Have the provider keep the version and put it to WhatsApp; never twice, whatever gets lost on the way.

    Raises InvalidInput when it is submitted already, Refused, or ProviderAway: then pressing again goes on where it stopped.
    """
    with transaction() as conn:
        version = _found(templates.version(conn, version_id))
        if not template_sync.begin_submission(conn, version_id, submitted_by=person):
            raise InvalidInput("version", _why_not(version))
    try:
        version = _kept(transaction, provider, version, person=person)
        approval = _asked(provider, version)
    except ProviderError:
        with transaction() as conn:
            template_sync.give_submission_back(conn, version_id)
        raise
    with transaction() as conn:
        template_sync.submitted(conn, version_id, approval=approval, told_by=person)
        log.info("template %s version %s submitted: %s", version.name, version.version, approval)
        return _found(templates.version(conn, version_id))


def _kept(transaction: Transaction, provider: TemplateGateway, version: Version, *, person: str) -> Version:
    """The version with the provider's id; one whose answer was lost is found in the provider's list, not made again."""
    if version.content_sid is None:
        synchronise(transaction, provider, asked_by=person)
        with transaction() as conn:
            version = _found(templates.version(conn, version.id))
    if version.content_sid is None:
        sid = provider.create(name=version.name, language=version.language, content=version.content)
        with transaction() as conn:
            template_sync.created(conn, version.id, content_sid=sid)
        version = replace(version, content_sid=sid, approval="unsubmitted")
    return version


def _asked(provider: TemplateGateway, version: Version) -> str:
    assert version.content_sid is not None
    if version.approval != "unsubmitted":  # the list has shown that an earlier attempt came through
        return version.approval
    try:
        return provider.submit(version.content_sid, name=version.submitted_name, category=version.category)
    except Refused as error:
        if error.code != _ALREADY_SUBMITTED:
            raise
        return provider.template(version.content_sid).approval


def _why_not(version: Version) -> str:
    if version.approval in catalogue.OPEN:
        return "This version is being submitted just now. Look again in a minute."
    return f"This version was submitted already: WhatsApp says {version.approval}."


# --- synchronising ---


def synchronise(transaction: Transaction, provider: TemplateGateway, *, asked_by: str | None = None) -> Synchronised:
    """Bring the catalogue to what the provider has: new templates, approvals, rejections, pauses, and what was deleted there.

    What its list lacks is asked for by its id before it counts as deleted: lists lag. Raises ProviderAway, and notes it.
    """
    with transaction() as conn:
        asked_at = template_sync.begin_sync(conn, asked_by=asked_by)
    try:
        listed = list(provider.templates())
        with transaction() as conn:
            missing = template_sync.missing(conn, [one.sid for one in listed], asked_at=asked_at, limit=_LOOKED_UP)
        gone = []
        for sid in missing:
            try:
                listed.append(provider.template(sid))
            except UnknownToProvider:
                gone.append(sid)
    except ProviderError as error:
        with transaction() as conn:
            template_sync.end_sync(conn, asked_at, listed=None, problem=str(error))
        raise
    with transaction() as conn:
        templates.lock(conn)
        new, changed = template_sync.take(conn, _named(conn, listed), gone, asked_at=asked_at)
        template_sync.end_sync(conn, asked_at, listed=len(listed))
    if new or changed:
        log.info("templates synchronised: %s listed, %s new, %s changed", len(listed), new, changed)
    return Synchronised(len(listed), new, changed)


def _named(conn: Connection[Any], listed: Sequence[ProviderTemplate]) -> list[ProviderTemplate]:
    """The same with the names that the office has given to the fields of earlier versions."""
    known = templates.field_names(conn)
    return [_with_names(one, known.get((one.name, one.language), {})) for one in listed]


def _with_names(one: ProviderTemplate, names: Mapping[str, str]) -> ProviderTemplate:
    fields = tuple(replace(each, name=names.get(each.key, each.name)) for each in one.content.fields)
    return replace(one, content=replace(one.content, fields=fields))


# --- using ---


def find(
    conn: Connection[Any],
    name: str,
    variables: Mapping[str, str],
    *,
    media_variable: str | None = None,
    language: str | None = None,
) -> Template | None:
    """The newest approved version of that name, filled in, or None. Without a language, the one that was there first."""
    version = next(iter(templates.usable(conn, name=name, language=language)), None)
    if version is None or version.content_sid is None:
        return None
    return Template(
        sid=version.content_sid,
        name=name,
        variables=variables,
        media_variable=version.media_variable or media_variable,
    )


def _found(version: Version | None) -> Version:
    if version is None:
        raise InvalidInput("version", "There is no such version of a template.")
    return version
