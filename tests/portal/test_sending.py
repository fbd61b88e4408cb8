"""Sending from the portal: what reaches the log, once, and what is refused before."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest
from flask import url_for
from werkzeug.datastructures import FileStorage

from portal import uploads
from portal.uploads import DOCX
from tests.portal.conftest import COOKIE, Browser, Office
from whatsapp_logs import Status

Open = Callable[[str | None], Browser]
PDF = b"%PDF-1.7\n1 0 obj\n"
JPG = b"\xff\xd8\xff\xe0" + b"\0" * 40
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def docx(*more: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in ("[Content_Types].xml", "word/document.xml", *more):
            archive.writestr(name, "<xml/>")
    return target.getvalue()


def test_a_policy_document_is_queued_with_its_pdf_template_and_links(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    answer = person.submit("/policies/1", "/policies/1/send")
    assert (answer.status_code, answer.location) == (303, "/policies/1")
    message = office.newest()
    name, phone, number = office.row(
        "SELECT name, phone, policy_number FROM policies JOIN clients USING (client_id) WHERE policy_id = 1"
    )
    assert message.status is Status.QUEUED
    assert (message.message_type, message.recipient) == ("policy_document", phone)
    assert (message.policy_id, message.client_id, message.created_by) == ("1", "1", "arjun.agent")
    assert message.body == f"Hello {name}, here is your policy document {number}. Please keep it in a safe place."
    assert message.variables == {"1": name, "2": number}
    assert (message.media_filename, message.media_content_type) == (f"{number}.pdf", "application/pdf")


def test_after_sending_a_word_leads_to_the_message_and_is_said_once(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    person.submit("/policies/14", "/policies/14/send")
    with office.app.test_request_context():
        href = url_for("whatsapp_logs.message", message_id=office.newest().id)
    link = f'<a href="{href}">follow it in WhatsApp Logs</a>'
    page = person.get("/policies/14").text
    assert "Queued for Isabel García, " in page
    assert link in page
    assert link not in person.get("/policies/14").text


def test_sending_a_form_twice_makes_one_message(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    fields = person.hidden_fields("/policies/15", "/policies/15/send")
    before = office.message_count()
    answers = [person.post("/policies/15/send", fields).status_code for _ in range(3)]
    assert answers == [303, 303, 303]
    assert office.message_count() == before + 1


def test_fault_19_a_form_sent_by_eight_threads_at_once_makes_one_message(office: Office, browser: Open) -> None:
    session = browser("arjun.agent")
    fields = {**session.hidden_fields("/clients/9", "/clients/9/message"), "body": "All at once"}
    cookie = session.client.get_cookie(COOKIE)
    assert cookie
    before = office.message_count()

    def send(_: int) -> int:
        other = browser(None)
        other.client.set_cookie(COOKIE, cookie.value)
        return other.post("/clients/9/message", fields).status_code

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(send, range(8))) == [303] * 8
    assert office.message_count() == before + 1


def test_a_document_sent_just_now_is_asked_about_and_sent_again_when_confirmed(office: Office, browser: Open) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    assert person.submit("/policies/10", "/policies/10/send").status_code == 303
    question = person.submit("/policies/10", "/policies/10/send")
    assert question.status_code == 200
    assert re.search(r"This was sent \d+ s ago \(Queued\)\. Send it again\?", question.text)
    assert office.message_count() == before + 1
    again = hidden_fields_of(question.text)
    assert [person.post("/policies/10/send", again).status_code for _ in range(2)] == [303, 303]
    assert office.message_count() == before + 2


def test_a_confirmation_counts_for_what_was_asked_only(office: Office, browser: Open) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    person.submit("/policies/11", "/policies/11/send")
    questions = [hidden_fields_of(person.submit("/policies/11", "/policies/11/send").text) for _ in range(2)]
    answers = [person.post("/policies/11/send", fields).status_code for fields in questions]
    assert answers == [303, 200]  # the second was asked before the first was sent again
    assert office.message_count() == before + 2


def test_of_two_people_who_send_the_same_at_once_one_is_asked(office: Office, browser: Open) -> None:
    forms = []
    for username in ("arjun.agent", "anna.admin"):
        person = browser(username)
        forms.append((person, person.hidden_fields("/policies/12", "/policies/12/send")))
    before = office.message_count()
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda form: form[0].post("/policies/12/send", form[1]).status_code, forms))
    assert sorted(answers) == [200, 303]
    assert office.message_count() == before + 1


def test_a_reminder_sent_just_now_is_asked_about_and_keeps_its_document(office: Office, browser: Open) -> None:
    person, path = browser("arjun.agent"), "/renewals/13/remind"
    office.row("UPDATE policies SET status = 'active' WHERE policy_id = 13 RETURNING 1")
    person.submit("/renewals/13", path)
    question = person.submit("/renewals/13", path, document=(io.BytesIO(PDF + b"13"), "offer.pdf"))
    assert "Send it again?" in question.text
    assert "offer.pdf" in question.text
    assert person.post(path, hidden_fields_of(question.text)).status_code == 303
    message = office.newest()
    assert (message.media_filename, message.policy_id) == ("offer.pdf", "13")
    assert "The renewal papers are attached." in (message.body or "")


def test_another_policys_paper_cannot_be_named_in_the_form(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    person.submit("/renewals/5", "/renewals/5/remind", document=(io.BytesIO(PDF + b"of 5"), "five.pdf"))
    (document_id,) = office.row("SELECT max(document_id) FROM renewal_documents")
    assert person.submit("/renewals/4", "/renewals/4/remind", document_id=document_id).status_code == 404


@pytest.mark.parametrize(
    ("starts", "ends", "status", "says"),
    [
        (-400, -35, "lapsed", "This policy ended on"),
        (-400, -2, "active", "This policy ended on"),
        (-100, 200, "cancelled", "This policy was cancelled"),
        (30, 395, "active", "This policy starts on"),
    ],
)
def test_the_document_of_a_policy_that_covers_nothing_is_sent_only_when_confirmed(
    office: Office, browser: Open, starts: int, ends: int, status: str, says: str
) -> None:
    (policy_id,) = office.row(
        """
        INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                              starts_on, ends_on, status)
        SELECT client_id, %(number)s, product, insurer, insured, sum_insured, excess, premium, currency,
               current_date + %(starts)s, current_date + %(ends)s, %(status)s
        FROM policies WHERE policy_id = 1 RETURNING policy_id
        """,
        number=f"T-{starts}{ends}{status}",
        starts=starts,
        ends=ends,
        status=status,
    )
    person, before, path = browser("arjun.agent"), office.message_count(), f"/policies/{policy_id}"
    question = person.submit(path, f"{path}/send")
    assert says in question.text
    assert office.message_count() == before
    assert person.post(f"{path}/send", hidden_fields_of(question.text)).status_code == 303
    assert office.message_count() == before + 1
    office.row("DELETE FROM policies WHERE policy_id = %(policy_id)s RETURNING 1", policy_id=policy_id)


def hidden_fields_of(html: str) -> dict[str, object]:
    """The hidden fields of the form in the middle of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html.split("<main")[1])
    return {name: unescape(value) for name, value in found}


def test_words_changed_after_going_back_are_not_swallowed_as_a_double(office: Office, browser: Open) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    fields = person.hidden_fields("/clients/3", "/clients/3/message")
    for body in ("See you on Monday.", "See you on Tuesday.", "See you on Tuesday."):
        person.post("/clients/3/message", {**fields, "body": body})
    assert office.message_count() == before + 2
    assert office.newest().body == "See you on Tuesday."


@pytest.mark.parametrize("key", ["", "short", "x" * 65, "has spaces in the key"])
def test_a_form_without_a_proper_key_is_refused(office: Office, browser: Open, key: str) -> None:
    before = office.message_count()
    answer = browser("arjun.agent").submit("/policies/15", "/policies/15/send", request_key=key)
    assert answer.status_code == 400
    assert office.message_count() == before


def test_a_message_by_hand_is_queued_as_general(office: Office, browser: Open) -> None:
    browser("arjun.agent").submit("/clients/4", "/clients/4/message", body="Line one\r\nLine two")
    message = office.newest()
    assert (message.message_type, message.client_id, message.policy_id) == ("general", "4", None)
    assert message.body == "Line one\nLine two"


@pytest.mark.parametrize(("body", "says"), [("  ", "Write a message first"), ("x" * 1601, "1,601 characters")])
def test_a_message_that_cannot_be_sent_comes_back_with_its_words(
    office: Office, browser: Open, body: str, says: str
) -> None:
    before = office.message_count()
    answer = browser("arjun.agent").submit("/clients/4", "/clients/4/message", body=body)
    assert answer.status_code == 400
    assert says in answer.text
    assert body.strip() in answer.text
    assert office.message_count() == before


def test_a_number_that_is_none_is_a_failed_row_and_said_so(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    fields = person.hidden_fields("/clients/50", "/clients/50/message")
    office.row("UPDATE clients SET phone = '+44 1' WHERE client_id = 50 RETURNING client_id")
    person.post("/clients/50/message", {**fields, "body": "Hello"})
    message = office.newest()
    assert (message.status, message.error_code) == (Status.FAILED, "invalid_number")
    page = person.get("/clients/50").text
    assert "Not sent to" in page
    assert str(message.error_message) in page
    assert "/clients/50/message" not in page  # nothing to write to: the page says why instead of the form


def test_a_reminder_without_a_document_says_when_renewal_is_due(office: Office, browser: Open) -> None:
    browser("arjun.agent").submit("/renewals/4", "/renewals/4/remind")
    message = office.newest()
    assert (message.message_type, message.policy_id, message.media_id) == ("renewal_reminder", "4", None)
    assert message.template_name == "renewal_reminder"
    assert "is due for renewal on" in (message.body or "")


def test_a_policy_that_has_ended_is_not_reminded_of(office: Office, browser: Open) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    (policy_id,) = office.row("SELECT policy_id FROM policies WHERE status = 'cancelled' LIMIT 1")
    assert "nothing to renew" in person.get(f"/renewals/{policy_id}").text
    fields = person.hidden_fields("/renewals/4", "/renewals/4/remind")
    answer = person.post(f"/renewals/{policy_id}/remind", fields)
    assert answer.status_code == 400
    assert "nothing to renew" in answer.text
    assert office.message_count() == before


@pytest.mark.parametrize(
    ("filename", "content", "content_type"),
    [
        ("Renewal 2027.pdf", PDF, "application/pdf"),
        ("scan.JPG", JPG, "image/jpeg"),
        ("scan.jpeg", JPG + b"2", "image/jpeg"),
        ("scan.png", PNG, "image/png"),
        ("letter.docx", docx(), DOCX),
        ("Прейскурант — résumé.pdf", PDF + b"2", "application/pdf"),
    ],
)
def test_a_reminder_carries_the_uploaded_document(
    office: Office, browser: Open, filename: str, content: bytes, content_type: str
) -> None:
    person = browser("arjun.agent")
    answer = person.submit("/renewals/5", "/renewals/5/remind", document=(io.BytesIO(content), filename))
    if "Send it again?" in answer.text:  # the parameters before this one have just sent theirs
        answer = person.post("/renewals/5/remind", hidden_fields_of(answer.text))
    assert answer.status_code == 303
    message = office.newest()
    assert (message.media_filename, message.media_content_type) == (filename, content_type)
    assert "The renewal papers are attached." in (message.body or "")
    document_id, kept = office.row(
        "SELECT document_id, content FROM renewal_documents WHERE policy_id = 5 AND filename = %(name)s", name=filename
    )
    assert kept == content
    download = person.get(f"/renewals/documents/{document_id}")
    assert download.data == content
    assert download.headers["Content-Disposition"].startswith("attachment")
    download.headers["Content-Disposition"].encode("latin-1")  # else no server can send it


@pytest.mark.parametrize(
    ("filename", "content", "says"),
    [
        ("virus.exe", b"MZ", "Choose a PDF, JPG, PNG or DOCX file"),
        ("page.pdf.html", b"<html>", "Choose a PDF, JPG, PNG or DOCX file"),
        ("no-ending", PDF, "Choose a PDF, JPG, PNG or DOCX file"),
        ("page.pdf", b"<html>", "it is not one"),
        ("photo.png", JPG, "it is not one"),
        ("archive.docx", b"PK\x03\x04 broken", "it is not one"),
        ("macros.docx", docx("word/vbaProject.bin"), "it is not one"),
        ("empty.pdf", b"", "empty"),
        ("huge.png", PNG + b"\0" * (5 * 1024 * 1024), "larger than 5 MB"),
        ("huge.pdf", PDF + b"\0" * (16 * 1024 * 1024), "larger than 16 MB"),
    ],
)
def test_a_document_that_whatsapp_would_not_take_is_refused_in_words(
    office: Office, browser: Open, filename: str, content: bytes, says: str
) -> None:
    before = office.message_count(), office.row("SELECT count(*) FROM renewal_documents")
    answer = browser("arjun.agent").submit(
        "/renewals/6", "/renewals/6/remind", document=(io.BytesIO(content), filename)
    )
    assert answer.status_code == 400
    assert says in answer.text
    assert (office.message_count(), office.row("SELECT count(*) FROM renewal_documents")) == before


def test_far_too_large_a_request_is_refused_before_it_is_read(browser: Open) -> None:
    person = browser("arjun.agent")
    content = io.BytesIO(PDF + b"\0" * (18 * 1024 * 1024))
    answer = person.submit("/renewals/6", "/renewals/6/remind", document=(content, "huge.pdf"))
    assert answer.status_code == 413
    assert "The file is too large" in answer.text


def test_fault_19_a_reminder_with_its_document_sent_twice_is_one_message_and_one_document(
    office: Office, browser: Open
) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    fields = person.hidden_fields("/renewals/7", "/renewals/7/remind")
    for _ in range(2):
        file = (io.BytesIO(PDF + b"seven"), "offer.pdf")
        assert person.post("/renewals/7/remind", {**fields, "document": file}).status_code == 303
    assert office.message_count() == before + 1
    assert office.row("SELECT count(*) FROM renewal_documents WHERE policy_id = 7") == (1,)


@pytest.mark.parametrize("name", ["../../etc/offer.pdf", "C:\\papers\\offer.pdf", "off\u202eer.pdf", "offer\r\n.pdf"])
def test_a_file_name_keeps_no_folder_and_no_trick(name: str) -> None:
    upload = uploads.read(FileStorage(io.BytesIO(PDF), filename=name))
    assert upload is not None
    assert upload.filename == "offer.pdf"


def test_a_very_long_file_name_is_shortened_and_keeps_its_ending() -> None:
    upload = uploads.read(FileStorage(io.BytesIO(PDF), filename="é" * 400 + ".pdf"))
    assert upload is not None
    assert upload.filename == "é" * 100 + ".pdf"
