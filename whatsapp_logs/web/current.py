"""The log of the application that answers this request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from whatsapp_logs.service import WhatsAppService
    from whatsapp_logs.web import WhatsAppLogs


def extension() -> WhatsAppLogs:
    """The log as this application embeds it."""
    return cast("WhatsAppLogs", current_app.extensions["whatsapp_logs"])


def service() -> WhatsAppService:
    """The service that all requests of this process share."""
    return extension().service
