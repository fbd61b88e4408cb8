"""Who is calling back? X-Twilio-Signature, checked by Twilio's own library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twilio.request_validator import RequestValidator, compare


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


def is_signed(form: Form, signature: str, *, url: str, auth_token: str) -> bool:
    """Whether Twilio, knowing `auth_token`, posted this form to `url`; without a token nobody can prove anything.

    `url` is the address as Twilio was given it, without fragment. HMAC-SHA1 over it and every parameter, sorted by name:
    https://www.twilio.com/docs/usage/security (2026). It proves origin, not freshness: a replay must be harmless.
    """
    if not auth_token or not signature:
        return False
    validator = RequestValidator(auth_token)
    # Nearly every call is signed for the address just as it was given; only for others the forms with and without a port are tried.
    if compare(validator.compute_signature(url, form), signature):
        return True
    return bool(validator.validate(url, form, signature))


def sign(form: Mapping[str, str], *, url: str, auth_token: str) -> str:
    """The signature that Twilio would put on this form; only our own test of the callback's way signs anything."""
    return str(RequestValidator(auth_token).compute_signature(url, form))
