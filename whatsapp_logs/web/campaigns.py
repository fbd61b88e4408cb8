"""Campaigns step by step: a table or a choice, its meaning, what would happen, a test, the release; then how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, stream_with_context, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs import campaign_files, campaigns
from whatsapp_logs.catalogue import Version
from whatsapp_logs.errors import InvalidInput, MessageNotFound, NotAllowed
from whatsapp_logs.filters import Audience
from whatsapp_logs.message import MESSAGE_TYPES
from whatsapp_logs.rights import Right
from whatsapp_logs.store.campaigns import Campaign, Result
from whatsapp_logs.web import campaign_words, current, looks
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/campaigns"
_ONE = f"{_ROOT}/<int:campaign_id>"
_MAX_ID = 2**63 - 1
_MAX_POSITION = 2**31 - 1
_ROWS = 50
_EXAMPLES = 3
_PROBLEMS_SHOWN = 10
_READ_TOGETHER = 1000
_KINDS = {"later": frozenset({campaigns.LATER}), "all": frozenset({campaigns.LATER, campaigns.AFTER_FIX})}


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    add = blueprint.add_url_rule
    add(_ROOT, "campaigns", index)
    add(_ROOT, "begin_campaign", begin, methods=["POST"])
    add(f"{_ROOT}/new", "new_campaign", new)
    add(_ONE, "campaign", show)
    add(f"{_ONE}/fields", "campaign_fields", fields)
    add(f"{_ONE}/fields", "map_campaign", map_fields, methods=["POST"])
    add(f"{_ONE}/table", "replace_campaign_table", replace_table, methods=["POST"])
    add(f"{_ONE}/recipients", "campaign_recipients", recipients)
    add(f"{_ONE}/recipients.csv", "campaign_file", file)
    add(f"{_ONE}/check", "check_campaign", check, methods=["POST"])
    add(f"{_ONE}/test", "test_campaign", test, methods=["POST"])
    add(f"{_ONE}/start", "start_campaign", start, methods=["POST"])
    add(f"{_ONE}/release", "release_campaign", release, methods=["POST"])
    add(f"{_ONE}/back", "take_campaign_back", take_back, methods=["POST"])
    add(f"{_ONE}/pause", "pause_campaign", pause, methods=["POST"])
    add(f"{_ONE}/resume", "resume_campaign", resume, methods=["POST"])
    add(f"{_ONE}/cancel", "cancel_campaign", cancel, methods=["POST"])
    add(f"{_ONE}/retry", "retry_campaign", retry, methods=["POST"])
    add(f"{_ONE}/in_doubt", "campaign_in_doubt", in_doubt)
    add(f"{_ONE}/in_doubt", "settle_campaign", settle_all, methods=["POST"])


# --- pages ---


@requires(Right.SEE)
def index() -> str:
    """All campaigns, the newest first."""
    before = _number("before", _MAX_ID)
    found = current.service().campaigns(before=before or None, limit=_ROWS + 1)
    return render_template(
        "whatsapp_logs/campaigns.html",
        campaigns=[(one, campaign_words.state(one)) for one in found[:_ROWS]],
        older=found[_ROWS - 1].id if len(found) > _ROWS else None,
        may_prepare=viewer().may(Right.CAMPAIGNS),
        notice=take_notice(),
    )


@requires(Right.CAMPAIGNS)
def new() -> str:
    """Where a campaign begins: a file, or a choice of the portal's."""
    return _new()


@requires(Right.CAMPAIGNS)
def begin() -> BaseResponse | tuple[str, int]:
    """Read the table, or ask the portal, and go on to what it means."""
    name, audience = request.form.get("name", ""), current.extension().audience
    try:
        if request.form.get("from") == "audience" and audience is not None:
            campaign_id = _begin_with(audience, name)
        else:
            table, source = _uploaded()
            campaign_id = current.service().begin_campaign(
                table, name=name or source.rpartition(".")[0] or source, source=source, created_by=viewer().name
            )
    except InvalidInput as problem:
        return _new(problem=problem, typed=request.form), 400
    return redirect(url_for(".campaign_fields", campaign_id=campaign_id), 303)


@requires(Right.SEE)
def show(campaign_id: int) -> str | Response:
    """The campaign as it stands: what would happen, or how far it is; for a script only the part that moves."""
    told = current.service().campaign(_id(campaign_id))
    if "HX-Request" in request.headers:
        if "checking" in request.args and told.campaign.check_asked_at is None:
            return Response(headers={"HX-Refresh": "true"})  # what the check has found is all over the page
        seen = campaign_words.fingerprint(told)
        if request.args.get("seen") == seen:
            return Response(status=204)
        return _render("_campaign.html", told)
    return _render("campaign.html", told, notice=take_notice())


@requires(Right.CAMPAIGNS)
def fields(campaign_id: int) -> str | BaseResponse:
    """What the columns mean, with the first rows as their customers would read them."""
    return _fields(campaign_id)


@requires(Right.CAMPAIGNS)
def map_fields(campaign_id: int) -> str | BaseResponse | tuple[str | BaseResponse, int]:
    """Show the first rows with this meaning, or keep it and check every row."""
    if request.form.get("do") != "save":
        return _fields(campaign_id, typed=request.form)
    try:
        current.service().map_campaign(
            _id(campaign_id),
            name=request.form.get("name", ""),
            template_id=_chosen(request.form.get("template", "")),
            message_type=request.form.get("message_type", ""),
            mapping=_mapping(request.form),
            person=viewer().name,
        )
    except InvalidInput as problem:
        if problem.field == "campaign":
            raise
        return _fields(campaign_id, typed=request.form, problem=problem), 400
    return redirect(url_for(".campaign", campaign_id=campaign_id), 303)


@requires(Right.SEE)
def recipients(campaign_id: int) -> str:
    """Each row with what became of it, or why it is left out."""
    only_problems = request.args.get("only") == "left_out"
    after = _number("after", _MAX_POSITION)
    told = current.service().campaign(_id(campaign_id))
    found = current.service().campaign_results(told.campaign, after=after, limit=_ROWS + 1, only_problems=only_problems)
    return render_template(
        "whatsapp_logs/campaign_recipients.html",
        told=told,
        rows=found[:_ROWS],
        older=found[_ROWS - 1].position if len(found) > _ROWS else None,
        only_problems=only_problems,
        words=campaign_words,
        sees=_sees(),
    )


@requires(Right.CAMPAIGNS)
def file(campaign_id: int) -> Response:
    """The office's own table, with what became of each row beside it."""
    if not _sees():
        raise NotAllowed("This table has phone numbers and names: you have not been given the right to see those.")
    told = current.service().campaign(_id(campaign_id))
    only_problems = request.args.get("only") == "left_out"
    looks.at_campaign(campaign_id, form="csv")
    response = Response(
        stream_with_context(_csv(told.campaign, only_problems=only_problems)), content_type="text/csv; charset=utf-8"
    )
    response.headers.set("Content-Disposition", "attachment", filename=f"campaign-{campaign_id}.csv")
    return response


# --- what may be pressed ---


@requires(Right.CAMPAIGNS)
def replace_table(campaign_id: int) -> BaseResponse:
    """Another table for a draft; what its columns mean is asked again where they differ."""

    def do() -> str:
        table, source = _uploaded()
        current.service().replace_campaign_table(_id(campaign_id), table, source=source, person=viewer().name)
        return "The new table is here. Look at what its columns mean, then check its rows."

    return _done(campaign_id, do, then=".campaign_fields")


@requires(Right.CAMPAIGNS)
def check(campaign_id: int) -> BaseResponse:
    """Ask the gate about every row again."""
    asked = current.service().check_campaign
    return _done(campaign_id, lambda: "Checked again." if asked(_id(campaign_id)) else "Its rows are checked again.")


@requires(Right.CAMPAIGNS)
def test(campaign_id: int) -> BaseResponse:
    """Send the first row's message to one's own number."""

    def do() -> str:
        message = current.service().test_campaign(_id(campaign_id), to=request.form.get("to", ""), person=viewer().name)
        if message.error_code:
            raise InvalidInput("to", f"The test was not sent: {message.error_message}")
        return f"The test is on its way to you, as Message {message.id}."

    return _done(campaign_id, do)


@requires(Right.CAMPAIGNS)
def start(campaign_id: int) -> BaseResponse:
    """Send it, or ask for its release."""

    def do() -> str:
        again = request.form.get("again") == "yes"
        begun = current.service().start_campaign(_id(campaign_id), person=viewer().name, again=again)
        return (
            "It has begun." if begun.state == "running" else "It waits for somebody else to look at it and release it."
        )

    return _done(campaign_id, do)


@requires(Right.RELEASE)
def release(campaign_id: int) -> BaseResponse:
    """Let it go, as a second person."""
    current.service().release_campaign(_id(campaign_id), person=viewer().name)
    leave_notice("Released. It has begun.")
    return redirect(url_for(".campaign", campaign_id=campaign_id), 303)


@requires(Right.CAMPAIGNS)
def take_back(campaign_id: int) -> BaseResponse:
    """Make it a draft again."""
    return _pressed(
        campaign_id, current.service().take_campaign_back, "It is a draft again. Check its rows before you send it."
    )


@requires(Right.CAMPAIGNS)
def pause(campaign_id: int) -> BaseResponse:
    """Hand nothing more over."""
    return _pressed(
        campaign_id, current.service().pause_campaign, "Paused. What was under way still arrives; nothing else leaves."
    )


@requires(Right.CAMPAIGNS)
def resume(campaign_id: int) -> BaseResponse:
    """Go on."""
    return _pressed(campaign_id, current.service().resume_campaign, "It goes on.")


@requires(Right.CAMPAIGNS)
def cancel(campaign_id: int) -> BaseResponse:
    """End it: what has not left stays in the log as canceled."""
    return _pressed(
        campaign_id, current.service().cancel_campaign, "Canceled. What had not left is in the log as canceled."
    )


@requires(Right.CAMPAIGNS)
def retry(campaign_id: int) -> BaseResponse:
    """A new campaign with those whose message failed."""
    kinds = _KINDS.get(request.form.get("kinds", ""))
    try:
        if kinds is None:
            raise InvalidInput("kinds", "Choose whom to try again.")
        again = current.service().retry_campaign(_id(campaign_id), kinds=kinds, person=viewer().name)
    except InvalidInput as problem:
        leave_notice(problem.reason, tone="bad")
        return redirect(url_for(".campaign", campaign_id=campaign_id), 303)
    leave_notice("This is a new campaign, with those for whom it may work now. Nothing has been sent yet.")
    return redirect(url_for(".campaign", campaign_id=again), 303)


@requires(Right.SEND)
def in_doubt(campaign_id: int) -> str | BaseResponse:
    """What it means to settle all that is in doubt, one way or the other, before anybody does."""
    told = current.service().campaign(_id(campaign_id))
    count = current.service().campaign_in_doubt(campaign_id)
    if not count:
        leave_notice(_nothing_to_settle(told), tone="bad")
        return redirect(url_for(".campaign", campaign_id=campaign_id), 303)
    return render_template("whatsapp_logs/campaign_in_doubt.html", told=told, count=count, words=campaign_words)


@requires(Right.SEND)
def settle_all(campaign_id: int) -> BaseResponse:
    """Settle all that is in doubt by this person's word; the worker looks each up at Twilio before."""

    def do() -> str:
        counts_as = request.form.get("counts_as", "")
        if counts_as not in ("sent", "not_sent"):
            raise InvalidInput("counts_as", "Choose whether they count as sent or as not sent.")
        count = current.service().settle_campaign(
            _id(campaign_id), was_sent=counts_as == "sent", created_by=viewer().name
        )
        if not count:
            raise InvalidInput("campaign", _nothing_to_settle(current.service().campaign(campaign_id)))
        what = "sent" if counts_as == "sent" else "not sent"
        found = campaign_words.many(count, "message is", "messages are")
        return f"{found} looked up at Twilio once more. What it still does not show counts as {what}, in your name."

    return _done(campaign_id, do)


def _nothing_to_settle(told: campaigns.Told) -> str:
    if told.progress.unconfirmed:
        return "It is too soon to settle what is in doubt: Twilio’s list lags, and is asked for an hour."
    return "Nothing of this campaign is in doubt."


# --- how ---


def _pressed(campaign_id: int, verb: Callable[..., Any], words: str) -> BaseResponse:
    def do() -> str:
        verb(_id(campaign_id), person=viewer().name)
        return words

    return _done(campaign_id, do)


def _done(campaign_id: int, do: Callable[[], str], *, then: str = ".campaign") -> BaseResponse:
    """Do it and say so on the campaign's page; what is refused is said there too."""
    try:
        leave_notice(do())
    except InvalidInput as problem:
        leave_notice(problem.reason, tone="bad")
        then = ".campaign"
    return redirect(url_for(then, campaign_id=campaign_id), 303)


def _new(**more: Any) -> str:
    return render_template(
        "whatsapp_logs/campaign_new.html",
        audience=current.extension().audience,
        max_rows=campaign_files.MAX_ROWS,
        reads_xlsx=campaign_files.can_read_xlsx(),
        **({"problem": None, "typed": None} | more),
    )


def _uploaded() -> tuple[campaign_files.Table, str]:
    given = request.files.get("file")
    if given is None or not given.filename:
        raise InvalidInput("file", "Choose the table with the recipients.")
    source = " ".join(given.filename.replace("\\", "/").rpartition("/")[2].split())[:200]
    return campaign_files.read(source, given.stream.read(campaign_files.MAX_BYTES + 1)), source


def _begin_with(audience: Audience, name: str) -> int:
    wanted, said = {}, []
    for field in audience.fields:
        value = request.form.get(f"audience-{field.name}", "").strip()
        if not value:
            continue
        if field.choices:
            words = dict(field.choices).get(value)
            if words is None:
                raise InvalidInput(f"audience-{field.name}", "Choose one of those that are offered.")
            said.append(words)
        else:
            if not (value.isascii() and value.isdigit() and len(value) <= 6):
                raise InvalidInput(f"audience-{field.name}", "Write a whole number here.")
            said.append(f"{field.label}: {value}")
        wanted[field.name] = value
    found = [one for one, _ in zip(audience.find(wanted), range(campaign_files.MAX_ROWS + 1), strict=False)]
    if len(found) > campaign_files.MAX_ROWS:
        raise InvalidInput("audience", f"More than {campaign_files.MAX_ROWS:,} fit this choice. Choose fewer.")
    source = "; ".join(said) or "everybody"
    return current.service().begin_campaign_with(
        found, name=name or source[: campaigns.MAX_NAME], source=source, wanted=wanted, created_by=viewer().name
    )


def _fields(campaign_id: int, *, typed: Any = None, problem: InvalidInput | None = None) -> str | BaseResponse:
    """The page of meanings: as kept, as typed, or as the columns' names suggest."""
    told = current.service().campaign(_id(campaign_id))
    campaign = told.campaign
    if not campaign.is_draft:
        leave_notice("This campaign is no draft any more: it cannot be changed.", tone="bad")
        return redirect(url_for(".campaign", campaign_id=campaign_id), 303)
    choices = current.service().templates_of_words()
    wanted = (typed or request.args).get("template", "")
    chosen_id = _chosen(wanted) if wanted else campaign.template_version_id
    template = next((one for one in choices if one.id == chosen_id), None)
    mapping = _mapping(typed) if typed else _meant(campaign, template)
    rows = current.service().campaign_table(campaign, limit=_EXAMPLES) if _sees() else []
    examples = [campaign_words.example(campaign, template, mapping, row) for row in rows] if template else []
    return render_template(
        "whatsapp_logs/campaign_fields.html",
        told=told,
        campaign=campaign,
        name=typed.get("name", "") if typed else campaign.name,
        message_type=typed.get("message_type", "") if typed else campaign.message_type,
        templates=choices,
        template=template,
        mapping=mapping,
        rows=rows,
        examples=examples,
        sees=_sees(),
        types=MESSAGE_TYPES,
        problem=problem,
        notice=take_notice(),
    )


def _meant(campaign: Campaign, template: Version | None) -> dict[str, Any]:
    """The meaning that is kept; where there is none, columns that sound like the template's fields."""
    mapping: dict[str, Any] = {"to": campaign.mapping.get("to", 0), "fields": dict(campaign.mapping.get("fields", {}))}
    same = template is not None and template.id == campaign.template_version_id
    for field in template.fields if template is not None else ():
        if same and field.key in mapping["fields"]:
            continue
        place = campaigns.guess_field(field.name, campaign.columns)
        mapping["fields"][field.key] = {} if place is None or place == mapping["to"] else {"column": place}
    return mapping


def _mapping(form: Any) -> dict[str, Any]:
    """The meaning as the form gives it."""
    meant: dict[str, Any] = {"to": _place(form.get("to", "")), "fields": {}}
    for name in form:
        if name.startswith("field-"):
            key, place = name.removeprefix("field-"), _place(form.get(name, ""))
            text = form.get(f"text-{key}", "").replace("\0", "")
            meant["fields"][key] = {"text": text} if place is None else {"column": place}
    return meant


def _place(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


def _chosen(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:19]) <= _MAX_ID and len(text) <= 19):
        raise InvalidInput("template", "Choose a template that WhatsApp has approved.")
    return int(text)


def _render(name: str, told: campaigns.Told, **more: Any) -> str:
    person, campaign, service = viewer(), told.campaign, current.service()
    return render_template(
        f"whatsapp_logs/{name}",
        told=told,
        campaign=campaign,
        state=campaign_words.state(campaign),
        problems=_first_problems(campaign),
        example=_first_example(told),
        words=campaign_words,
        seen=campaign_words.fingerprint(told),
        sees=_sees(),
        may_prepare=person.may(Right.CAMPAIGNS),
        may_release=person.may(Right.RELEASE) and person.name not in campaign.people,
        is_mine=person.name in campaign.people,
        release_from=service.config.campaign_release_from,
        rate=service.config.sender_rate,
        price_unit=service.config.price_unit,
        now=datetime.now(UTC),
        **({"notice": None} | more),
    )


def _first_problems(campaign: Campaign) -> list[Result]:
    if campaign.has_begun or not campaign.forecast:
        return []
    return current.service().campaign_results(campaign, limit=_PROBLEMS_SHOWN, only_problems=True)


def _first_example(told: campaigns.Told) -> str | None:
    """The first row's message, while it may still be changed."""
    if told.template is None or not told.campaign.is_mapped or told.campaign.has_begun:
        return None
    rows = current.service().campaign_table(told.campaign, limit=1)
    return campaign_words.example(told.campaign, told.template, told.campaign.mapping, rows[0]) if rows else None


def _csv(campaign: Campaign, *, only_problems: bool) -> Iterator[str]:
    more = ["Problem"] if only_problems else ["Result", "Code", "Reason"]
    yield "\ufeff" + campaign_files.csv_file([*campaign.columns, *more], [])
    after = 0
    while some := current.service().campaign_results(
        campaign, after=after, limit=_READ_TOGETHER, only_problems=only_problems
    ):
        lines = []
        for one in some:
            cells = [*one.cells, *[""] * (len(campaign.columns) - len(one.cells))]
            result = campaign_words.result(one)
            lines.append([*cells, *([result.text] if only_problems else [result.word, result.code, result.text])])
        yield campaign_files.csv_file(lines[0], lines[1:])
        after = some[-1].position


def _sees() -> bool:
    """Whether this person may see what stands in the office's own table: numbers, names, words."""
    return viewer().may(Right.NUMBERS) and viewer().may(Right.TEXTS)


def _id(campaign_id: int) -> int:
    if campaign_id > _MAX_ID:
        raise MessageNotFound("There is no such campaign.")
    return campaign_id


def _number(name: str, most: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > most:
        raise InvalidInput(name, "This page address is damaged. Go back to the first page.")
    return int(text)
