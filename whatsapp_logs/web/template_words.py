"""What is said of templates: where a version stands, why it cannot be sent with, what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from whatsapp_logs.catalogue import Version
from whatsapp_logs.web.format import StatusWords

CATEGORIES = {"UTILITY": "Service", "MARKETING": "Advertising", "AUTHENTICATION": "Sign-in codes"}
IN_FULL = {"UTILITY": "Service: about the customer’s own policies", "MARKETING": "Advertising: everything else"}
LANGUAGES = {
    "en_GB": "English (UK)", "en_US": "English (US)", "en": "English", "ar": "Arabic", "bn": "Bengali",
    "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "es": "Spanish", "fi": "Finnish", "fr": "French",
    "gu": "Gujarati", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ml": "Malayalam", "mr": "Marathi",
    "nl": "Dutch", "pa": "Punjabi", "pl": "Polish", "pt_PT": "Portuguese (PT)", "pt_BR": "Portuguese (BR)",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "ta": "Tamil", "te": "Telugu", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "zh_CN": "Chinese (simplified)",
}  # fmt: skip
_APPROVALS: Mapping[str, tuple[str, str, str]] = {  # icon, word, tone
    "draft": ("file", "Draft", "quiet"),
    "unsubmitted": ("file", "Not submitted", "quiet"),
    "received": ("clock", "Waiting for approval", "quiet"),
    "pending": ("clock", "Waiting for approval", "quiet"),
    "approved": ("tick", "Approved", "ok"),
    "rejected": ("alert", "Rejected", "bad"),
    "paused": ("stop", "Paused", "warn"),
    "disabled": ("stop", "Disabled for good", "bad"),
    "deleted": ("close", "Deleted at Twilio", "bad"),
}
_CURES: Mapping[str, str] = {  # the word in WhatsApp's reason → what to change
    "INVALID_FORMAT": "Put right what the reason names.",
    "TAG_CONTENT_MISMATCH": "Text and category, or text and language, do not match: choose the other one.",
    "INCORRECT_CATEGORY": "Choose the category Advertising, or leave the advertising out.",
    "PROMOTIONAL": "Choose the category Advertising, or leave the advertising out.",
    "ABUSIVE_CONTENT": "Write it in other words: WhatsApp took it for a threat, a trick or an insult.",
    "SCAM": "Write it in other words, and name the office: WhatsApp took it for a trick.",
    "": "Change the text so that the reason holds no longer.",
}
_DECIDING = "WhatsApp decides, usually within minutes, at most two days. Twilio is asked every three minutes."
_ADVICE: Mapping[str, str] = {
    "draft": "Nobody can send with it yet. Submit it, and WhatsApp decides: usually within minutes, at most two days.",
    "unsubmitted": "Twilio has it, WhatsApp has not been asked. While a customer’s window is open it can be sent; for any other "
    "time, submit it.",
    "received": _DECIDING,
    "pending": _DECIDING,
    "paused": "Too many customers blocked or reported messages with it. WhatsApp lifts the pause by itself, but pauses longer "
    "each time, and in the end for good: send it to fewer people, "
    "or write the next version in other words. Until then use another template.",
    "disabled": "Too many customers blocked or reported messages with it, and it never comes back. Write the next version in other "
    "words, and send it to fewer people.",
    "deleted": "Somebody deleted it at Twilio. Messages that were sent with it stay as they are. To have it back, write the next "
    "version and submit that.",
}


def approval(word: str) -> StatusWords:
    """Where a version stands; a word that is not known is shown as Twilio says it."""
    icon, label, tone = _APPROVALS.get(word, ("question", word.replace("_", " ").capitalize(), "warn"))
    return StatusWords(icon, label, "", tone)


def happened(word: str) -> StatusWords:
    """What WhatsApp, or somebody here, did: as `approval`, but being handed over is not the same as being looked at."""
    return StatusWords("arrow", "Submitted", "", "quiet") if word == "received" else approval(word)


def category(word: str) -> str:
    """WhatsApp's category in the office's words."""
    return CATEGORIES.get(word, word.capitalize())


def language(code: str) -> str:
    """The language's name; its code where it has none here."""
    return LANGUAGES.get(code, code)


def advice(version: Version) -> str:
    """What it means that the version is not approved, and what to do; nothing for one that is."""
    if version.approval != "rejected":
        return _ADVICE.get(version.approval, "")
    reason = (version.rejection_reason or "").upper()
    cure = next(words for begin, words in _CURES.items() if begin in reason)
    return f"{cure} Then write that as the next version and submit it: it gets a name that is not blocked."
