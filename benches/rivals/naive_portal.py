"""A status callback without an ORM: SELECT, UPDATE, COMMIT for each request; and a route that does nothing, for comparison."""

from __future__ import annotations

import gc
import os

from flask import Flask, Response, request
from psycopg_pool import ConnectionPool
from twilio.request_validator import RequestValidator


def create_app() -> Flask:
    """The application, on DATABASE_URL."""
    app = Flask(__name__)
    pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=40, open=True)
    validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])
    address = os.environ["PUBLIC_BASE_URL"]

    @app.post("/hello")
    def hello() -> Response:
        return Response(status=204)

    @app.post("/whatsapp/status_callback")
    def status_callback() -> Response:
        query = request.query_string.decode()
        signed = f"{address}{request.path}" + (f"?{query}" if query else "")
        if not validator.validate(signed, request.form, request.headers.get("X-Twilio-Signature", "")):
            return Response(status=403)
        sid, status = request.form["MessageSid"], request.form["MessageStatus"]
        with pool.connection() as conn:
            row = conn.execute(
                "SELECT log_id, status FROM first_portal.whatsapp_logs WHERE message_sid = %s", [sid]
            ).fetchone()
            if row is None:
                return Response(status=404)
            column = {"delivered": "delivered_at", "read": "read_at"}.get(status, "sent_at")
            conn.execute(
                f"UPDATE first_portal.whatsapp_logs SET status = %s, {column} = now() WHERE log_id = %s".encode(),
                [status, row[0]],
            )
        return Response(status=204)

    return app


app = create_app()
gc.collect()
gc.freeze()  # as our portal does, portal/wsgi.py
