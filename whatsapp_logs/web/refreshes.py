"""\"Refresh all statuses\": begin or join a run, watch its progress, stop it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.errors import MessageNotFound, ProviderNotConfigured
from whatsapp_logs.rights import Right
from whatsapp_logs.store.refreshes import Refresh
from whatsapp_logs.web import current
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice

_ROOT = "/whatsapp_logs/refreshes/<int:refresh_id>"
_MINE = "whatsapp_logs_refresh"
_SHOWN_FOR = timedelta(minutes=1)  # so long a finished run's outcome stays on the list page
_MAX_ID = 2**63 - 1


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule("/whatsapp_logs/refresh_all", "refresh_all", refresh_all, methods=["POST"])
    blueprint.add_url_rule("/whatsapp_logs/refresh_all", "refresh_all_page", back_to_the_list)
    blueprint.add_url_rule(_ROOT, "refresh_run", refresh_run)
    blueprint.add_url_rule(f"{_ROOT}/cancel", "cancel_refresh", cancel_refresh, methods=["POST"])


@requires(Right.REFRESH)
def refresh_all() -> str | BaseResponse:
    """Begin a run, or join the one under way."""
    service = current.service()
    try:
        run = service.refresh_all(started_by=viewer().name)
    except ProviderNotConfigured as error:
        if "HX-Request" in request.headers:
            return render_template("whatsapp_logs/_refresh.html", refused=str(error))
        leave_notice(str(error), tone="bad")
        return redirect(url_for(".page"), 303)
    session[_MINE] = run.id
    if "HX-Request" in request.headers:
        return render_template("whatsapp_logs/_refresh.html", run=run)
    return redirect(url_for(".refresh_run", refresh_id=run.id), 303)


@requires(Right.SEE)
def back_to_the_list() -> BaseResponse:
    """The address of the press, typed or kept as a bookmark: nothing is begun by looking."""
    return redirect(url_for(".page"), 303)


@requires(Right.SEE)
def refresh_run(refresh_id: int) -> str:
    """How far the run is: a page, or its block for a script."""
    run = _run(refresh_id)
    template = "_refresh.html" if "HX-Request" in request.headers else "refresh.html"
    return render_template(f"whatsapp_logs/{template}", run=run)


@requires(Right.REFRESH)
def cancel_refresh(refresh_id: int) -> str | BaseResponse:
    """Ask the run to stop after the batch it is at."""
    _run(refresh_id)
    current.service().cancel_refresh(refresh_id)
    if "HX-Request" in request.headers:
        return render_template("whatsapp_logs/_refresh.html", run=_run(refresh_id))
    return redirect(url_for(".refresh_run", refresh_id=refresh_id), 303)


def worth_showing(*, is_whole_log: bool = True) -> Refresh | None:
    """The run to show above the list: one that somebody has asked for and that is under way, or has just ended.

    An outcome is told above the whole log only: whoever opens another list has seen it.
    """
    run = current.service().refresh_progress()
    if run is None or (run.started_by is None and run.id != session.get(_MINE)):
        return None
    if run.finished_at is not None and not is_whole_log:
        return None
    if run.finished_at is not None and datetime.now(UTC) - run.finished_at > _SHOWN_FOR:
        return None
    return run


def _run(refresh_id: int) -> Refresh:
    run = current.service().refresh_progress(refresh_id) if refresh_id <= _MAX_ID else None
    if run is None:
        raise MessageNotFound("There was no such run of “Refresh all statuses”.")
    return run
