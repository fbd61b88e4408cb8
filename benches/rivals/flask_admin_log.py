"""The first portal's table in Flask-Admin, as its manual shows: columns, a search by phone, filters by status and type."""

from __future__ import annotations

import os

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from benches.rivals.orm_model import WhatsAppLog


class LogView(ModelView):  # type: ignore[misc]
    """The list of messages."""

    column_list = ("sent_at", "phone_number", "message_type", "status", "policy_id", "message_content", "error_message")
    column_searchable_list = ("phone_number",)
    column_filters = ("status", "message_type", "sent_at")
    column_default_sort = ("sent_at", True)
    page_size = 50


def create_app() -> Flask:
    """The application; its list is at /admin/whatsapplog/."""
    app = Flask(__name__)
    app.secret_key = "only for the bench"
    session = scoped_session(sessionmaker(create_engine(os.environ["SQLALCHEMY_URL"])))
    app.teardown_request(lambda _error: session.remove())
    Admin(app).add_view(LogView(WhatsAppLog, session, endpoint="whatsapplog"))
    return app
