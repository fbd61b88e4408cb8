"""The addresses that a provider calls: our own id in the callback, one expiring link per document."""

from __future__ import annotations

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput

STATUS_CALLBACK_PATH = "/whatsapp/status_callback"
INBOUND_PATH = "/whatsapp/inbound"
MEDIA_PATH = "/whatsapp/media"
# Twilio reads the fragment and never sends it: up to 5 repeats on every kind of failure (its default is one, on failed connects).
_RETRIES = "rc=5&rp=all"
_SELF_TEST = "selftest-"


def status_callback(config: Config, message_id: int) -> str:
    """Where the provider reports message `message_id`; the signature covers the id, the fragment asks for retries."""
    return f"{config.public_base_url}{STATUS_CALLBACK_PATH}?message={message_id}#{_RETRIES}"


def self_test_callback(config: Config, nonce: str) -> str:
    """Where we report to ourselves: the callback's own address, with a name in the place of a message."""
    return f"{config.public_base_url}{STATUS_CALLBACK_PATH}?message={_SELF_TEST}{nonce}"


def self_test_nonce(message: str) -> str | None:
    """The nonce of a self-test in the place of a message's id; None for everything else."""
    return message.removeprefix(_SELF_TEST) if message.startswith(_SELF_TEST) else None


def media_url(config: Config, media_id: str) -> str:
    """A link that opens this one document until `media_link_max_age_s` has passed."""
    return f"{config.public_base_url}{MEDIA_PATH}/{_serializer(config).dumps(media_id)}"


def media_path(config: Config, media_id: str) -> str:
    """The same link's part below the public base URL and a slash: what a template's media placeholder takes."""
    return media_url(config, media_id).removeprefix(config.public_base_url + "/")


def read_media_token(config: Config, token: str) -> str:
    """The document's id; raises InvalidInput for a link that is expired, altered or not ours."""
    try:
        return str(_serializer(config).loads(token, max_age=config.media_link_max_age_s))
    except SignatureExpired as error:
        raise InvalidInput("token", "This link has expired.") from error
    except BadSignature as error:
        raise InvalidInput("token", "This link is not valid.") from error


def _serializer(config: Config) -> URLSafeTimedSerializer:
    keys = [
        key for key in (config.previous_secret_key, config.secret_key) if key
    ]  # the last one signs, all are believed
    return URLSafeTimedSerializer(keys, salt="whatsapp_logs.media")
