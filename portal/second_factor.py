"""The second factor's pages: the code at sign-in, setting it up, recovery codes, turning it off."""

from __future__ import annotations

import logging
import time

import segno
from flask import Blueprint, abort, redirect, render_template, request, session, url_for
from psycopg import Connection
from werkzeug.wrappers import Response

from portal import notes, second_factors, sign_ins, throttle
from portal.access import TOKEN, current_sign_in, me, my_sign_in, needs_second_factor, portal_config, public, requires
from portal.auth import TOO_MANY, address, let_in
from portal.database import database
from portal.destination import destination
from portal.people import Person
from portal.sealing import CannotOpen, Seal
from whatsapp_logs import Right

second_factor = Blueprint("second_factor", __name__)
log = logging.getLogger(__name__)

WRONG_CODE = (
    "That code is not right, or was used already. Wait for the next one, and check that your phone’s clock is right."
)
WRONG_RECOVERY_CODE = "That is not one of your recovery codes, or it was used already."
UNREADABLE = (
    "Your codes cannot be checked: the portal’s secret key was changed. Use a recovery code, "
    "or ask an administrator to reset your second factor."
)
FEW = 3  # recovery codes: so many left are worth a word


@second_factor.get("/sign-in/code")
@public
def ask() -> str | Response:
    """The form, for whoever has just entered the right password."""
    if _waiting() is None:
        return redirect(url_for("auth.sign_in", next=request.args.get("next") or None))
    return _code_form()


@second_factor.post("/sign-in/code")
@public
def check() -> Response | tuple[str, int]:
    """A right code lets them in; five wrong ones in five minutes have to wait, from wherever they come."""
    person = _waiting()
    if person is None:
        return redirect(url_for("auth.sign_in", next=request.form.get("next") or None), 303)
    code, recovery_code = request.form.get("code", "")[:20], request.form.get("recovery_code", "")[:50]
    counted_as = f"code of {person.username}"
    with database() as conn:
        may_try = throttle.count_attempt(conn, counted_as, address(), most_of_person=throttle.LIMIT_CODES)
    if not may_try:
        log.warning("second factor throttled user=%s address=%s", person.username, address())
        return _code_form(TOO_MANY, recovery=bool(recovery_code)), 429
    with database() as conn:
        try:
            is_right = _is_right(conn, person, code, recovery_code)
        except CannotOpen as problem:
            log.error("second factor unreadable user=%s: %s", person.username, problem)
            return _code_form(UNREADABLE), 503
        if is_right:
            throttle.forget_attempts(conn, counted_as, address())
            sign_ins.end(conn, session[TOKEN])
            token = sign_ins.begin(conn, person, address=address(), browser=request.user_agent.string)
            left = second_factors.standing(conn, person.user_id).recovery_codes
    if not is_right:
        log.info("second factor refused user=%s address=%s", person.username, address())
        return _code_form(WRONG_RECOVERY_CODE if recovery_code else WRONG_CODE, recovery=bool(recovery_code)), 401
    let_in(person, token)
    if recovery_code:
        _say_how_many_are_left(left)
    return redirect(destination(), 303)


@second_factor.get("/account/second-factor")
@requires(Right.SEE, fresh=True, before_second_factor=True)
def set_up() -> str:
    """The QR code, and the form for the first code of it."""
    return _set_up_form()


@second_factor.post("/account/second-factor")
@requires(Right.SEE, fresh=True, before_second_factor=True)
def finish() -> str | tuple[str, int]:
    """The app and we agree: it is on, and the recovery codes are shown, this once."""
    mine, code = my_sign_in(), request.form.get("code", "")[:20]
    user_id = mine.person.user_id
    with database() as conn:
        codes = None
        if second_factors.finish(conn, user_id, code, at=time.time(), seal=_seal()):
            codes = second_factors.new_recovery_codes(conn, user_id)
            sign_ins.end_all(conn, user_id, but=mine.sign_in_id)  # they were made without it
    if codes is None:
        return _set_up_form(WRONG_CODE), 400
    log.info("second factor set up user=%s", mine.person.username)
    return render_template("recovery_codes.html", codes=codes, is_new=True, next=destination_or_account())


@second_factor.get("/account/recovery-codes")
@requires(Right.SEE, fresh=True)
def recovery_codes() -> str:
    """Ask before the old ones end."""
    _require_own()
    return render_template("recovery_codes.html", codes=None)


@second_factor.post("/account/recovery-codes")
@requires(Right.SEE, fresh=True)
def new_recovery_codes() -> str:
    """Ten new ones, shown this once."""
    _require_own()
    with database() as conn:
        codes = second_factors.new_recovery_codes(conn, me().user_id)
    log.info("new recovery codes user=%s", me().username)
    return render_template("recovery_codes.html", codes=codes, is_new=False, next=url_for("account.show"))


@second_factor.get("/account/second-factor/off")
@requires(Right.SEE, fresh=True)
def ask_to_turn_off() -> str:
    """Ask before it ends."""
    _require_own()
    return render_template("second_factor_off.html", must_stay=needs_second_factor(me()))


@second_factor.post("/account/second-factor/off")
@requires(Right.SEE, fresh=True)
def turn_off() -> Response:
    """The password alone lets this person in again, where the office allows that."""
    _require_own()
    if needs_second_factor(me()):
        abort(403)
    with database() as conn:
        second_factors.remove(conn, me().user_id)
    log.info("second factor turned off user=%s", me().username)
    notes.say("Your second factor is off. From now on your password alone signs you in.", "ok")
    return redirect(url_for("account.show"), 303)


def destination_or_account() -> str:
    """Where to go after setting it up: to what was wanted, or back to the account."""
    return destination() if request.values.get("next") else url_for("account.show")


def _waiting() -> Person | None:
    sign_in = current_sign_in()
    return sign_in.person if sign_in and sign_in.waits_for_code else None


def _is_right(conn: Connection, person: Person, code: str, recovery_code: str) -> bool:
    """Use up what was typed. Raises CannotOpen."""
    if recovery_code:
        return second_factors.use_recovery_code(conn, person.user_id, recovery_code)
    return second_factors.use_code(conn, person.user_id, code, at=time.time(), seal=_seal())


def _seal() -> Seal:
    return portal_config().seal


def _require_own() -> None:
    if not my_sign_in().has_second_factor:
        abort(404)


def _say_how_many_are_left(left: int) -> None:
    here, link = url_for("second_factor.recovery_codes"), "make new ones"
    if left <= FEW:
        notes.say(f"You have {left or 'no'} recovery codes left.", "bad", href=here, link=link)
    else:
        notes.say(f"That recovery code is used up; {left} are left. If your phone is lost, set up another.", "ok",
                  href=url_for("second_factor.set_up"), link="set up another phone")  # fmt: skip


def _code_form(problem: str | None = None, *, recovery: bool = False) -> str:
    return render_template("code.html", next=request.values.get("next", ""), problem=problem, recovery=recovery)


def _set_up_form(problem: str | None = None) -> str:
    mine = my_sign_in()
    with database() as conn:
        secret = second_factors.begin(conn, mine.person.user_id, seal=_seal())
    qr = segno.make(second_factors.address(secret, mine.person.username), error="l")
    return render_template(
        "second_factor.html",
        qr=qr.svg_data_uri(border=2, dark="#17222b", light="#ffffff"),
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        replaces=mine.has_second_factor,
        is_required=needs_second_factor(mine.person) and not mine.has_second_factor,
        next=request.values.get("next", ""),
        problem=problem,
    )
