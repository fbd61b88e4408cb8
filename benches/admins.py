"""The log page beside what an office would otherwise pick for the same rows: Flask-Admin's list, and Django's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from benches import http
from benches.callbacks import as_sqlalchemy
from benches.measure import Line, interleaved
from benches.place import Place


def measure(place: Place) -> Iterator[Line]:
    """Whole answers in this process, each with its own session; the first portal's table has the same messages."""
    with ExitStack() as stack:
        ours = http.signed_in(stack, place.dsn())
        os.environ["SQLALCHEMY_URL"] = as_sqlalchemy(place.dsn())
        from benches.rivals import django_admin_log, flask_admin_log

        flask_admin = flask_admin_log.create_app().test_client()
        django_admin = django_admin_log.configured(place.dsn())
        times = interleaved(
            place.rounds(3),
            ours=lambda: _sure(ours.get("/whatsapp_logs")),
            flask_admin=lambda: _sure(flask_admin.get("/admin/whatsapplog/")),
            django_admin=lambda: _sure(django_admin.get("/admin/rivals/whatsapplog/")),
        )
    for name, said in (("flask_admin", "Flask-Admin"), ("django_admin", "Django admin")):
        ratio = times["ours"] / times[name]
        yield Line(f"log page ÷ {said}'s list of the same table", times["ours"] * 1000, "ms", ratio, "<= 0.05")


def _sure(answer: object) -> None:
    assert getattr(answer, "status_code", None) == 200, answer
