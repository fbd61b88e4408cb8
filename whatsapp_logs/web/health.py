"""How the log is: its alarms with what to do, and the test of the callback's way."""

from __future__ import annotations

import threading
from typing import Any

from flask import Blueprint, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.rights import Right
from whatsapp_logs.web import current
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/health"
_RESULT = "whatsapp_logs_self_test"
_PARTS = {
    "name": "Name",
    "connection": "Connection",
    "path": "Path",
    "signature": "Signature",
    "worker": "Worker",
}
# One test at a time in a process: each keeps a thread waiting for a call that needs another one.
_testing = threading.Lock()


def register(blueprint: Blueprint) -> None:
    """Add the routes, and the alarms for the strip on the log's page."""
    blueprint.context_processor(lambda: {"wl_alarms": lambda: current.extension().strip.alarms(current.service())})
    blueprint.add_url_rule(_ROOT, "health", health)
    blueprint.add_url_rule(f"{_ROOT}/callback", "test_callback", test_callback, methods=["POST"])


@requires(Right.REFRESH)
def health() -> str:
    """Alarms, what was measured, and the last test's result."""
    service = current.service()
    readings = service.readings()
    return render_template(
        "whatsapp_logs/health.html",
        alarms=service.alarms(readings),
        readings=readings,
        notice=take_notice(),
        **_tested(session.pop(_RESULT, None)),
    )


@requires(Right.ADMINISTER)
def test_callback() -> str | BaseResponse:
    """Call ourselves back through the public address; up to 20 seconds."""
    by_script = "HX-Request" in request.headers
    if not _testing.acquire(blocking=False):
        if by_script:
            return render_template("whatsapp_logs/_self_test.html", **_tested([["", False, "A test is under way."]]))
        leave_notice("A test is under way. Try again in a moment.", tone="bad")
        return redirect(url_for(".health"), 303)
    try:
        steps = [[step.part, step.is_well, step.words] for step in current.service().test_callback()]
    finally:
        _testing.release()
    if by_script:
        return render_template("whatsapp_logs/_self_test.html", **_tested(steps))
    session[_RESULT] = steps
    return redirect(url_for(".health"), 303)


def _tested(steps: list[list[Any]] | None) -> dict[str, Any]:
    return {"steps": steps, "parts": _PARTS, "may_administer": viewer().may(Right.ADMINISTER)}
