"""For whoever watches over the process: is the portal able to answer?"""

from __future__ import annotations

from flask import Blueprint, Response

from portal.access import public
from portal.database import AWAY, database

health = Blueprint("health", __name__)


@health.get("/health")
@public
def show() -> Response:
    """200 `ok` when the database answers, else 503 `database away`."""
    try:
        with database() as conn:
            conn.execute("SELECT 1")
    except AWAY:
        return Response("database away\n", 503, mimetype="text/plain")
    return Response("ok\n", mimetype="text/plain")
