"""The command line: `python -m whatsapp_logs worker | migrate | refresh | reconcile | restored | export | templates |
simulate | doctor`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

from whatsapp_logs.errors import ConfigError, WhatsAppLogsError

_POLL_S = 0.5


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit status: 0 done, 1 it could not be done (said on standard error), 2 not a command."""
    verb, *arguments = argv or ["help"]
    command = _COMMANDS.get(verb)
    if command is None:
        print(__doc__, file=sys.stderr if verb not in ("help", "-h", "--help") else sys.stdout)
        return 0 if verb in ("help", "-h", "--help") else 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return command(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
    except WhatsAppLogsError as error:
        print(f"whatsapp_logs {verb}: {error}", file=sys.stderr)
    except BrokenPipeError:
        sys.stdout = None  # whoever read is gone, and Python would complain when it ends
    except KeyboardInterrupt:
        return 130
    return 1


def _worker(arguments: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="whatsapp_logs worker", description="Do the jobs: send, refresh, sweep.").parse_args(
        arguments
    )
    from whatsapp_logs import jobs
    from whatsapp_logs.service import WhatsAppService

    service = WhatsAppService.from_env()
    service.check_schema()
    _ = service.desk.records  # what cannot be loaded is said now, and not to a customer's message
    gc.collect()
    gc.freeze()  # what the program consists of stays: no collection of garbage looks through it again
    try:
        jobs.work(service)
    finally:
        service.close()
    return 0


def _migrate(arguments: Sequence[str]) -> int:
    from whatsapp_logs import migration_command

    arguments = list(arguments)
    if "--sql" in arguments:
        arguments.remove("--sql")
    elif not {"--apply", "--describe"} & set(arguments):
        arguments.append("--apply")
    return migration_command.main(arguments)


def _refresh(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="whatsapp_logs refresh", description="Ask Twilio about every message under way."
    )
    parser.parse_args(arguments)
    from whatsapp_logs.service import WhatsAppService

    service = WhatsAppService.from_env()
    run = service.refresh_all(started_by="command line")
    service.run_refresh(run.id)  # does nothing when a worker has begun it already
    while not run.is_finished:
        time.sleep(_POLL_S)
        run = service.refresh_progress(run.id) or run
    print(f"{run.found} to ask about, {run.asked} asked, {run.changed} changed, {run.failed} unknown to Twilio")
    if run.problem:
        print(run.problem, file=sys.stderr)
    return 1 if run.problem else 0


def _reconcile(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="whatsapp_logs reconcile", description="Compare a day's messages with Twilio's list, and repair the log."
    )
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    parser.add_argument(
        "--day", type=date.fromisoformat, default=yesterday, help="a UTC day, like 2026-11-21 (default: yesterday)"
    )
    day = parser.parse_args(arguments).day
    from whatsapp_logs.service import WhatsAppService

    service = WhatsAppService.from_env()
    run = service.reconcile_day(day, started_by="command line")
    service.run_reconciliation(run.id)  # does nothing when a worker has begun it already
    while not (run := service.reconciliation(run.id)).is_finished and run.problem is None:
        time.sleep(_POLL_S)
    if run.problem:
        print(run.problem, file=sys.stderr)
        return 1
    print(f"Reconciled {day}: Twilio {run.theirs}, log {run.ours}, equal {run.equal}")
    for one in service.differences(run.id):
        message = "" if one.message_id is None else f", message {one.message_id}"
        print(f"  {one.kind}: {one.provider_id}{message}, ours {one.ours or '-'}, Twilio's {one.theirs or '-'}")
    return 0


def _restored(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="whatsapp_logs restored",
        description="After restoring an older backup, before worker and web server start: fill the gap, send nothing twice.",
    )
    parser.add_argument(
        "--since", type=date.fromisoformat, help="the first UTC day to reconcile (default: the backup's last)"
    )
    parser.add_argument(
        "--send-rest", action="store_true", help="hours later: send what was held and Twilio's list does not show"
    )
    given = parser.parse_args(arguments)
    from whatsapp_logs import restore
    from whatsapp_logs.service import WhatsAppService

    service = WhatsAppService.from_env()
    if given.send_rest:
        sent, held = restore.send_rest(service.transaction, service.gateway)
        print(f"{sent} messages are sent by the worker now, {held} are held on: look them up in Twilio's console")
        return 0
    held = restore.prepare(service.transaction, now=datetime.now(UTC))
    print(f"{held} messages that waited in the backup are held: they may have been sent since")
    for run in restore.repair(service.transaction, service.gateway, sender=service.config.sender, since=given.since):
        figures = f"Twilio {run.theirs}, log {run.ours}, imported {run.imported}"
        print(f"{run.day}: {figures if run.is_finished else f'the worker goes on: {run.problem}'}")
    print(
        "Start worker and web server. What is still unconfirmed goes with --send-rest, when Twilio's list is sure to be whole."
    )
    return 0


def _export(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="whatsapp_logs export",
        description="Write the log to standard output, newest message first, numbers in full.",
    )
    parser.add_argument("--format", choices=("csv", "xlsx"), default="csv")
    parser.add_argument("--since", help="the first day, like 2026-11-01, in the office's time zone")
    parser.add_argument("--until", help="the last day, included")
    parser.add_argument("--status", action="append", default=[], help="may be given several times")
    parser.add_argument("--type", action="append", default=[], help="may be given several times")
    given = parser.parse_args(arguments)
    if sys.stdout.isatty():
        parser.error("a file is meant: add > messages." + given.format)
    from whatsapp_logs.access_log import Act, Look, asked
    from whatsapp_logs.export import Reader
    from whatsapp_logs.filters import MessageFilter
    from whatsapp_logs.service import WhatsAppService

    service = WhatsAppService.from_env()
    zone = service.config.zone
    days = {"date_from": [given.since or ""], "date_to": [given.until or ""]}
    wanted = MessageFilter.from_query(days | {"status": given.status, "type": given.type}, zone=zone)
    person = f"{os.environ.get('USER') or os.geteuid()} (command line)"
    service.note_access(Look(person=person, act=Act.EXPORTED, about=asked(wanted) | {"format": given.format}))
    for block in service.export(wanted, Reader(name=person, zone=zone), form=given.format):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()
    return 0


def _templates(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="whatsapp_logs templates", description="The catalogue of templates: compare it with Twilio's, or list it."
    )
    parser.add_argument("what", choices=("sync", "list"))
    what = parser.parse_args(arguments).what
    from whatsapp_logs.service import WhatsAppService

    with closing(WhatsAppService.from_env()) as service:
        if what == "sync":
            done = service.synchronise_templates(asked_by="command line")
            print(f"Twilio has {done.listed} templates: {done.new} new here, {done.changed} changed")
        entries = service.template_entries()
    for one in (entry.latest for entry in entries):
        print(f"{one.name:<40} {one.language:<6} version {one.version:<3} {one.approval:<12} {one.content_sid or '-'}")
    return 0


def _simulate(arguments: Sequence[str]) -> int:
    from whatsapp_logs.twilio.simulator.__main__ import main as simulate

    return simulate(list(arguments)) or 0


def _doctor(arguments: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="whatsapp_logs doctor", description="Check every part and say what to do.").parse_args(
        arguments
    )
    logging.getLogger().setLevel(logging.CRITICAL)  # the findings are the output
    from whatsapp_logs import doctor
    from whatsapp_logs.config import Config

    findings = doctor.examine(Config.from_env())
    for finding in findings:
        print(finding)
    return 0 if all(finding.is_well for finding in findings) else 1


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "worker": _worker,
    "migrate": _migrate,
    "refresh": _refresh,
    "reconcile": _reconcile,
    "restored": _restored,
    "export": _export,
    "templates": _templates,
    "simulate": _simulate,
    "doctor": _doctor,
}
