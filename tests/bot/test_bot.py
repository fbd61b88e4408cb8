"""What the bot makes of one message after another, without a database: words in, words out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.bot.office import ASHA, BRUNO, NOBODY, Office, policy
from whatsapp_logs import bot, bot_words
from whatsapp_logs.bot import Heard, Manners, Memory, Reply

MORNING = datetime(2026, 11, 25, 9, tzinfo=UTC)


class Talk:
    """A conversation, one message a second; what is remembered goes through JSON each time, as it does in the database."""

    def __init__(self, office: Office, address: str = ASHA, *, manners: Manners | None = None) -> None:
        self.office, self.address, self.now = office, address, MORNING
        self.manners = manners or Manners(answers_per_minute=1000)
        self.memory, self.last, self.n = Memory(), Reply(memory=Memory()), 0

    def say(self, text: str = "", **more: object) -> str:
        """Everything that is answered, as one text; a document as its name in brackets."""
        self.n += 1
        self.now += timedelta(seconds=1)
        heard = Heard(id=self.n, at=self.now, address=self.address, text=text, **more)  # type: ignore[arg-type]
        self.last = bot.reply(heard, self.memory, self.office, manners=self.manners, now=self.now)
        self.memory = Memory.from_json(json.loads(json.dumps(self.last.memory.as_json())))
        assert self.memory == self.last.memory
        return "\n".join(one.text or f"[{one.file.filename if one.file else ''}]" for one in self.last.answers)

    def identify(self, number: str = "MOT-26-001", detail: str = "24 March 1980") -> str:
        self.say(number)
        return self.say(detail)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def talk(office: Office) -> Talk:
    return Talk(office)


def test_from_hi_to_the_document(talk: Talk, office: Office) -> None:
    assert "*1* My policies" in talk.say("Hi")
    assert talk.say("1") == bot_words.ASK_NUMBER
    assert talk.say("MOT-26-001") == bot_words.ASK_DETAIL
    listed = talk.say("24 March 1980")
    assert "*1* Motor insurance, MOT-26-001" in listed
    assert "*2* Home insurance, HOM-26-002" in listed
    assert "Covered until 24 March 2027" in talk.say("2")
    assert talk.say("1").endswith("[12.pdf]")
    assert office.given_out == [("1", "12")]
    assert talk.last.answers[1].policy_id == "12"


@pytest.mark.parametrize("words", ["renewal", "When does it expire?", "3"])
def test_renewal_dates_are_told_after_the_identity_step_only(talk: Talk, words: str) -> None:
    assert "2027" not in talk.say(words)
    told = talk.identify()
    assert "MOT-26-001: covered until 24 March 2027" in told
    assert "HOM-26-002" in told


def test_one_policy_needs_no_choosing(office: Office) -> None:
    talk = Talk(office, BRUNO)
    talk.say("please send me my document")
    assert talk.identify("TRV-26-003", "BS1 0AA").endswith("[21.pdf]")


@pytest.mark.parametrize(
    ("number", "detail"),
    [("MOT-26-001", "1 January 1990"), ("MOT-99-999", "24 March 1980"), ("TRV-26-003", "BS1 0AA"), ("TRV-26-003", "x")],
)
def test_whatever_does_not_match_is_told_in_the_same_words(talk: Talk, number: str, detail: str) -> None:
    talk.say("1")
    assert talk.identify(number, detail) == bot_words.TRY_AGAIN


def test_a_number_on_file_alone_opens_nothing(talk: Talk, office: Office) -> None:
    for words in ("policies", "document", "renewals", "1", "2", "3"):
        talk.say("menu")
        said = talk.say(words)
        assert "MOT" not in said
        assert "2027" not in said
    assert not office.given_out


def test_an_unknown_number_gets_nothing_even_with_the_right_details(office: Office) -> None:
    talk = Talk(office, NOBODY)
    talk.say("1")
    assert talk.identify() == bot_words.TRY_AGAIN


def test_three_failures_lock_for_a_day_and_call_a_person(talk: Talk, office: Office) -> None:
    talk.say("2")
    for _ in range(2):
        assert talk.identify(detail="wrong") == bot_words.TRY_AGAIN
    assert talk.identify(detail="wrong") == bot_words.LOCKED
    assert talk.last.reason == "locked"
    asked = office.asked
    for words in ("1", "MOT-26-001", "24 March 1980", "document"):
        talk.say(words)
    assert office.asked == asked, "nothing is compared any more"
    assert not office.given_out
    talk.now += timedelta(hours=25)
    talk.say("1")
    assert "MOT-26-001" in talk.identify()


def test_failures_count_through_the_menu_and_through_stop(talk: Talk) -> None:
    talk.say("1")
    talk.identify(detail="wrong")
    talk.say("menu")
    talk.say("1")
    talk.identify(detail="wrong")
    talk.say("STOP", consent="opt_out")
    talk.say("START", consent="opt_in")
    talk.say("1")
    assert talk.identify(detail="wrong") == bot_words.LOCKED


def test_identity_ends_after_half_an_hour_of_silence(talk: Talk, office: Office) -> None:
    talk.say("1")
    talk.identify()
    for _ in range(4):
        talk.now += timedelta(minutes=20)
        assert "MOT-26-001" in talk.say("policies"), "whoever goes on talking stays known"
    talk.now += timedelta(minutes=31)
    assert talk.say("1") == bot_words.ASK_NUMBER, "the list that the number belonged to is no answer to anybody now"
    assert not office.given_out


def test_identity_ends_when_the_number_on_file_changes(talk: Talk, office: Office) -> None:
    talk.say("2")
    talk.identify()
    office.numbers = {BRUNO: "2"}
    talk.say("1")
    assert not office.given_out
    assert talk.say("document") == bot_words.NO_POLICIES
    assert talk.last.reason == "no_policies"


def test_an_answer_to_an_old_list_gets_the_one_that_counts(talk: Talk, office: Office) -> None:
    talk.say("2")
    talk.identify()
    old = talk.memory.menu
    talk.say("policies")
    assert talk.memory.menu != old
    said = talk.say(choice="1", quoted_menu=old)
    assert said.startswith(bot_words.OLD_MENU)
    assert "*1* Motor" in said
    assert talk.say("1", quoted_menu=old).startswith(bot_words.OLD_MENU)
    assert not office.given_out
    assert "Covered until" in talk.say(choice="2", quoted_menu=talk.memory.menu)


def test_a_policy_number_sent_as_a_reply_to_our_question_is_no_old_list(talk: Talk) -> None:
    talk.say("1")
    assert talk.say("MOT-26-001", quoted_menu="m1") == bot_words.ASK_DETAIL


def test_a_list_means_what_it_said_even_when_the_records_change(talk: Talk, office: Office) -> None:
    talk.say("2")
    talk.identify()
    office.of_client["1"].insert(0, policy("99", "BUS-26-099"))
    assert talk.say("1").endswith("[11.pdf]")


def test_what_is_not_understood_twice_offers_a_person(talk: Talk) -> None:
    talk.say("hello")
    assert talk.say("qwertz").startswith(bot_words.NOT_UNDERSTOOD)
    assert talk.say("asdfgh") == bot_words.OFFER
    assert talk.say("1") == bot_words.PERSON_NOW
    assert talk.last.reason == "not_understood"


def test_no_to_the_offer_leads_back(talk: Talk) -> None:
    for words in ("hello", "qwertz", "asdfgh"):
        talk.say(words)
    assert "*1* My policies" in talk.say("0")
    assert talk.last.reason is None


@pytest.mark.parametrize("words", ["4", "I want to talk to a human", "person!", "agent", "I had an accident"])
def test_a_person_is_called(talk: Talk, words: str) -> None:
    assert talk.say(words) == bot_words.PERSON_NOW
    assert (talk.last.reason, talk.last.outcome) == ("asked", "handed_over")


def test_out_of_hours_it_is_said_when_the_office_is_open(office: Office) -> None:
    talk = Talk(office, manners=Manners(opening_hours="Monday to Friday, 9:00 to 17:30"))
    assert "Monday to Friday, 9:00 to 17:30" in talk.say("4")
    assert "Monday to Friday" in talk.say(kind="file")


@pytest.mark.parametrize("kind", ["file", "location", "sticker"])
def test_what_the_bot_cannot_read_goes_to_a_person(talk: Talk, kind: str) -> None:
    assert talk.say(kind=kind)
    assert talk.last.reason == kind


def test_a_long_text_is_for_a_person(talk: Talk) -> None:
    assert talk.say("my policy " * 60) == bot_words.PERSON_NOW
    assert talk.last.reason == "letter"


def test_stop_is_answered_with_silence_and_start_with_the_menu(talk: Talk) -> None:
    talk.say("1")
    talk.identify()
    assert talk.say("STOP", consent="opt_out") == ""
    assert not talk.memory.client_id
    assert talk.say("START", consent="opt_in").startswith(bot_words.WELCOME_BACK)


@pytest.mark.parametrize("words", ["HELP", "info"])
def test_help_says_who_we_are_and_how_to_stop(talk: Talk, words: str) -> None:
    said = talk.say(words)
    assert "Harbour Lane" in said
    assert "STOP" in said


def test_what_twilio_has_answered_gets_no_second_answer(talk: Talk) -> None:
    assert talk.say("HELP", provider_answered=True) == ""


def test_two_robots_do_not_talk_for_ever(office: Office) -> None:
    talk = Talk(office, manners=Manners(answers_per_minute=5))
    said = [talk.say("menu") for _ in range(8)]
    assert [bool(text) for text in said] == [True] * 5 + [False] * 3
    assert (talk.last.reason, talk.last.outcome) == ("too_fast", "too_fast")
    talk.now += timedelta(minutes=2)
    assert talk.say("menu")


def test_memory_of_another_version_is_no_error() -> None:
    assert Memory.from_json({"step": "somewhere", "colour": "blue"}).step == "somewhere"
    talk = Talk(Office())
    talk.memory = replace(Memory(), step="somewhere")
    assert talk.say("4") == bot_words.PERSON_NOW


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("1", "1"), (" 2. ", "2"), ("3)", "3"), ("1️⃣", "1"), ("１", "1"), ("12", None), ("Hi!", "menu"), ("", None),
        ("policies", "policies"), ("Thanks", "thanks"), ("👍", "thanks"), ("MOT-26-001", None), ("24 March 1980", None),
        ("BS1 0AA", None), ("talk about my policy document", "person"), ("²", "2"),
        ("Thank you, the document has arrived", "thanks"), ("Thanks, but where is my document?", "documents"),
        ("I would like to talk to a person about the damage to my car", "person"),
        ("thank you, I still want to talk to somebody", "person"),
    ],
)  # fmt: skip
def test_what_a_text_means(text: str, means: str | None) -> None:
    assert bot_words.meant(text) == means
