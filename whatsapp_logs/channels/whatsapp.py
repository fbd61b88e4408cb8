"""What WhatsApp takes: Twilio's documentation of WhatsApp media and limits (2026)."""

from __future__ import annotations

from whatsapp_logs.message import Draft

MAX_TEXT = 1600
MEDIA_TYPES = frozenset(
    {
        "application/pdf",
        "application/msword",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/ogg",
        "audio/amr",
        "audio/3gpp",
        "audio/aac",
        "audio/mpeg",
        "video/mp4",
        "text/vcard",
    }
)


def problem_of(draft: Draft, *, max_media_bytes: int) -> tuple[str, str] | None:
    """The code and sentence that say why WhatsApp cannot carry this draft; None when it can."""
    if not (draft.body or draft.media or draft.media_url or draft.template):
        return "nothing_to_send", "The message has no text, file or template."
    if draft.template is None and draft.body and len(draft.body) > MAX_TEXT:
        return "text_too_long", f"The text has {len(draft.body)} characters; WhatsApp through Twilio takes {MAX_TEXT}."
    if draft.media is None:
        return None
    if len(draft.media.content) > max_media_bytes:
        return "media_too_large", f"The file is larger than {max_media_bytes // 1024 // 1024} MB."
    if draft.media.content_type not in MEDIA_TYPES:
        return "media_type", f"WhatsApp does not take files of the type {draft.media.content_type[:60]}."
    return None
