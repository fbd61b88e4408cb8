"""A customer's file, fetched from Twilio: with our login from Twilio alone, and never more of it than we want."""

from __future__ import annotations

import time
from urllib.parse import urljoin, urlsplit

import requests

from whatsapp_logs.config import Config
from whatsapp_logs.errors import ProviderAway, Refused

_TWILIOS = (".twilio.com", ".twiliocdn.com")
_PIECE = 64 * 1024
_AT_MOST_S = 60
_LED_AWAY = "Twilio's address led to a stranger's, so it was not opened."
_GONE = (404, 410)


def fetch(config: Config, url: str, *, max_bytes: int) -> bytes:
    """The file's bytes. Raises Refused (it is gone, too large, or not Twilio's address) or ProviderAway (try again later).

    With protection on, Twilio's address leads once to a signed one that needs no login: the login is not sent there.
    """
    base = _origin(config.twilio_api_base_url)
    path = f"/2010-04-01/Accounts/{config.twilio_account_sid}/"
    if _origin(url) != base or not urlsplit(url).path.startswith(path) or ".." in url:
        raise Refused("The file's address is not Twilio's, so it was not opened.", code="foreign_address")
    login = (config.twilio_account_sid, config.twilio_auth_token)
    try:
        with requests.Session() as session:
            session.trust_env = False  # no login of a .netrc, no proxy that only browsers should use
            answer = session.get(url, auth=login, timeout=config.provider_timeout_s, allow_redirects=False, stream=True)
            if answer.is_redirect:
                target = urljoin(url, answer.headers.get("Location", ""))
                if not _is_twilios(target, base):
                    raise Refused(_LED_AWAY, code="foreign_address")
                answer.close()
                answer = session.get(target, timeout=config.provider_timeout_s, allow_redirects=False, stream=True)
            with answer:
                return _content(answer, max_bytes=max_bytes)
    except requests.RequestException as error:
        raise ProviderAway("Twilio cannot be reached. The file is fetched as soon as it can be.") from error
    except ValueError as error:  # a redirect to what is no address
        raise Refused(_LED_AWAY, code="foreign_address") from error


def _content(answer: requests.Response, *, max_bytes: int) -> bytes:
    if answer.status_code in _GONE:
        raise Refused("The file is not at Twilio any more. Ask the customer to send it again.", code="gone")
    if answer.status_code != 200:
        raise ProviderAway(f"Twilio does not give the file out (HTTP {answer.status_code}). It is tried again.")
    content, until = bytearray(), time.monotonic() + _AT_MOST_S
    for piece in answer.iter_content(_PIECE):
        content += piece
        if len(content) > max_bytes:
            text = f"The file is larger than {max_bytes // (1024 * 1024)} MB. Ask the customer for a smaller one."
            raise Refused(text, code="too_large")
        if time.monotonic() > until:
            raise ProviderAway("Twilio sends the file too slowly. It is tried again.")
    if not content:
        raise Refused("The file is empty. Ask the customer to send it again.", code="empty")
    return bytes(content)


def _is_twilios(url: str, base: tuple[str, str, int | None]) -> bool:
    scheme, host, port = _origin(url)
    return (scheme, host, port) == base or (scheme == "https" and port in (None, 443) and host.endswith(_TWILIOS))


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", "", None
