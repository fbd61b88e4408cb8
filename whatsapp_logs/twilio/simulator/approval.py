"""What WhatsApp's reviewers say to a template: a verdict by rule, so that every rejection can be provoked and avoided.

Magic words in the body: `REJECT ME` is rejected whatever else is right; `offer`, `discount` and `promotion` are
advertising, so that a UTILITY template that says one of them becomes MARKETING, or is rejected when the category may
not be changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from whatsapp_logs.twilio.simulator import rules, templates
from whatsapp_logs.twilio.simulator.contents import Content

PENDING_AFTER_S, DECIDED_AFTER_S = 2.0, 8.0  # at pace 1; Twilio and Meta take minutes to two days
MAX_VARIABLES = 100

_REJECTED = re.compile(r"\breject me\b", re.IGNORECASE)
_ADVERTISING = re.compile(r"\b(offers?|discounts?|promotions?)\b", re.IGNORECASE)
_ADJACENT = re.compile(r"\}\}\s*\{\{")
_STARTS_OR_ENDS = re.compile(r"^\s*\{\{|\}\}\s*$")
_WORD = re.compile(r"\w[\w'’-]*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """approved or rejected, the category that counts from now on, and why it was rejected."""

    status: str
    category: str
    reason: str = ""


def review(content: Content) -> Verdict:
    """The verdict on a submitted template; the first rule that is broken is the reason."""
    reason = _broken_rule(content)
    advertising = content.category == "UTILITY" and _ADVERTISING.search(_body(content))
    if not reason and advertising and not content.allow_category_change:
        reason = f"INCORRECT_CATEGORY: a UTILITY template does not advertise ({advertising[0]})"
    if reason:
        return Verdict("rejected", content.category, reason)
    return Verdict("approved", "MARKETING" if advertising else content.category)


def _body(content: Content) -> str:
    return content.as_template().body


def _broken_rule(content: Content) -> str:
    body, everything = _body(content), json.dumps(content.types, ensure_ascii=False)
    used = set(templates.VARIABLE.findall(everything))
    in_body = set(templates.VARIABLE.findall(body))
    words = len(_WORD.findall(templates.VARIABLE.sub(" ", body)))
    numbers = {int(key) for key in used if key.isdecimal()}
    without_sample = sorted(key for key in used if not content.variables.get(key, "").strip())
    media = content.as_template().media or ""
    rules_in_order = (
        (_REJECTED.search(body), "ABUSIVE_CONTENT: the text asks to be rejected"),
        (not body.strip(), "INVALID_FORMAT: the template has no text"),
        (len(body) > rules.MAX_TEMPLATE_CHARACTERS, "INVALID_FORMAT: the text has more than 1024 characters"),
        ("{{" in templates.VARIABLE.sub("", everything), "INVALID_FORMAT: a variable is malformed: its key is 1 to 16 "
         "letters, digits or underscores, without blanks"),
        (len(used) > MAX_VARIABLES, "INVALID_FORMAT: more than 100 variables"),
        (_ADJACENT.search(body), "INVALID_FORMAT: two variables stand side by side without a word between them"),
        (_STARTS_OR_ENDS.search(body), "INVALID_FORMAT: a variable stands first or last in the text"),
        (words < 2 * len(in_body) + 1, f"INVALID_FORMAT: {len(in_body)} variables need at least "
         f"{2 * len(in_body) + 1} fixed words, the text has {words}"),
        (numbers != set(range(1, len(numbers) + 1)), "INVALID_FORMAT: the variables are not numbered 1, 2, 3 … "
         "without a gap"),
        (without_sample, f"INVALID_FORMAT: no sample for {', '.join(f'{{{{{key}}}}}' for key in without_sample)}"),
        (re.search(r"(?<!/)\{\{", media), "INVALID_FORMAT: a variable in the address of a file follows a slash"),
    )  # fmt: skip
    return next((reason for broken, reason in rules_in_order if broken), "")
