"""Writing a template: the form with its preview, for a script while somebody types, without one by a button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs import drafting
from whatsapp_logs.catalogue import MEDIA, QUICK_REPLY, TEXT, Version, filled
from whatsapp_logs.drafting import Wanted
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.rights import Right
from whatsapp_logs.web import current, template_words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice

_MOST_TYPED = 4000  # of a text that may have 1 024: what is longer is cut, and told to be too long
_MAX_ID = 2**63 - 1


def register(blueprint: Blueprint, *, root: str) -> None:
    """Add the routes."""
    blueprint.add_url_rule(f"{root}/new", "new_template", new)
    blueprint.add_url_rule(f"{root}/new", "save_new_template", save_new, methods=["POST"])
    blueprint.add_url_rule(f"{root}/preview", "preview_template", preview, methods=["POST"])
    blueprint.add_url_rule(f"{root}/<int:template_id>/edit", "edit_template", edit)
    blueprint.add_url_rule(f"{root}/<int:template_id>/edit", "save_template", save, methods=["POST"])


def can_be_written(version: Version) -> bool:
    """Whether the form can say what the version says; lists, cards and the like are written in Twilio's console."""
    return version.content_type in (TEXT, MEDIA, QUICK_REPLY)


@requires(Right.TEMPLATES)
def new() -> str:
    """An empty form."""
    return _render(Wanted(name=""), None)


@requires(Right.TEMPLATES)
def edit(template_id: int) -> str:
    """The form filled in with the latest version."""
    latest = _latest(template_id)
    return _render(Wanted.of(latest), latest)


@requires(Right.TEMPLATES)
def save_new() -> str | BaseResponse | tuple[str, int]:
    """A new template's draft, or its preview."""
    return _save(None)


@requires(Right.TEMPLATES)
def save(template_id: int) -> str | BaseResponse | tuple[str, int]:
    """The next version's draft, or its preview."""
    return _save(_latest(template_id))


@requires(Right.TEMPLATES)
def preview() -> str:
    """The form again with fields for the placeholders of the text, its preview, and what is wrong in what has been filled in."""
    template_id = request.form.get("template", "")
    latest = _latest(int(template_id)) if template_id.isdecimal() and len(template_id) < 20 else None
    wanted = _typed(latest)
    problems = drafting.problems_of(wanted, is_new=latest is None)
    begun = {field: said for field, said in problems.items() if request.form.get(field, "").strip()}
    return _render(wanted, latest, problems=begun, template="_template_form.html")


def _save(latest: Version | None) -> str | BaseResponse | tuple[str, int]:
    wanted = _typed(latest)
    problems = drafting.problems_of(wanted, is_new=latest is None)
    if request.form.get("do") == "preview":
        return _render(wanted, latest, problems=problems)
    if not problems:
        try:
            saved = current.service().save_template(
                wanted,
                person=viewer().name,
                template_id=None if latest is None else latest.template_id,
                seen=request.form.get("seen"),
            )
        except InvalidInput as problem:
            problems = {problem.field: problem.reason}
        else:
            leave_notice("Saved as a draft. Look at it once more, then submit it for approval.")
            return redirect(url_for(".template", template_id=saved), 303)
    return _render(wanted, latest, problems=problems), 400


def _latest(template_id: int) -> Version:
    if template_id > _MAX_ID:
        raise MessageNotFound("There is no such template.")
    latest = current.service().template_versions(template_id)[0]
    if not can_be_written(latest):
        raise MessageNotFound("Templates of this kind are written in Twilio’s console, and appear here by themselves.")
    return latest


def _typed(latest: Version | None) -> Wanted:
    """The form as it was filled in. Name and language of a template that is there stay as they are."""
    given = {name: value.replace("\0", "").replace("\r\n", "\n") for name, value in request.form.items()}
    body = given.get("body", "")[:_MOST_TYPED]
    buttons = (" ".join(given.get(f"button_{n}", "").split()) for n in range(1, drafting.MAX_BUTTONS + 1))
    return Wanted(
        name=given.get("name", "").strip() if latest is None else latest.name,
        language=given.get("language", "") if latest is None else latest.language,
        category=given.get("category", ""),
        body=body,
        names=_by_key(given, "name_"),
        samples=_by_key(given, "sample_"),
        buttons=tuple(title for title in buttons if title),
        has_document=given.get("has_document") == "yes",
    )


def _by_key(given: Mapping[str, str], begin: str) -> dict[str, str]:
    return {name.removeprefix(begin): value[:_MOST_TYPED] for name, value in given.items() if name.startswith(begin)}


def _render(
    wanted: Wanted,
    latest: Version | None,
    *,
    problems: Mapping[str, str] | None = None,
    template: str = "template_form.html",
) -> str:
    more: dict[str, Any] = {
        "text": filled(wanted.body, {key: value.strip() for key, value in wanted.samples.items()}),
        "keys": wanted.keys[: drafting.MAX_FIELDS],
        "problems": problems or {},
        "buttons": [*wanted.buttons, *[""] * drafting.MAX_BUTTONS][: drafting.MAX_BUTTONS],
        "languages": {code: template_words.language(code) for code in drafting.LANGUAGES},
        "categories": template_words.IN_FULL,
        "rules": drafting,
        # The fingerprint that the form was opened with: what somebody else writes meanwhile is not overwritten.
        "seen": request.form.get("seen", "") if request.method == "POST" else latest.fingerprint if latest else "",
    }
    return render_template(f"whatsapp_logs/{template}", wanted=wanted, latest=latest, **more)
