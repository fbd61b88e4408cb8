"""WhatsApp Logs: a record of every WhatsApp message an insurance portal sends, from queued to read.

Names are looked up on first use, so that a script that only sends does not load the web pages.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whatsapp_logs.config import Config as Config
    from whatsapp_logs.filters import Addressee as Addressee
    from whatsapp_logs.filters import Audience as Audience
    from whatsapp_logs.filters import AudienceField as AudienceField
    from whatsapp_logs.filters import Found as Found
    from whatsapp_logs.filters import MessageFilter as MessageFilter
    from whatsapp_logs.message import Draft as Draft
    from whatsapp_logs.message import MediaFile as MediaFile
    from whatsapp_logs.message import Message as Message
    from whatsapp_logs.message import Path as Path
    from whatsapp_logs.message import Source as Source
    from whatsapp_logs.message import Status as Status
    from whatsapp_logs.message import StatusReport as StatusReport
    from whatsapp_logs.message import Template as Template
    from whatsapp_logs.records import PolicyFacts as PolicyFacts
    from whatsapp_logs.records import Records as Records
    from whatsapp_logs.rights import ROLES as ROLES
    from whatsapp_logs.rights import Right as Right
    from whatsapp_logs.rights import Viewer as Viewer
    from whatsapp_logs.service import WhatsAppService as WhatsAppService
    from whatsapp_logs.web import WhatsAppLogs as WhatsAppLogs

_HOMES = {
    "Addressee": "filters",
    "Audience": "filters",
    "AudienceField": "filters",
    "Config": "config",
    "Draft": "message",
    "Found": "filters",
    "MediaFile": "message",
    "Message": "message",
    "MessageFilter": "filters",
    "Path": "message",
    "PolicyFacts": "records",
    "ROLES": "rights",
    "Records": "records",
    "Right": "rights",
    "Source": "message",
    "Status": "message",
    "StatusReport": "message",
    "Template": "message",
    "Viewer": "rights",
    "WhatsAppLogs": "web",
    "WhatsAppService": "service",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
