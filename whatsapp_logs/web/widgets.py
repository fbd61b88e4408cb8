from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Add the template words `whatsapp_logs_widget` and `whatsapp_logs_messages`."""
