"""Who is calling back? X-Twilio-Signature, checked by Twilio's own library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from twilio.request_validator import (
    HMAC_SHA1,
    HMAC_SHA256,
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    compare,
    get_signature_algorithm,
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What Twilio may have signed with; an empty one proves nothing. Two auth tokens are good while one replaces the other."""

    auth_tokens: tuple[str, ...]
    webhook_keys: tuple[str, ...] = ()


class Form(dict[str, list[str]]):
    """The parameters of a form: every value of every name, blank ones too."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        for name, value in pairs:
            self.setdefault(name, []).append(value)

    def getall(self, name: str) -> list[str]:
        """All values of a name; Twilio's library asks in this word first."""
        return self.get(name, [])

    def first(self, *names: str) -> str:
        """The first value that is not blank, of the first name that has one; otherwise nothing."""
        return next((value for name in names for value in self.getall(name) if value.strip()), "")


def is_signed(form: Form, header: Callable[[str], str | None], *, url: str, secrets: Secrets) -> bool:
    """Whether Twilio posted this form to `url`; `header` tells a header of the call by its name.

    `url` is the address as Twilio was given it, without fragment. An HMAC over it and every parameter, sorted by name: SHA-1 with
    the account's auth token, or, where the call says so, SHA-256 with the secret of a webhook key:
    https://www.twilio.com/docs/usage/security (2026). It proves origin, not freshness: a replay must be harmless.
    """
    signature, algorithm = header(SIGNATURE_HEADER) or "", get_signature_algorithm(header(SIGNATURE_SETTINGS_HEADER))
    known = secrets.webhook_keys if algorithm == HMAC_SHA256 else secrets.auth_tokens if algorithm == HMAC_SHA1 else ()
    return bool(signature) and any(_fits(form, signature, url, secret, algorithm) for secret in known if secret)


def _fits(form: Form, signature: str, url: str, secret: str, algorithm: str) -> bool:
    validator = RequestValidator(secret)
    # Nearly every call is signed for the address just as it was given; only for others the forms with and without a port are tried.
    if compare(validator.compute_signature(url, form, algorithm), signature):
        return True
    return bool(validator.validate(url, form, signature, algorithm))


def sign(form: Mapping[str, str], *, url: str, auth_token: str) -> str:
    """The signature that Twilio would put on this form; only our own test of the callback's way signs anything."""
    return str(RequestValidator(auth_token).compute_signature(url, form))
