"""Fetching the file of a message, as Twilio does while sending it."""

from __future__ import annotations

from dataclasses import dataclass

import urllib3

from whatsapp_logs.twilio.simulator import rules

FETCH_TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
# Answers that are a page or a message about the file rather than the file.
_NOT_A_FILE = ("text/html", "text/plain", "application/json", "application/xml", "text/xml")

_http = urllib3.PoolManager(num_pools=8, maxsize=8)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The file, or the code Twilio gives for not getting it."""

    content_type: str = ""
    content: bytes = b""
    error_code: int | None = None


def fetch(url: str, *, whatsapp: bool) -> Fetched:
    """Get a file: 63019 not reachable or empty, 12300 no content type, 63021 a type WhatsApp refuses, 11751 too big."""
    try:
        answer = _http.request(
            "GET",
            url,
            headers={"User-Agent": "TwilioMediaFetcher/1.0", "Accept": "*/*"},
            timeout=urllib3.Timeout(total=FETCH_TIMEOUT_S),
            retries=urllib3.Retry(connect=0, read=0, redirect=MAX_REDIRECTS, raise_on_redirect=False),
            preload_content=False,
        )
        try:
            content = answer.read(rules.MAX_MEDIA_BYTES + 1) if answer.status == 200 else b""
        finally:
            answer.close()
    except (urllib3.exceptions.HTTPError, ValueError):
        return Fetched(error_code=63019)
    content_type = (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return Fetched(content_type, content, _error(content_type, content, whatsapp=whatsapp))


def _error(content_type: str, content: bytes, *, whatsapp: bool) -> int | None:
    if not content:
        return 63019
    if not content_type or content_type in _NOT_A_FILE:
        return 12300
    if len(content) > rules.MAX_MEDIA_BYTES:
        return 11751
    if whatsapp and content_type not in rules.WHATSAPP_MEDIA_TYPES:
        return 63021
    return None
