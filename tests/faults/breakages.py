"""Breaks each mechanism that a fault test guards, and requires that the test fails: `python -m tests.faults.breakages [FAULT ...]`.

Works on a copy of the tracked files. A test that passes although its mechanism is broken would pass in a broken product too.
Exit status 1 when a breakage was missed, or could not be tried.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS_FAILED = 1  # pytest's exit status; anything above means that the tests did not run
RECORD = "whatsapp_logs/store/migrations/0010_record_set_based.sql"
SEND, GATEWAY = "whatsapp_logs/send.py", "whatsapp_logs/twilio/gateway.py"
CALLBACKS, SIGNATURE = "whatsapp_logs/web/callbacks.py", "whatsapp_logs/twilio/signature.py"
CALL = "whatsapp_logs/twilio/callback.py"
POOL, OPENING = "whatsapp_logs/store/pool.py", "whatsapp_logs/store/migrations/opening.sql"
RESTORE = "whatsapp_logs/restore.py"
ACCESS, PORTAL_ACCESS = "whatsapp_logs/web/access.py", "portal/access.py"
SECOND_FACTOR = "tests/portal/test_second_factor.py"


@dataclass(frozen=True, slots=True)
class Breakage:
    """One mechanism of one file, what it is made into, and the test that has to notice. A race has several tries."""

    fault: int
    what: str
    file: str
    old: str
    new: str
    test: str
    tries: int = 1


BREAKAGES = (
    Breakage(
        1, "forged calls are not counted", CALLBACKS,
        "if current.extension().refusals.add(path, refusal.reason):", "if not path:", "tests/web/test_callbacks.py::*fault_1_many*",
    ),
    Breakage(
        1, "every signature is right", SIGNATURE,
        "return bool(validator.validate(url, form, signature, algorithm))", "return True",
        "tests/web/test_callbacks.py::*fault_1_and*",
    ),
    Breakage(
        2, "each report is taken for new", RECORD,
        "               NOT EXISTS (SELECT FROM whatsapp_logs.status_events AS e\n",
        "               true OR NOT EXISTS (SELECT FROM whatsapp_logs.status_events AS e\n",
        "tests/web/test_callbacks.py::*fault_2_*",
    ),
    Breakage(
        3, "every signature is right", SIGNATURE,
        "return bool(validator.validate(url, form, signature, algorithm))", "return True",
        "tests/web/test_callbacks.py::*fault_3_*",
    ),
    Breakage(
        4, "the request is believed about its own host", CALL,
        'url = f"{config.public_base_url}{path}"', 'url = f"http://{header(\'Host\')}{path}"',
        "tests/web/test_callbacks.py::*fault_4_*",
    ),
    Breakage(
        5, "a status moves backwards too", RECORD,
        "                SELECT GREATEST(m.status, t.status) AS status,", "                SELECT t.status AS status,",
        "tests/test_record.py::*fault_5_*",
    ),
    Breakage(
        5, "a failure that receipt overtook stays in the message", RECORD,
        "CASE WHEN f.is_failure THEN COALESCE(m.failed_at, t.failed_at) END AS failed_at",
        "COALESCE(m.failed_at, t.failed_at) AS failed_at", "tests/test_record.py::*fault_5_*",
    ),
    Breakage(
        6, "reports of one SID do not wait for each other", RECORD,
        "PERFORM pg_advisory_xact_lock(k.key)", "PERFORM k.key", "tests/test_record.py::*fault_6_*", tries=3,
    ),
    Breakage(
        7, "what came before its message is not adopted", RECORD,
        "    IF EXISTS (SELECT FROM whatsapp_logs.status_events AS e WHERE e.message_id IS NULL",
        "    IF false AND EXISTS (SELECT FROM whatsapp_logs.status_events AS e WHERE e.message_id IS NULL",
        "tests/test_record.py::*fault_7_*", tries=3,
    ),
    Breakage(
        8, "reports of unknown messages are dropped", RECORD,
        "              FROM told WHERE is_new\n", "              FROM told WHERE is_new AND id IS NOT NULL\n",
        "tests/test_alarms.py::*fault_8_*",
    ),
    Breakage(
        9, "the sweep leaves delivered messages out", "whatsapp_logs/store/refreshes.py",
        "m.status = 'delivered'", "m.status = 'canceled'", "tests/faults/test_provider_away.py::*fault_9_*",
    ),
    Breakage(
        10, "a lost answer counts as not sent", GATEWAY,
        "            if _never_sent(error):", "            if True:", "tests/faults/test_provider_away.py::*fault_10_*",
    ),
    Breakage(
        10, "a failing Twilio counts as refusing", GATEWAY,
        "    if status >= 500:", "    if status >= 600:", "tests/faults/test_provider_away.py::*fault_10_*",
    ),
    Breakage(
        10, "nothing is given back by Twilio's list", "whatsapp_logs/settle.py",
        "pairs = _pairs(waiting, strangers)", "pairs = _pairs(waiting, [])", "tests/test_send.py::*fault_10_*",
    ),
    Breakage(
        11, "the claim is committed after the hand-over", SEND,
        "        if cleared is not None:\n            _hand_over(transactions, gateway, cleared)\n",
        "            if cleared is not None:\n                _hand_over(transactions, gateway, cleared)\n",
        "tests/test_send.py::*fault_11_*",
    ),
    Breakage(
        11, "a claim whose worker died is forgotten", SEND,
        "    lost = handover.abandoned_claims(conn, now=now, after_s=_CLAIM_OUTCOME_S)", "    lost: list[int] = []",
        "tests/test_send.py::*fault_11_*",
    ),
    Breakage(
        12, "a connection is held while Twilio is waited for", SEND,
        "        if cleared is not None:\n            _hand_over(transactions, gateway, cleared)\n",
        "            if cleared is not None:\n                _hand_over(transactions, gateway, cleared)\n",
        "tests/faults/test_provider_away.py::*fault_12_a_twilio*",
    ),
    Breakage(
        12, "attempts do not become rarer", SEND,
        "_WAITS_S = (5, 15, 60, 300, 900)", "_WAITS_S = (5, 5, 5, 5, 5)", "tests/faults/test_provider_away.py::*fault_12_attempts*",
    ),
    Breakage(
        13, "a Twilio that refuses connections may have taken the message", GATEWAY,
        "            if _never_sent(error):", "            if False:", "tests/faults/test_provider_away.py::*fault_13_after_six*",
    ),
    Breakage(
        13, "nothing is ever given up", SEND,
        "> _GIVE_UP_AFTER:", "> 100 * _GIVE_UP_AFTER:", "tests/faults/test_provider_away.py::*fault_13_after_a_day*",
    ),
    Breakage(
        14, "unknown words raise no alarm", "whatsapp_logs/store/alarms.py",
        "unknown_words=_unknown_words(conn)", "unknown_words=()", "tests/test_alarms.py::*fault_14_*",
    ),
    Breakage(
        15, "a silent message looks like any other", "whatsapp_logs/web/format.py",
        "    if status is Status.SENT and now - ", "    if status is Status.FAILED and now - ",
        "tests/faults/test_provider_away.py::*fault_15_*",
    ),
    Breakage(
        16, "a full pool is a defect and no outage", POOL,
        "except (psycopg.OperationalError, psycopg.InterfaceError) as error:", "except psycopg.InterfaceError as error:",
        "tests/faults/test_database_away.py::*full_pool*",
    ),
    Breakage(
        16, "a full disk is not called one", POOL,
        "raise DatabaseAway(_DISK_FULL) from error", "raise DatabaseAway() from error",
        "tests/faults/test_database_away.py::*full_disk*",
    ),
    Breakage(
        16, "the worker ends with its database", "whatsapp_logs/jobs.py",
        "except (DatabaseAway, procrastinate.exceptions.ConnectorException) as error:", "except KeyError as error:",
        "tests/test_jobs.py::*fault_16_*",
    ),
    Breakage(
        17, "an outage is answered like a page", "whatsapp_logs/web/errors.py",
        '(Unavailable, 503, "Not available just now")', '(Unavailable, 200, "Messages: 0")',
        "tests/web/test_health.py::*fault_17_*",
    ),
    Breakage(
        18, "each statement of the migration commits by itself", OPENING,
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;", "", "tests/migrations/test_script.py::*fault_18_interrupted*",
    ),
    Breakage(
        18, "two migrators do not wait for each other", OPENING,
        "PERFORM pg_advisory_xact_lock(7423901552);", "PERFORM 1;", "tests/migrations/test_script.py::*fault_18_two*", tries=3,
    ),
    Breakage(
        18, "a newer schema is taken for ours", OPENING,
        "IF newest > {newest} THEN", "IF newest > 100 * {newest} + 90000 THEN",
        "tests/migrations/test_script.py::*fault_18_a_database*",
    ),
    Breakage(
        19, "a claim takes what is claimed already", "whatsapp_logs/store/handover.py",
        "AND claimed_at IS NULL AND provider_id IS NULL\n          AND campaign_id IS NULL",
        "AND provider_id IS NULL\n          AND campaign_id IS NULL",
        "tests/test_send.py::*fault_19_*", tries=3,
    ),
    Breakage(
        19, "a message does not remember its request", SEND,
        '"request_key": draft.request_key,', '"request_key": None,', "tests/portal/test_sending.py::*fault_19_a_form*",
    ),
    Breakage(
        19, "one of many does not remember its request", SEND,
        '"request_key": draft.request_key,', '"request_key": None,', "tests/test_bulk.py::*fault_19_*",
    ),
    Breakage(
        20, "what only Twilio knows is not looked for", RESTORE,
        "for n in range((today - first).days + 1)", "for n in range(0)", "tests/test_reconcile.py::*fault_20_a_message*",
    ),
    Breakage(
        20, "what only Twilio knows is not imported", "whatsapp_logs/reconcile.py",
        "conn, [one for one in mine if _sid(one) not in held], now=", "conn, [one for one in mine if _sid(one) in held], now=",
        "tests/test_reconcile.py::*fault_20_after*",
    ),
    Breakage(
        20, "what waited in the backup is not held", RESTORE,
        "held = restored.hold(conn, now=now, reason=_REASON)", "held = 0", "tests/test_reconcile.py::*fault_20_a_message*",
    ),
    Breakage(
        20, "numbers of messages are given out again", RESTORE,
        "_IDS_SKIPPED = 1_000_000", "_IDS_SKIPPED = 1", "tests/test_reconcile.py::*fault_20_a_callback*",
    ),
    Breakage(
        21, "a right is declared and not asked for", ACCESS,
        "if not isinstance(needed, Right) or not person.may(needed):", "if not isinstance(needed, Right):",
        "tests/security/test_rights.py::*fault_21_each_role*",
    ),
    Breakage(
        21, "a portal's right is declared and not asked for", PORTAL_ACCESS,
        "    if not sign_in.person.may(right):", "    if not sign_in.person:",
        "tests/security/test_rights.py::*fault_21_each_role*",
    ),
    Breakage(
        21, "a route without a declared right is taken", "whatsapp_logs/web/__init__.py",
        "        if undeclared:", "        if not app:", "tests/security/test_rights.py::*fault_21_a_new_route*",
    ),
    Breakage(
        22, "the log's forms need no token", ACCESS,
        "    if request.method not in _SAFE_METHODS and not token:", "    if not request.method:",
        "tests/security/test_forgery.py::*fault_22_no_form*",
    ),
    Breakage(
        22, "the portal's forms need no token", PORTAL_ACCESS,
        "    if request.method not in READING:\n        _check_csrf()", "    if not request.method:\n        _check_csrf()",
        "tests/security/test_forgery.py::*fault_22_no_form*",
    ),
    Breakage(
        23, "whatever stands in an address is searched for", "whatsapp_logs/filters.py",
        "    if not _WORD.fullmatch(value):", "    if not value:", "tests/web/test_pages.py::*fault_23_no_query*",
    ),
    Breakage(
        23, "every signature is right", SIGNATURE,
        "return bool(signature) and any(", "return True or any(", "tests/security/test_fuzz.py::*fault_23_*",
    ),
    Breakage(
        24, "an e-mail address is shown as it is", "portal/templates/client.html",
        "{{ client.email }}", "{{ client.email|safe }}", "tests/security/test_cross_site_scripting.py::*fault_24_no_page*",
    ),
    Breakage(
        24, "a message is shown as it is", "whatsapp_logs/web/format.py",
        "    html = str(escape(text))", "    html = text", "tests/security/test_cross_site_scripting.py::*fault_24_no_page*",
    ),
    Breakage(
        26, "a document's link never ends", "whatsapp_logs/links.py",
        "max_age=config.media_link_max_age_s", "max_age=None", "tests/web/test_media.py::*fault_26_a_link_ends*",
    ),
    Breakage(
        26, "a private address is a public one", "whatsapp_logs/config.py",
        "    return address.is_global and not address.is_multicast", "    return bool(address)",
        "tests/security/test_outgoing.py::*fault_26_callbacks_and*",
    ),
    Breakage(
        26, "a redirect is followed", "whatsapp_logs/self_test.py",
        "allow_redirects=False", "allow_redirects=True", "tests/security/test_outgoing.py::*fault_26_a_redirect*",
    ),
    Breakage(
        27, "attempts are counted and not limited", "portal/throttle.py",
        "    return all(n <= limits[who] for who, n in counted)", "    return bool(counted)",
        "tests/portal/test_sign_in.py::*fault_27_guessing*",
    ),
    Breakage(
        27, "an unknown name costs no hash", "portal/people.py",
        "        return None, _HASH_OF_NOBODY", '        return None, "plain$$nothing"',
        "tests/portal/test_sign_in.py::*fault_27_an_unknown*",
    ),
    Breakage(
        27, "a sign-out forgets the cookie only", "portal/sign_ins.py",
        '"DELETE FROM sign_ins WHERE token_hash = %s"', '"DELETE FROM sign_ins WHERE false AND token_hash = %s"',
        "tests/portal/test_sign_in.py::*fault_27_signing_out*",
    ),
    Breakage(
        27, "an administrator's password is enough", "portal/access.py",
        " and not must_set_up_second_factor(g.sign_in)", "", f"{SECOND_FACTOR}::*fault_27_an_administrator*",
    ),
    Breakage(
        27, "the code is not asked for", "portal/auth.py",
        "waits = second_factors.standing(conn, person.user_id).since is not None", "waits = False",
        f"{SECOND_FACTOR}::*fault_27_the_password*",
    ),
    Breakage(
        27, "who has not typed the code counts as signed in", "portal/access.py",
        "if g.sign_in and not g.sign_in.waits_for_code and", "if g.sign_in and", f"{SECOND_FACTOR}::*fault_27_the_password*",
    ),
    Breakage(
        27, "of two who use a link at once both get in", "portal/invitations.py",
        "return used.rowcount == 1", "return True", "tests/portal/test_invitation.py::*fault_27_of_two*",
    ),
)  # fmt: skip


def main() -> int:
    wanted = {int(word) for word in sys.argv[1:]} or {breakage.fault for breakage in BREAKAGES}
    chosen = [breakage for breakage in BREAKAGES if breakage.fault in wanted]
    missed = 0
    for breakage in chosen:
        verdict = _verdict(breakage)
        missed += verdict != "caught"
        print(f"fault {breakage.fault:>2}  {verdict:<10}  {breakage.what}  ({breakage.test})", flush=True)
    print(f"breakages {len(chosen)}, missed {missed}")
    return 1 if missed else 0


def _verdict(breakage: Breakage) -> str:
    with tempfile.TemporaryDirectory(prefix="breakage-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        scratch = Path(folder) / "checkout"
        _copy(scratch)
        if _run(breakage.test, scratch) != 0:
            return "NOT WHOLE"  # the test fails although nothing is broken
        file = scratch / breakage.file
        text = file.read_text()
        if text.count(breakage.old) != 1:
            return "OUTDATED"  # the mechanism is written in other words by now
        file.write_text(text.replace(breakage.old, breakage.new))
        statuses = [_run(breakage.test, scratch) for _ in range(breakage.tries)]
        if max(statuses) > TESTS_FAILED:
            return "NOT RUN"
        return "caught" if TESTS_FAILED in statuses else "MISSED"


def _copy(scratch: Path) -> None:
    """The tracked files as they are now, changes that are not committed included."""
    for name in _tracked():
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def _tracked() -> Iterator[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    yield from (name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


def _run(test: str, scratch: Path) -> int:
    """Pytest's exit status for the tests whose names fit."""
    file, _, pattern = test.partition("::")
    words = " and ".join(part for part in pattern.split("*") if part)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "-p", "no:cacheprovider", file, "-k", words]
    return subprocess.run(command, cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
