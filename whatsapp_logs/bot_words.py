"""What the bot understands, and what it says. Nothing here decides anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from whatsapp_logs.records import PolicyFacts

MOST_LISTED = 9  # policies of one list: each has one digit

_WORDS = """
    menu: hi hello hey hiya start menu back home morning afternoon evening restart begin again greetings
    documents: document documents pdf schedule certificate papers paperwork
    renewals: renewal renewals renew expiry expire expires expiration due until
    policies: policy policies cover insurance
    person: person human agent staff somebody someone colleague adviser advisor operator representative talk speak call
    person: phone complaint complain claim accident emergency
    help: help info information
    thanks: thanks thank thx ok okay cheers great bye goodbye 👍 🙏
"""
_MEANING = {
    word: name
    for line in _WORDS.split("\n")
    for name, _, listed in [line.strip().partition(":")]
    for word in listed.split()
}
# Asked in this order: "talk to a person about my policy document" is for a person, "my policy document" for the document.
_ORDER = ("person", "documents", "renewals", "policies", "help", "thanks", "menu")
_MOST_WORDS = 12  # different ones; a longer text is a letter, and no command


def meant(text: str) -> str | None:
    """What a text asks for: a digit, or menu, policies, documents, renewals, person, help, thanks; None for anything else."""
    plain = unicodedata.normalize("NFKC", text).strip().strip("*.)# \ufe0f\u20e3")
    if len(plain) == 1 and plain in "0123456789":
        return plain
    words = re.findall(r"[^\W_]+|[👍🙏]", plain.casefold())
    if not words or len(set(words)) > _MOST_WORDS:
        return None
    if words[0].startswith("thank") and "?" not in plain and "person" not in map(_MEANING.get, words):
        return "thanks"  # "thank you, the document has arrived" asks for none
    found = {_MEANING.get(word) for word in words}
    return next((name for name in _ORDER if name in found), None)


def menu(office: str) -> str:
    """The beginning."""
    return (
        f"This is the assistant of {office}. What can we do for you?\n\n"
        "*1* My policies\n*2* A policy document\n*3* Renewal dates\n*4* Talk to a person\n\nAnswer with a number."
    )


def policy_list(found: Sequence[PolicyFacts], *, question: str) -> str:
    """The policies, numbered."""
    lines = [f"*{n}* {_named(policy)}" for n, policy in enumerate(found[:MOST_LISTED], 1)]
    more = f"\n… and {len(found) - MOST_LISTED} more: a colleague can tell you." if len(found) > MOST_LISTED else ""
    return "\n".join(lines) + f"{more}\n\n{question} *0* leads back to the beginning."


def renewal_dates(found: Sequence[PolicyFacts]) -> str:
    """Until when each policy covers."""
    lines = [f"• {_named(policy)}: {_until(policy)}" for policy in found[:MOST_LISTED]]
    return "\n".join(lines) + "\n\n*4* A colleague who renews it with you\n*0* Beginning"


def one_policy(policy: PolicyFacts) -> str:
    """What can be done with a policy."""
    return (
        f"{_named(policy)}\n{_until(policy)[0].upper()}{_until(policy)[1:]}.\n\n"
        "*1* Send me its document\n*2* My other policies\n*4* Talk to a person\n*0* Beginning"
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to press: the number that could be typed instead, and what a button or a list's line says."""

    number: str
    title: str
    description: str


def listed(found: Sequence[PolicyFacts]) -> tuple[Choice, ...]:
    """The policies of `policy_list`, to be pressed."""
    shown = enumerate(found[:MOST_LISTED], 1)
    return (*(Choice(str(n), one.number, f"{one.label}, {_until(one)}") for n, one in shown), _BEGINNING)


def day(moment: date) -> str:
    """ "24 March 2027"."""
    return f"{moment.day} {moment:%B %Y}"


def _named(policy: PolicyFacts) -> str:
    return f"{policy.label}, {policy.number}" + (f" ({policy.standing})" if policy.standing else "")


def _until(policy: PolicyFacts) -> str:
    return f"covered until {day(policy.ends_on)}" if not policy.standing else f"ended or ends on {day(policy.ends_on)}"


_BEGINNING = Choice("0", "Beginning", "Back to the first questions")
_PERSON = Choice("4", "Talk to a person", "A colleague answers you here")
MENU = (
    Choice("1", "My policies", "What they are, and until when they cover"),
    Choice("2", "A policy document", "Sent to you here"),
    Choice("3", "Renewal dates", "Until when each policy covers"),
    _PERSON,
)
ONE_POLICY = (
    Choice("1", "Send its document", "Sent to you here"),
    Choice("2", "My other policies", "The list"),
    _PERSON,
)
AFTER_DATES = (_PERSON, _BEGINNING)
YES_OR_NO = (
    Choice("1", "Yes, please", "A colleague answers you here"),
    Choice("0", "No, to the beginning", "The first questions"),
)
ASK_NUMBER = (
    "Before we show anything personal we make sure that it is you. "
    "What is your policy number? It stands at the top of every letter about it. *0* leads back to the beginning."
)
ASK_DETAIL = "Thank you. And your date of birth, like 24 March 1980? For a business: the postcode that we have on file."
# One sentence for whatever did not match: it must not tell which of the details was right.
NO_MATCH = "That does not match what we have."
TRY_AGAIN = f"{NO_MATCH} Please begin again: what is your policy number? *4* calls a person."
LOCKED = (
    f"{NO_MATCH} For your safety we show nothing here until tomorrow. A colleague has been told and will write to you."
)
STILL_LOCKED = "For your safety we show nothing here just now. A colleague has been told and will write to you."
NO_NUMBER = "A policy number has digits in it. It stands at the top of every letter about it. *4* calls a person."
NO_POLICIES = "We have found no policy that we could show here. A colleague looks it up and writes to you."
NO_DOCUMENT = "This document cannot be sent from here. A colleague sends it to you."
HERE_IT_IS = "Here is your document {number}. Please keep it in a safe place."
OLD_MENU = "That belongs to an earlier list. This is the one that counts now:"
NOT_UNDERSTOOD = "I have not understood that."
OFFER = (
    "I still do not understand, I am only a programme. Shall a colleague answer you?\n\n"
    "*1* Yes, please\n*0* No, back to the beginning"
)
THANKS = "You are welcome. Write *menu* whenever you need something."
HELP = (
    "This is the assistant of {office}. Write *menu* for your policies and documents, *person* for a colleague, "
    "and STOP if you want no messages any more."
)
WELCOME_BACK = "Messages to you are on again."
PERSON_NOW = "A colleague has been told and will answer you here."
PERSON_LATER = "A colleague has been told. Our office is open {hours}; you will be answered then, here."
FILE = "Thank you, your file has arrived. A colleague looks at it and answers you here."
LOCATION = "Thank you, we have your location. A colleague answers you here. In an emergency please call the number on your policy."
STICKER = "Thank you! I cannot read stickers, but a colleague looks in."
REASONS = {
    "asked": "asked for a person",
    "locked": "could not prove who they are",
    "file": "sent a file",
    "location": "sent a location",
    "sticker": "sent a sticker",
    "no_policies": "has no policy that the bot can show",
    "no_document": "wants a document that the bot cannot send",
    "not_understood": "was not understood",
    "too_fast": "writes faster than people do, perhaps a robot",
    "error": "the bot failed",
    "too_old": "wrote while nobody could answer",
    "stopped": "wrote after asking us to stop: nothing can be sent, call them",
    "no_bot": "wrote",
    "letter": "wrote something long",
}
