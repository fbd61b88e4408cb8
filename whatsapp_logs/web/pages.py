"""The log's list: the page, its filter form, and what a visible page polls."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.rights import Right
from whatsapp_logs.web import (
    accesses,
    again,
    current,
    details,
    finding,
    listing,
    looks,
    refreshes,
    talk_links,
    widgets,
    words,
)
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.asking import Asked, asked, asked_by_form, asked_by_old_phone, asked_for_everything
from whatsapp_logs.web.notices import take_notice

_PAGE = "whatsapp_logs/whatsapp_logs.html"


def register(blueprint: Blueprint) -> None:
    """Add the list and everything that is reached from it."""
    blueprint.context_processor(words.for_templates)
    blueprint.add_url_rule("/whatsapp_logs", "page", page)
    blueprint.add_url_rule("/whatsapp_logs/", "page_with_slash", refreshes.back_to_the_list)
    blueprint.add_url_rule("/whatsapp_logs", "search", search, methods=["POST"])
    blueprint.add_url_rule(again.LIVE_PATH, "live", live)
    blueprint.add_url_rule("/whatsapp_logs/unmatched", "unmatched", unmatched)
    accesses.register(blueprint)
    details.register(blueprint)
    refreshes.register(blueprint)
    widgets.register_live(blueprint)


@requires(Right.SEE)
def page() -> str | BaseResponse:
    """The whole page. An old address with a phone number in it is answered with one that holds none."""
    typed = request.args.get("phone_filter", "").strip()
    if typed and typed.lower() != "all":
        return redirect(asked_by_old_phone(typed).url(), 303)
    here = asked()
    found = _read(here)
    if not found.rows and here.after is not None:  # everything newer fits on the first page by now
        return redirect(here.url(), 303)
    if not found.rows and here.offset:
        raise MessageNotFound("The list has no such page. Go back to the first one.")
    run = refreshes.worth_showing(is_whole_log=here.wanted.is_empty and here.is_first_page)
    return _render(_PAGE, found, run=run, notice=take_notice())


@requires(Right.SEE)
def search() -> BaseResponse | tuple[str, int]:
    """The filter form, sent by POST so that a phone number never stands in an address; what cannot be used is said beside it.

    A client's name never stands in an address either: several of one name are chosen from on the page that answers.
    """
    try:
        here = asked_by_form(request.form.to_dict(flat=False))
        whom = request.form.get("whom", "").strip()
        if whom and current.extension().find is not None:
            choices = finding.choices(here, whom)
            if len(choices) > 1:
                return _render(_PAGE, _read(here), choices=choices, typed=request.form), 200
            here = choices[0].asked
        return redirect(here.url(), 303)
    except InvalidInput as problem:
        found = _read(asked_for_everything())
        return _render(_PAGE, found, run=refreshes.worth_showing(), problem=problem, typed=request.form), 400


@requires(Right.SEE)
def live() -> str | Response:
    """The list again if anything visible has changed since `seen`, else 204: nothing rendered, and read once for all who look."""
    here, seen = asked(), request.args.get("seen")
    digest, state = current.extension().news.look(current.service(), here)
    if seen == digest:
        again.told(here, seen=digest, state=state)
        return Response(status=204)
    return _render("whatsapp_logs/_live.html", _read(here))


@requires(Right.SEE)
def unmatched() -> str:
    """Reports of messages that are not in the log."""
    return render_template("whatsapp_logs/unmatched.html", events=current.service().unmatched())


def _read(here: Asked) -> listing.Listing:
    waiting = current.extension().waiting.count(current.service())
    return listing.read(current.service(), here, waiting=waiting)


def _render(template: str, found: listing.Listing, **more: Any) -> str:
    looks.at_list(found.asked.wanted)
    g.whatsapp_logs_now = found.now
    names = words.names(found.rows, wanted=found.asked.wanted)
    named = {name: names[name] for name in ("clients", "policies", "client_of", "sent_again")}
    talks = talk_links.of_messages(found.rows)
    drawn = current.extension().rows.draw(found.rows, words.Words(viewer()), talks=talks, **named)
    return render_template(
        template,
        found=found,
        drawn=Markup("").join(row.html for row in drawn),
        asked=found.asked,
        wanted=found.asked.wanted,
        types=found.types,
        seen=listing.fingerprint(found.rows, ((row.age, row.detail) for row in drawn), found.figures),
        **names,
        **more,
    )
