"""Files that customers send: kept by what they are, fetched from Twilio alone, tried again, erased with their message."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest

from tests.bot.office import ASHA, Office
from tests.twilio.receiver import Receiver
from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.conversation import SentFile
from whatsapp_logs.errors import ProviderAway, Refused
from whatsapp_logs.file_types import sniff
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Inbound, MediaFile
from whatsapp_logs.store import sent_files
from whatsapp_logs.twilio import files
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.twilio.simulator.inbound import File, Writing

Work = Callable[[], None]
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
HTML = b"<html><script>alert(1)</script>"
MB = 1024 * 1024


def send_files(service: WhatsAppService, simulator: Simulator, *sent: tuple[str, bytes], body: str = "My car") -> int:
    """A customer attaches these files; returns the message's id in the log, as its webhook makes it."""
    writing = Writing(body=body, files=[File(kind, content) for kind, content in sent])
    sid = simulator.receive(f"whatsapp:{ASHA}", writing)
    found = simulator.message(sid)
    media = tuple((url, kind) for url, (kind, _) in zip(found.media_urls, sent, strict=True))
    return service.receive(Inbound(provider_id=sid, sender=ASHA, recipient="+15550100100", body=body, media=media))


def kept(service: WhatsAppService, message_id: int) -> list[SentFile]:
    with service.transaction() as conn:
        return sent_files.of_messages(conn, [message_id])


def test_several_files_are_kept_by_what_they_are(service: WhatsAppService, simulator: Simulator, work: Work) -> None:
    sent = (("image/png", PNG), ("application/pdf", b"%PDF-1.4 x"), ("image/jpeg", HTML))
    id_ = send_files(service, simulator, *sent)
    work()
    found = kept(service, id_)
    assert [one.state for one in found] == ["stored"] * 3
    assert [one.content_type for one in found] == ["image/png", "application/pdf", "application/octet-stream"]
    assert [one.filename for one in found] == [f"message-{id_}.png", f"message-{id_}-2.pdf", f"message-{id_}-3.bin"]
    assert [service.desk.file(id_, n).content for n in range(3)] == [content for _, content in sent]
    assert service.message(id_).media_filename == f"message-{id_}.png"


def test_a_file_calls_a_person(service: WhatsAppService, simulator: Simulator, work: Work) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG))
    work()
    held = service.desk.listed().waiting[0]
    assert (held.last_inbound_id, held.handed_over_reason) == (id_, "file")


def test_with_protection_on_the_login_goes_to_twilio_and_the_signed_address_is_followed(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    simulator.settings.media_auth = True
    id_ = send_files(service, simulator, ("image/png", PNG))
    work()
    assert kept(service, id_)[0].state == "stored"


def test_a_file_is_tried_again_while_twilio_is_away(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG))
    simulator.go_away()
    work()
    (file,) = kept(service, id_)
    assert (file.state, file.attempts) == ("waiting", 1)
    assert file.problem
    assert file.next_try_at is not None
    simulator.come_back()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.procrastinate_jobs SET scheduled_at = now() WHERE task_name = 'fetch_file'")
    work()
    assert kept(service, id_)[0].state == "stored"


def test_a_file_that_never_comes_is_an_alarm_and_can_be_asked_for_again(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG))
    simulator.go_away()
    for _ in range(6):
        work()
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "UPDATE whatsapp_logs.procrastinate_jobs SET scheduled_at = now() WHERE task_name = 'fetch_file'"
            )
    assert kept(service, id_)[0].state == "failed"
    assert "files_missing" in [alarm.name for alarm in service.alarms()]
    simulator.come_back()
    service.desk.fetch_again(id_, 0)
    work()
    assert kept(service, id_)[0].state == "stored"
    assert "files_missing" not in [alarm.name for alarm in service.alarms()]


def test_a_lost_job_is_found_again(service: WhatsAppService, simulator: Simulator, work: Work, dsn: str) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG))
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM whatsapp_logs.procrastinate_jobs")
        conn.execute("UPDATE whatsapp_logs.message_media SET updated_at = now() - interval '2 minutes'")
    service.desk.rescue()
    work()
    assert kept(service, id_)[0].state == "stored"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/2010-04-01/Accounts/{account}/Messages/MM1/Media/ME1",
        "http://169.254.169.254/latest/meta-data/",
        "{base}@evil.example.test/2010-04-01/Accounts/{account}/x",
        "{base}/2010-04-01/Accounts/{account}/../../etc",
        "{base}/2010-04-01/Accounts/ACother/Messages/MM1/Media/ME1",
        "file:///etc/passwd",
        "http://[::1",
        "",
    ],
)
def test_only_twilios_own_address_of_our_account_is_opened(config: Config, url: str) -> None:
    address = url.format(base=config.twilio_api_base_url, account=config.twilio_account_sid)
    with pytest.raises(Refused) as refused:
        files.fetch(config, address, max_bytes=MB)
    assert refused.value.code == "foreign_address"


def test_a_redirect_to_a_stranger_is_not_followed(config: Config) -> None:
    """Twilio's place is taken by a server that leads elsewhere."""
    path = f"/2010-04-01/Accounts/{config.twilio_account_sid}/Messages/MM1/Media/ME1"
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        here = replace(config, twilio_api_base_url=base)
        for target in (
            "http://169.254.169.254/latest",
            "https://twilio.com.evil.example.test/x",
            "http://api.twilio.com/x",
            "//[::1",
        ):
            with pytest.raises(Refused) as refused:
                files.fetch(here, base + path, max_bytes=MB)
            assert refused.value.code == "foreign_address", target
        target = f"{base}/again"  # Twilio leads once, not round and round
        with pytest.raises(ProviderAway):
            files.fetch(here, base + path, max_bytes=MB)
        server.shutdown()
    assert asked == [path] * 5 + ["/again"]


def served(config: Config, receiver: Receiver, content: bytes) -> tuple[Config, str]:
    path = f"/2010-04-01/Accounts/{config.twilio_account_sid}/Messages/MM1/Media/ME1"
    receiver.files[path] = ("image/png", content)
    return replace(config, twilio_api_base_url=receiver.url), receiver.url + path


def test_a_file_that_is_too_large_gone_or_empty_is_refused(config: Config) -> None:
    with Receiver(config.twilio_auth_token) as receiver:
        here, url = served(config, receiver, b"x" * (MB + 1))
        for address, code in ((url, "too_large"), (url + "x", "gone")):
            with pytest.raises(Refused) as refused:
                files.fetch(here, address, max_bytes=MB)
            assert refused.value.code == code
        assert len(files.fetch(here, url, max_bytes=2 * MB)) == MB + 1
        receiver.files[url.removeprefix(receiver.url)] = ("image/png", b"")
        with pytest.raises(Refused):
            files.fetch(here, url, max_bytes=MB)


def test_nobody_there_is_no_refusal(config: Config, simulator: Simulator) -> None:
    simulator.go_away()
    with pytest.raises(ProviderAway):
        files.fetch(
            config, f"{config.twilio_api_base_url}/2010-04-01/Accounts/{config.twilio_account_sid}/M", max_bytes=MB
        )


def test_erasing_a_message_erases_all_its_files(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG), ("application/pdf", b"%PDF-1.4 x"))
    other = send_files(service, simulator, ("image/png", PNG + b"2"))
    work()
    with service.transaction() as conn:
        assert conn.execute("SELECT whatsapp_logs.erase(%s, true)", ([id_],)).fetchone() == (1,)
    assert [(one.state, one.url, one.media_id) for one in kept(service, id_)] == [("erased", None, None)] * 2
    assert kept(service, other)[0].state == "stored"
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.media").fetchone() == (1,)


def test_a_file_that_comes_after_its_message_was_erased_is_not_kept(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    id_ = send_files(service, simulator, ("image/png", PNG))
    (file,) = kept(service, id_)
    with service.transaction() as conn:
        conn.execute("SELECT whatsapp_logs.erase(%s, true)", ([id_],))
    service.desk.fetch_file(id_, 0)
    with service.transaction() as conn:  # fetched before, written after
        late = MediaFile(content=PNG, content_type="image/png", filename="x.png")
        sent_files.store(conn, file, late, now=datetime.now(UTC))
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.media").fetchone() == (0,)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
        (b"OggS", "audio/ogg"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        *((odd, "application/octet-stream") for odd in (HTML, b"", b"<svg onload=alert(1)>", b"MZ\x90")),
    ],
)
def test_a_file_is_what_it_begins_with(content: bytes, kind: str) -> None:
    assert sniff(content)[0] == kind


def restored(service: WhatsAppService, simulator: Simulator, *, hours: int = 26) -> int:
    """Reconcile the day on which a customer wrote while nobody could hear them; the message's id in the log."""
    at = datetime.now(UTC) - timedelta(hours=hours)
    for one in simulator.messages():
        simulator.ledger.change(one.sid, created_at=at.timestamp(), sent_at=at.timestamp())
    run = service.reconcile_day(at.date(), started_by="test")
    service.run_reconciliation(run.id)
    return service.page(MessageFilter(direction="inbound")).messages[0].id


def test_files_of_a_message_whose_webhook_was_lost_come_later(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    """Also with protection on, and while Twilio is away at first; the message waits for a person, and nobody answers it."""
    simulator.settings.media_auth = True
    sent = [File("image/png", PNG), File("application/pdf", b"%PDF-1.4 x")]
    simulator.receive(f"whatsapp:{ASHA}", Writing(body="My car", files=sent))
    id_ = restored(service, simulator)
    assert [one.state for one in kept(service, id_)] == ["waiting", "waiting"], "shown as on their way"
    simulator.go_away()
    work()
    assert all(one.problem and one.state == "waiting" for one in kept(service, id_))
    simulator.come_back()
    for place in range(2):
        service.desk.fetch_again(id_, place)
    work()
    found = kept(service, id_)
    assert [(one.state, one.content_type) for one in found] == [("stored", "image/png"), ("stored", "application/pdf")]
    assert [service.desk.file(id_, n).content for n in range(2)] == [one.content for one in sent]
    (held,) = service.desk.listed().waiting
    assert held.handed_over_reason == "too_old"
    assert len(service.desk.chat(held.id).messages) == 1, "no answer that makes no sense any more"
    restored(service, simulator)
    work()
    assert len(kept(service, id_)) == 2, "found twice, kept once"


def test_a_restored_file_that_is_gone_at_twilio_is_said_so(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    sid = simulator.receive(f"whatsapp:{ASHA}", Writing(body="x", files=[File("image/png", PNG)]))
    id_ = restored(service, simulator)
    for one in simulator.ledger.media_of(sid):
        simulator.ledger.delete_media(one.sid)
    work()
    (file,) = kept(service, id_)
    assert file.state == "failed"
    assert "not at Twilio any more" in (file.problem or "")


def test_a_restored_file_that_is_too_large_is_not_kept(
    service: WhatsAppService, simulator: Simulator, office: Office, dsn: str
) -> None:
    small = WhatsAppService(replace(service.config, max_media_bytes=100), records=office)
    simulator.receive(f"whatsapp:{ASHA}", Writing(body="x", files=[File("image/png", PNG + b"x" * 200)]))
    id_ = restored(small, simulator)
    small.desk.fetch_file(id_, 0)
    (file,) = kept(small, id_)
    assert (file.state, file.media_id) == ("failed", None)
    assert "larger than" in (file.problem or "")
    small.close()
