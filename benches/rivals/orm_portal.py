"""A status callback as one would write it: Flask, an ORM session for each request, the signature checked. Served by gunicorn."""

from __future__ import annotations

import gc
import os
from datetime import UTC, datetime

from flask import Flask, Response, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from twilio.request_validator import RequestValidator

from benches.rivals.orm_model import WhatsAppLog


def create_app() -> Flask:
    """The application, on DATABASE_URL."""
    app = Flask(__name__)
    url = os.environ["SQLALCHEMY_URL"]
    engine = create_engine(url, pool_size=10, max_overflow=30)
    validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])
    address = os.environ["PUBLIC_BASE_URL"]

    @app.post("/whatsapp/status_callback")
    def status_callback() -> Response:
        query = request.query_string.decode()
        signed = f"{address}{request.path}" + (f"?{query}" if query else "")
        if not validator.validate(signed, request.form, request.headers.get("X-Twilio-Signature", "")):
            return Response(status=403)
        with Session(engine) as session:
            row = session.scalars(
                select(WhatsAppLog).where(WhatsAppLog.message_sid == request.form["MessageSid"])
            ).one()
            row.status = request.form["MessageStatus"]
            row.error_code = request.form.get("ErrorCode")
            if row.status == "delivered":
                row.delivered_at = datetime.now(UTC).replace(tzinfo=None)
            elif row.status == "read":
                row.read_at = datetime.now(UTC).replace(tzinfo=None)
            session.commit()
        return Response(status=204)

    return app


app = create_app()
gc.collect()
gc.freeze()  # as our portal does, portal/wsgi.py
