"""The errors of the log. Each one's text is written for the person who can do something about it."""

from __future__ import annotations

from collections.abc import Sequence


class WhatsAppLogsError(Exception):
    """Anything the log reports on purpose; everything else is a defect."""


class ConfigError(WhatsAppLogsError):
    """The configuration cannot work. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The configuration cannot work:\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class InvalidInput(WhatsAppLogsError):
    """A value that somebody gave cannot be used. `field` names it as the caller called it."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(reason)


class InvalidPhone(InvalidInput):
    """The text is not a telephone number that a message could be sent to."""

    def __init__(self, text: str, reason: str | None = None, *, field: str = "phone") -> None:
        self.text = text
        super().__init__(
            field, reason or "This is not a phone number. Write it with its country code, like +44 7700 900123."
        )


class NotAllowed(WhatsAppLogsError):
    """The person is known, but has not been given this right."""


class AlreadyAnswered(WhatsAppLogsError):
    """A colleague was quicker; whoever has read their answer may send one more."""


class MessageNotFound(WhatsAppLogsError):
    """No message of that id is in the log."""

    def __init__(self, text: str = "This message is not in the log.") -> None:
        super().__init__(text)


class Unavailable(WhatsAppLogsError):
    """A part that is needed is away; the same request may work later."""


class DatabaseAway(Unavailable):
    """The database does not answer."""

    def __init__(self, text: str = "The database cannot be reached. Nothing is lost; try again in a moment.") -> None:
        super().__init__(text)


class Busy(Unavailable):
    """As many of these as the process does at a time are under way."""

    def __init__(self, text: str = "An export is under way. Try again in a moment.") -> None:
        super().__init__(text)


class LoggingFailed(Unavailable):
    """A message that was sent could not be written down."""

    def __init__(self, text: str = "Failed to log WhatsApp message") -> None:
        super().__init__(text)


class ProviderNotConfigured(Unavailable):
    """There are no credentials, so the provider cannot be asked."""

    def __init__(self, text: str = "Twilio client not configured") -> None:
        super().__init__(text)


class ServiceNotAvailable(Unavailable):
    """The portal has no running WhatsAppService."""

    def __init__(self, text: str = "WhatsApp service not available") -> None:
        super().__init__(text)


class SchemaMismatch(WhatsAppLogsError):
    """The tables are older or newer than this program."""


# --- what a provider may answer; raised by gateways only ------------------------------------------------------------


class ProviderError(WhatsAppLogsError):
    """A provider did not do what was asked. `code` is the provider's own number as text, if it gave one."""

    def __init__(self, text: str, *, code: str | None = None) -> None:
        self.code = code
        super().__init__(text)


class Refused(ProviderError):
    """The provider said no, for good: the message does not exist there and repeating changes nothing."""


class NotSent(ProviderError):
    """Proof that nothing was sent (429, connection refused): it is safe to try again after `retry_after_s`."""

    def __init__(self, text: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text, code=code)


class Unconfirmed(ProviderError):
    """The answer was lost (time-out, 5xx, cut connection): the message may exist, so it must be looked up first."""


class ProviderAway(ProviderError, Unavailable):
    """The provider cannot be asked just now (network, 5xx, 429 on a read)."""


class UnknownToProvider(ProviderError):
    """The provider has no message of that id (Twilio 20404)."""
