"""The log in the smallest portal there is: what is measured is the log, and Flask."""

from __future__ import annotations

import gc

from flask import Flask

from whatsapp_logs import WhatsAppLogs, WhatsAppService


def create_app() -> Flask:
    """The application, with the settings of the environment."""
    app = Flask(__name__)
    app.secret_key = "only for the bench"
    WhatsAppLogs(WhatsAppService.from_env()).init_app(app, current_user=lambda: None)
    return app


app = create_app()
gc.collect()
gc.freeze()  # as our portal does, portal/wsgi.py
