"""A document's link: opens this one document, for a while, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.service_fixtures import make_portal
from tests.web.twilio_calls import CUSTOMER
from whatsapp_logs import Config, Draft, MediaFile, Template, WhatsAppService, links
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.twilio.simulator import POLICY_DOCUMENT_BY_PATH
from whatsapp_logs.web.limits import UNPROVEN_PER_MINUTE

PDF = b"%PDF-1.7 a policy of nobody"


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def link(service: WhatsAppService) -> Callable[..., str]:
    """A function that stores a document and returns its link's path."""

    def store(filename: str = "policy.pdf", content: bytes = PDF, content_type: str = "application/pdf") -> str:
        file = MediaFile(content=content, content_type=content_type, filename=filename)
        message = service.send(Draft(to=CUSTOMER, media=file))
        assert message.media_id
        return "/" + links.media_path(service.config, message.media_id)

    return store


def test_twilio_fetches_the_document_without_signing_in(client, link):
    answer = client.get(link())
    assert (answer.status_code, answer.data) == (200, PDF)
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Length"] == str(len(PDF))
    assert answer.headers["Content-Disposition"] == "inline; filename=policy.pdf"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_head_tells_the_same_without_the_document(client, link):
    path = link()
    head, get = client.head(path), client.get(path)
    assert head.data == b""
    assert dict(head.headers) == dict(get.headers)


def test_an_unchanged_document_is_not_sent_again(client, link):
    path = link()
    answer = client.get(path, headers={"If-None-Match": client.get(path).headers["ETag"]})
    assert (answer.status_code, answer.data) == (304, b"")


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("my policy.pdf", 'inline; filename="my policy.pdf"'),
        (
            "Police d’été.pdf",
            "inline; filename=\"Police d__t_.pdf\"; filename*=UTF-8''Police%20d%E2%80%99%C3%A9t%C3%A9.pdf",
        ),
        ('a"b;c=\\d.pdf', r'inline; filename="a\"b;c=\\d.pdf"'),
        ("../../etc/passwd", "inline; filename=passwd"),
        ("x\r\nSet-Cookie: a=b.pdf", 'inline; filename="xSet-Cookie: a=b.pdf"'),
        ("\n", "inline; filename=document"),
    ],
)
def test_the_file_name_arrives_as_it_is_and_cannot_add_headers(client, link, filename, header):
    answer = client.get(link(filename))
    assert answer.headers["Content-Disposition"] == header
    assert "Set-Cookie" not in answer.headers


def test_fault_26_a_link_opens_its_own_document_only(client, link):
    first, second = link(content=b"first"), link(content=b"second")
    assert (client.get(first).data, client.get(second).data) == (b"first", b"second")


def test_fault_26_and_mistake_12_an_altered_or_made_up_link_opens_nothing_and_tells_nothing(client, link, service):
    path = link()
    other = links.media_path(
        replace(service.config, secret_key="somebody else's key"), "00000000-0000-4000-8000-000000000000"
    )
    gone = links.media_path(service.config, "00000000-0000-4000-8000-000000000000")
    wrong = [
        path[:-5] + ("A" if path[-5] != "A" else "B") + path[-4:],  # the last letter has bits that nobody reads
        path + "x",
        path.rpartition(".")[0],
        "/" + other,
        "/" + gone,
    ]
    wrong += [f"/whatsapp/media/{name}" for name in ("x", "policy.pdf", "..", "%00", "a" * 5000, "1.2.3")]
    answers = {(answer.status_code, answer.mimetype, answer.data) for answer in map(client.get, wrong)}
    assert answers == {(404, "text/plain", b"There is no document at this address.")}


def test_what_is_no_id_is_no_document(service):
    for text in ("", "x", "../etc/passwd", "\0", "00000000-0000-4000-8000-000000000000", "1" * 5000):
        with pytest.raises(MessageNotFound):
            service.document(text)


def test_fault_26_each_letter_of_the_token_counts(client, link):
    path = link()
    start = path.rindex("/") + 1
    for place in range(start, len(path) - 1):  # the last letter carries spare bits
        swapped = path[:place] + ("a" if path[place] != "a" else "b") + path[place + 1 :]
        assert client.get(swapped).status_code in (404, 429), place
    assert client.get(path).status_code == 200  # whoever has a link is no stranger


def test_fault_26_who_guesses_links_is_asked_to_wait_and_fills_no_log(client, caplog):
    answers = []
    while (not answers or answers[-1].status_code == 404) and len(answers) < 10 * UNPROVEN_PER_MINUTE:
        answers.append(client.get(f"/whatsapp/media/guess-{len(answers)}"))
    assert len(answers) > UNPROVEN_PER_MINUTE  # and more where they take longer: one a second is granted
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    told = len(caplog.records)
    again = client.get("/whatsapp/media/guess-again")
    assert len(caplog.records) == told or again.status_code == 404, "who is asked to wait fills no log"


def test_fault_26_a_link_ends_after_its_time(service, link):
    path = link()
    brief = WhatsAppService(replace(service.config, media_link_max_age_s=-1))
    assert make_portal(brief).test_client().get(path).status_code == 404
    brief.close()


@pytest.mark.parametrize("path", ["media/x", "livez", "readyz", "metrics", "status_callback", "inbound"])
def test_what_machines_are_told_is_nothing_else_than_it_says(client, path: str):
    answer = (
        client.get(f"/whatsapp/{path}") if "in" not in path and "call" not in path else client.post(f"/whatsapp/{path}")
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content_type == "text/plain; charset=utf-8"


def test_a_link_of_the_previous_secret_key_opens_until_its_time_and_a_new_one_is_signed_by_the_new_key(service, link):
    path = link()
    both = replace(service.config, secret_key="the new secret key", previous_secret_key=service.config.secret_key)
    media_id = links.read_media_token(both, path.rpartition("/")[2])
    new = links.media_path(both, media_id).rpartition("/")[2]
    assert links.read_media_token(replace(both, previous_secret_key=""), new) == media_id
    with pytest.raises(InvalidInput):
        links.read_media_token(service.config, new)


def test_fault_26_the_link_does_not_stay_open_because_a_browser_kept_it(service, link):
    path, etag = link(), {}
    etag["If-None-Match"] = make_portal(service).test_client().get(path).headers["ETag"]
    brief = WhatsAppService(replace(service.config, media_link_max_age_s=-1))
    assert make_portal(brief).test_client().get(path, headers=etag).status_code == 404
    brief.close()


def test_fault_26_opening_is_logged_without_the_link(client, link, caplog):
    path = link()
    with caplog.at_level("INFO", logger="whatsapp_logs"):
        client.get(path)
    assert "opened" in caplog.text
    assert path.rpartition("/")[2] not in caplog.text


def test_twilio_gets_the_document_into_the_message(service, simulator, live, work):
    simulator.receive(CUSTOMER, "Hi")  # opens the 24-hour window
    message = service.send(
        Draft(to=CUSTOMER, media=MediaFile(content=PDF, content_type="application/pdf", filename="p.pdf"))
    )
    work()
    simulator.wait_idle()
    sid = service.message(message.id).provider_id
    assert [(file.content_type, file.content) for file in simulator.media(sid)] == [("application/pdf", PDF)]


def test_a_template_gets_the_document_by_the_last_part_of_its_address(service: WhatsAppService, simulator, live, work):
    simulator.settings.media_base_url = live
    template = Template(
        sid=POLICY_DOCUMENT_BY_PATH, name="policy_document", variables={"1": "Asha", "2": "P-7"}, media_variable="3"
    )
    file = MediaFile(content=PDF, content_type="application/pdf", filename="p.pdf")
    message = service.send(Draft(to=CUSTOMER, template=template, media=file))
    work()
    simulator.wait_idle()
    message = service.message(message.id)
    assert message.status == "read", message.error_message
    assert [file.content for file in simulator.media(message.provider_id or "")] == [PDF]


def test_an_unreachable_database_is_503(config: Config):
    service = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:9/none", pool_timeout_s=0.2))
    path = "/" + links.media_path(config, "00000000-0000-4000-8000-000000000000")
    assert make_portal(service).test_client().get(path).status_code == 503
    service.close()
