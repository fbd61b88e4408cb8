"""Roles: what each may do stands in the database, whoever may manage people changes it, and it counts from the next click."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import psycopg
import pytest

from portal import add_person, migrate, people, roles, staff
from portal.people import EVERY_RIGHT, OWN_RIGHTS, OwnRight, Person, at_first, short_name
from portal.roles import Refused, Wish
from tests.portal.conftest import Browser, Office
from tests.portal.test_people import signed_in
from whatsapp_logs import ROLES, Draft, Right

Open = Callable[[str | None], Browser]
FIRST: Mapping[str, list[str]] = {role: at_first(role) for role in ROLES}
TEXT = "Your excess is two hundred and fifty"


@pytest.fixture(autouse=True)
def roles_as_they_were(office: Office) -> Iterator[None]:
    """The office is shared: after each test its roles, and who has them, are as at the beginning."""
    yield
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE username = 'ken.lane'")
        conn.execute("DELETE FROM roles WHERE NOT is_built_in")
        for role, rights in FIRST.items():
            conn.execute("UPDATE roles SET rights = %s, changed_by = NULL WHERE role = %s", (rights, role))


@pytest.fixture
def ken(office: Office) -> Callable[..., int]:
    """A function that lets Ken Lane in, in a role that is made of the rights; returns his number."""

    def let_in(role: str, *rights: str) -> int:
        with psycopg.connect(office.dsn) as conn:
            conn.execute("DELETE FROM sign_in_attempts")
            conn.execute("INSERT INTO roles (role, rights) VALUES (%s, %s)", (role, list(rights)))
            row = conn.execute(
                """
                INSERT INTO people (username, name, role, password_hash, timezone)
                SELECT 'ken.lane', 'Ken Lane', %s, password_hash, timezone FROM people WHERE username = 'arjun.agent'
                RETURNING user_id
                """,
                (role,),
            ).fetchone()
        assert row
        return int(row[0])

    return let_in


def number(office: Office, username: str) -> int:
    (found,) = office.row("SELECT user_id FROM people WHERE username = %(name)s", name=username)
    assert isinstance(found, int)
    return found


def rights_of(office: Office, role: str) -> set[str]:
    (rights,) = office.row("SELECT rights FROM roles WHERE role = %(role)s", role=role)
    assert isinstance(rights, list)
    return set(rights)


def form_of(anna: Browser) -> dict[str, object]:
    """The page's form as it is shown, with every box as it is."""
    fields = anna.hidden_fields("/roles/", "/roles/")
    shown = {name.removeprefix("shown:"): str(value) for name, value in fields.items() if name.startswith("shown:")}
    return fields | {f"may:{role}": rights.split() for role, rights in shown.items()}


def tick(anna: Browser, role: str, *rights: str, form: dict[str, object] | None = None) -> str:
    """Tick exactly these boxes of the role, and save; returns what the page says then."""
    answer = anna.post("/roles/", (form or form_of(anna)) | {f"may:{role}": list(rights)})
    return anna.get("/roles/").text if answer.status_code == 303 else answer.text


def test_a_new_portal_has_the_four_roles_as_the_program_says_them(new_database: Callable[[], str]) -> None:
    assert {role: set(OWN_RIGHTS[role]) | set(rights) for role, rights in ROLES.items()} == {
        role: {right for right in EVERY_RIGHT if short_name(right) in names} for role, names in FIRST.items()
    }
    with psycopg.connect(new_database()) as conn:
        stored = {each.role: each for each in roles.every(conn)}
    assert {role: sorted(each.rights) for role, each in stored.items()} == {r: sorted(n) for r, n in FIRST.items()}
    assert all(each.is_built_in and each.changed_by is None for each in stored.values())


def test_every_right_has_a_short_name_of_its_own() -> None:
    assert len(roles.KNOWN) == len(EVERY_RIGHT)


def test_the_people_of_an_older_portal_keep_their_roles(new_database: Callable[..., str]) -> None:
    dsn = new_database(migrated=False)
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE portal_migrations (version integer PRIMARY KEY, name text, applied_at timestamptz)")
        for version, name, text in migrate.steps()[:2]:
            conn.execute(text.encode())
            conn.execute("INSERT INTO portal_migrations VALUES (%s, %s, now())", (version, name))
        for role in ROLES:
            conn.execute("INSERT INTO people VALUES (DEFAULT, %(role)s, 'X', %(role)s, 'hash', 'UTC')", {"role": role})
    assert migrate.apply(dsn) == len(migrate.steps()) - 2
    with psycopg.connect(dsn) as conn:
        for role in ROLES:
            person, _ = people.find_by_username(conn, role)
            assert person
            assert (person.role, person.rights) == (role, ROLES[role])
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            people.add(conn, username="x", name="X", role="owner", timezone="UTC")


def test_a_role_with_only_see_and_texts_sees_texts_and_no_numbers(
    office: Office, browser: Open, ken: Callable[..., int]
) -> None:
    message = office.service.send(Draft(to="+447700900777", body=TEXT, client_id="1"))
    log = f"/whatsapp_logs/messages/{message.id}"
    ken("reader", "see", "texts")
    reader = signed_in(browser)
    assert TEXT in reader.get(log).text
    assert "900777" not in reader.get(log).text.replace(" ", "")
    assert TEXT not in browser("vera.viewer").get(log).text
    (phone,) = office.row("SELECT phone FROM clients WHERE client_id = 1")
    assert str(phone)[-7:] not in reader.get("/clients/1").text.replace(" ", "").replace("-", "")
    assert reader.get("/policies/1/document.pdf").status_code == 200
    assert reader.get("/clients/1/edit").status_code == 403
    assert reader.get("/whatsapp_logs/export").status_code == 403
    assert reader.get("/roles/").status_code == 403


def test_a_right_taken_away_or_given_is_felt_by_an_open_session_at_its_next_request(browser: Open) -> None:
    anna, clara = browser("anna.admin"), browser("clara.compliance")
    assert clara.get("/whatsapp_logs/export").status_code == 200
    assert "Saved: compliance." in tick(anna, "compliance", "see", "numbers", "texts", "access_log")
    assert clara.get("/whatsapp_logs/export").status_code == 403
    assert clara.get("/clients/1/edit").status_code == 403
    tick(anna, "compliance", *FIRST["compliance"], "edit_clients", "manage_people")
    assert clara.get("/whatsapp_logs/export").status_code == 200
    assert clara.get("/clients/1/edit").status_code == 200
    assert '<a href="/people/">People</a>' in clara.get("/").text
    assert clara.get("/roles/").status_code == 200


def test_a_request_asks_the_database_as_often_as_before_for_who_asks(
    office: Office, browser: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(cursor: psycopg.Cursor[object], query: object, *given: object, **named: object) -> object:
        asked.append(str(query))
        return execute(cursor, query, *given, **named)  # type: ignore[arg-type]

    agent = browser("arjun.agent")
    agent.get("/account/password")  # its connection is there
    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    agent.get("/clients/999999")
    assert [("FROM sign_ins" in query, "roles" in query) for query in asked if "people" in query] == [(True, True)]
    assert len([query for query in asked if "roles" in query]) == 1


def test_a_name_of_a_right_that_the_program_does_not_know_gives_nothing_and_stays(
    office: Office, browser: Open, ken: Callable[..., int]
) -> None:
    ken("reader", "see", "fly")
    reader = signed_in(browser)
    assert reader.get("/").status_code == 200
    assert reader.get("/policies/1/document.pdf").status_code == 403
    tick(browser("anna.admin"), "reader", "see", "texts")
    assert reader.get("/policies/1/document.pdf").status_code == 200
    assert rights_of(office, "reader") == {"see", "texts", "fly"}


def test_a_new_role_begins_as_a_copy_can_be_given_and_stands_in_every_choice(
    office: Office, browser: Open, ken: Callable[..., int]
) -> None:
    anna, user_id = browser("anna.admin"), ken("reader", "see")
    made = anna.submit("/roles/", "/roles/new", name="  Claims   Desk-2 ", like="compliance")
    assert made.location == "/roles/"
    assert "The role claims desk-2 is there, with the rights of compliance." in anna.get("/roles/").text
    assert rights_of(office, "claims desk-2") == set(FIRST["compliance"])
    for page in ("/people/invite", f"/people/{user_id}"):
        assert '<option value="claims desk-2">Claims desk-2</option>' in anna.get(page).text
    anna.submit(f"/people/{user_id}", f"/people/{user_id}/role", role="claims desk-2")
    assert "Ken Lane is now a claims desk-2." in anna.get(f"/people/{user_id}").text
    answer = anna.submit(
        "/people/invite", "/people/invite", username="ivy.desk", name="Ivy", role="claims desk-2", timezone="UTC"
    )
    assert "/invitation/" in answer.text
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE username = 'ivy.desk'")


@pytest.mark.parametrize(
    ("name", "like", "sentence"),
    [
        ("", "viewer", "A role’s name has lower-case letters, digits, spaces and hyphens, up to 30"),
        ("x" * 31, "viewer", "A role’s name has lower-case letters"),
        ("claims_desk", "viewer", "A role’s name has lower-case letters"),
        ("bürö", "viewer", "A role’s name has lower-case letters"),
        ("<b>", "viewer", "A role’s name has lower-case letters"),
        ("desk\0", "viewer", "A role’s name has lower-case letters"),
        ("-desk", "viewer", "A role’s name has lower-case letters"),
        ("Agent", "viewer", "There is a role of this name already. Choose another name."),
        ("desk", "owner", "Choose the role whose rights the new one begins with."),
    ],
)
def test_a_new_role_that_cannot_be_made_says_why(
    office: Office, browser: Open, name: str, like: str, sentence: str
) -> None:
    answer = browser("anna.admin").submit("/roles/", "/roles/new", name=name, like=like)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert office.row("SELECT count(*) FROM roles") == (4,)


@pytest.mark.parametrize(
    ("role", "rights", "sentence"),
    [
        ("viewer", ["texts"], "Every role may see the log. To keep somebody out, remove them."),
        ("viewer", [], "Every role may see the log. To keep somebody out, remove them."),
        ("viewer", ["see", "fly"], "That is no right of this portal."),
        (
            "administrator",
            [right for right in FIRST["administrator"] if right != "manage_people"],
            "You cannot take the right to manage people from your own role.",
        ),
    ],
)
def test_rights_that_cannot_be_saved_say_why_and_change_no_role(
    office: Office, browser: Open, role: str, rights: list[str], sentence: str
) -> None:
    anna = browser("anna.admin")
    form = form_of(anna) | {"may:agent": ["see"], f"may:{role}": rights}
    answer = anna.post("/roles/", form)
    assert answer.status_code == 400
    assert f"{sentence} Nothing was changed." in answer.text
    assert {each: rights_of(office, each) for each in FIRST} == {each: set(FIRST[each]) for each in FIRST}


def test_boxes_that_somebody_has_changed_meanwhile_are_not_overwritten(office: Office, browser: Open) -> None:
    anna = browser("anna.admin")
    old = form_of(anna)
    tick(anna, "agent", "see", "texts")
    assert "Saved: viewer." in tick(anna, "viewer", "see", "texts", form=old)  # another role's boxes
    assert rights_of(office, "agent") == {"see", "texts"}
    said = tick(anna, "agent", "see", "numbers", form=old)
    assert "Somebody has changed the role agent since you opened this page. Look at it again" in said
    assert rights_of(office, "agent") == {"see", "texts"}


def test_a_role_that_is_gone_is_not_changed_and_boxes_left_alone_change_nothing(
    office: Office, browser: Open, ken: Callable[..., int]
) -> None:
    anna = browser("anna.admin")
    assert anna.post("/roles/", form_of(anna)).status_code == 303
    assert "Nothing was changed: the boxes are as they were." in anna.get("/roles/").text
    gone = form_of(anna) | {"shown:desk": "see"}
    assert "The role desk is not there any more." in tick(anna, "desk", "see", "texts", form=gone)


def test_a_role_is_deleted_only_when_nobody_has_it_and_it_is_not_built_in(
    office: Office, browser: Open, ken: Callable[..., int]
) -> None:
    anna, user_id = browser("anna.admin"), ken("reader", "see")
    token = {"csrf_token": form_of(anna)["csrf_token"]}

    def delete(role: str) -> str:
        answer = anna.post("/roles/delete", {**token, "role": role})
        return anna.get("/roles/").text if answer.status_code == 303 else answer.text

    page = anna.get("/roles/").text
    assert 'action="/roles/delete"' not in page
    assert "This role came with the portal and stays." in delete("viewer")
    assert "Somebody has this role. Give them another one first." in delete("reader")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE people SET removed_at = now() WHERE user_id = %s", (user_id,))
    assert "Somebody who was removed had this role and would come back with it, so it stays." in delete("reader")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE people SET role = 'viewer' WHERE user_id = %s", (user_id,))
    assert 'Delete<span class="hidden"> reader</span>' in anna.get("/roles/").text
    assert "The role reader is deleted." in delete("reader")
    assert "This role is not there any more." in delete("reader")
    assert office.row("SELECT count(*) FROM roles") == (4,)


def test_nobody_is_invited_into_a_role_that_is_not_there(browser: Open) -> None:
    anna = browser("anna.admin")
    facts = {"username": "ivy.desk", "name": "Ivy", "timezone": "UTC"}
    for role in ("desk", "x\0"):
        answer = anna.submit("/people/invite", "/people/invite", **facts, role=role)
        assert (answer.status_code, "Choose a role" in answer.text) == (400, True)


def _at_once(
    dsn: str, first: Callable[[psycopg.Connection], object], second: Callable[[psycopg.Connection], object]
) -> list[object]:
    """Both outcomes, a refusal among them; the second begins before the first is committed, and then waits for it."""
    outcomes: list[object] = []
    done = threading.Event()

    def go(conn: psycopg.Connection) -> None:
        try:
            outcomes.append(second(conn))
        except Refused as refused:
            outcomes.append(refused)
        finally:
            done.set()

    with psycopg.connect(dsn, autocommit=True) as watch, psycopg.connect(dsn) as late:
        with psycopg.connect(dsn) as early:
            outcomes.append(first(early))
            thread = threading.Thread(target=go, args=[late])
            thread.start()
            waits = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            while not done.is_set() and watch.execute(waits, (late.info.backend_pid,)).fetchone() != (True,):
                pass
            assert not done.is_set(), "the second did not wait for the first"
        thread.join()
    return outcomes


def strip(role: str, of: str, *, by: int) -> Callable[[psycopg.Connection], object]:
    """A change that leaves the role nothing but `see`."""
    wish = Wish(frozenset(of.split()), frozenset({"see"}))
    return lambda conn: roles.save(conn, {role: wish}, by=by)


def test_of_two_who_take_managing_from_each_others_role_at_once_one_keeps_it(
    office: Office, ken: Callable[..., int]
) -> None:
    boss, anna = ken("boss", "see", "manage_people"), number(office, "anna.admin")
    outcomes = _at_once(
        office.dsn,
        strip("boss", "see manage_people", by=anna),
        strip("administrator", " ".join(FIRST["administrator"]), by=boss),
    )
    assert outcomes[0] == ["boss"]
    assert str(outcomes[1]).startswith("You may no longer manage people: somebody has just changed that. One who may")
    assert rights_of(office, "administrator") == set(FIRST["administrator"])


def test_who_is_removed_while_they_take_managing_from_the_other_does_not_take_it(
    office: Office, ken: Callable[..., int]
) -> None:
    boss, anna = ken("boss", "see", "manage_people"), number(office, "anna.admin")

    def remove_ken(conn: psycopg.Connection) -> object:
        assert staff.may_still_change(conn, who=anna, whom=boss)
        return staff.remove(conn, boss)

    outcomes = _at_once(office.dsn, remove_ken, strip("administrator", " ".join(FIRST["administrator"]), by=boss))
    assert isinstance(outcomes[1], Refused)


def test_who_loses_managing_while_they_remove_the_other_does_not_remove_them(
    office: Office, ken: Callable[..., int]
) -> None:
    boss, anna = ken("boss", "see", "manage_people"), number(office, "anna.admin")
    outcomes = _at_once(
        office.dsn,
        strip("boss", "see manage_people", by=anna),
        lambda conn: staff.may_still_change(conn, who=boss, whom=anna),
    )
    assert outcomes == [["boss"], False]


def test_a_role_deleted_while_somebody_is_given_it_is_not_given(office: Office, browser: Open) -> None:
    anna = number(office, "anna.admin")
    browser("anna.admin").submit("/roles/", "/roles/new", name="desk", like="viewer")
    outcomes = _at_once(
        office.dsn, lambda conn: roles.delete(conn, "desk", by=anna), lambda conn: roles.keep(conn, "desk")
    )
    assert outcomes == [None, False]


def test_a_role_given_while_it_is_deleted_stays(office: Office, browser: Open) -> None:
    anna = number(office, "anna.admin")
    browser("anna.admin").submit("/roles/", "/roles/new", name="desk", like="viewer")

    def invite(conn: psycopg.Connection) -> object:
        assert roles.keep(conn, "desk")
        return staff.invite(conn, username="ken.lane", name="Ken", role="desk", timezone="UTC")

    outcomes = _at_once(office.dsn, invite, lambda conn: roles.delete(conn, "desk", by=anna))
    assert str(outcomes[1]) == "Somebody has this role. Give them another one first."
    assert rights_of(office, "desk") == {"see"}


def test_every_change_of_roles_is_written_down_for_good(office: Office, browser: Open) -> None:
    anna = browser("anna.admin")
    tick(anna, "agent", "see", "texts", "export")
    anna.submit("/roles/", "/roles/new", name="desk", like="viewer")
    anna.submit("/roles/", "/roles/delete")
    with psycopg.connect(office.dsn) as conn:
        gone, made, changed = roles.history(conn, limit=3)
        assert (made.role, made.before, made.after, made.changed_by) == ("desk", None, ["see"], "anna.admin")
        assert (gone.role, gone.before, gone.after) == ("desk", ["see"], None)
        assert (changed.role, changed.given) == ("agent", {"export"})
        assert changed.taken == {"numbers", "refresh", "send", "campaigns", "edit_clients"}
    page = anna.get("/roles/").text
    assert (
        "May now export the log; may no longer see full phone numbers, refresh statuses, send messages, "
        "prepare campaigns, correct clients&#39; contact details"
    ) in page
    for sql in ("UPDATE role_changes SET role = 'x'", "DELETE FROM role_changes", "TRUNCATE role_changes"):
        with psycopg.connect(office.dsn) as owner, pytest.raises(psycopg.errors.RaiseException):
            owner.execute(sql.encode())


def test_the_page_asks_for_the_password_again_and_so_does_every_form(office: Office, browser: Open) -> None:
    anna = signed_in(browser, "anna.admin")
    fields = anna.hidden_fields("/", "/sign-out")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE sign_ins SET confirmed_at = now() - interval '11 minutes'")
    assert anna.get("/roles/").location == "/sign-in/confirm?next=/roles/"
    for form in ("/roles/", "/roles/new", "/roles/delete"):
        assert anna.post(form, fields).location == f"/sign-in/confirm?next={form}"
    for form in ("/roles/new", "/roles/delete"):  # a form's address, confirmed: its page lies above it
        assert anna.client.get(form, follow_redirects=True).request.path == "/sign-in/confirm"
    office.cookies.clear()  # the shared sign-ins are no longer fresh


def test_each_box_says_what_it_is_and_people_lead_here(browser: Open) -> None:
    anna = browser("anna.admin")
    assert 'href="/roles/">Roles</a>' in anna.get("/people/").text
    page = anna.get("/roles/").text
    assert page.count('type="checkbox"') == len(FIRST) * len(EVERY_RIGHT)
    assert '<span class="which">Agent<span class="hidden">: export the log</span></span>' in page


def test_a_session_from_before_roles_could_be_changed_keeps_its_menu_in_an_outage() -> None:
    old = {"user_id": 1, "username": "anna.admin", "name": "Anna", "role": "administrator", "timezone": "UTC"}
    anna = people.remembered(old)
    assert anna
    assert anna.may(OwnRight.MANAGE_PEOPLE)
    stranger = people.remembered(old | {"role": "a role of later"})
    assert stranger
    assert not stranger.may(Right.SEE)
    assert people.remembered(old | {"shoe_size": 44}) is None
    assert people.remembered({}) is None
    now = Person(**old, granted=["see", "export"])  # type: ignore[arg-type]
    assert people.remembered(people.as_remembered(now)) == now


def test_an_operator_lets_somebody_in_by_a_role_of_the_offices_own(
    office: Office, ken: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ken("night desk", "see")
    monkeypatch.setenv("DATABASE_URL", office.dsn)
    assert add_person.main(["ken.lane", "Night desk"]) == 0
    assert "(night desk)" in capsys.readouterr().out
    assert add_person.main(["ken.lane", "owner"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "run person: there is no role owner. There are: administrator, agent, compliance, viewer, night desk.\n"
    )
