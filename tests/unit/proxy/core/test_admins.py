"""Admins: attempts are counted before anything else, sessions end, nobody learns which names there are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.core.admin_ports import Admin, AdminSession
from chatproxy.core.admins import Admins
from chatproxy.errors import InvalidRequest, NotFound, RateLimited, WrongPassword
from tests.unit.proxy.admins import MemoryAdmins, MemoryAdminSessions, QuickHasher
from tests.unit.proxy.memory import MemoryUsage

PASSWORD = "correct horse battery"
HERE = "10.13.13.2"


class Door:
    """Admins on fakes, at a time that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 17, 9, 0, tzinfo=UTC)
        self.admins, self.sessions, self.hasher = MemoryAdmins(), MemoryAdminSessions(), QuickHasher()
        self.known = Admins(self.admins, self.sessions, self.hasher, MemoryUsage(), clock=lambda: self.moment)
        self.known.set_password("anna", PASSWORD)

    def wrong(self, name: str = "anna", address: str = HERE) -> bool:
        """Whether a wrong password was looked at, False where there had been too many."""
        try:
            self.known.log_in(name, "wrong", address)
        except WrongPassword:
            return True
        except RateLimited:
            return False
        raise AssertionError("a wrong password opened the door")

    def log_in(self, password: str = PASSWORD, address: str = HERE) -> tuple[str, AdminSession]:
        return self.known.log_in("anna", password, address)


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_session_is_known_by_its_token_alone(door: Door) -> None:
    token, session = door.log_in()
    assert door.known.session(token) == session
    for other in ("", session.digest, token[:-1], token + "x", "\udcff"):
        assert door.known.session(other) is None
    assert token not in repr(door.sessions.sessions)
    assert door.log_in()[0] != token and door.log_in()[1].csrf != session.csrf


@pytest.mark.parametrize(("idle", "lives"), [(29, True), (30, False)])
def test_a_session_ends_half_an_hour_after_its_last_use(door: Door, idle: int, lives: bool) -> None:
    token, _ = door.log_in()
    door.moment += timedelta(minutes=20)
    assert door.known.session(token)
    door.moment += timedelta(minutes=idle)
    assert (door.known.session(token) is not None) == lives


def test_a_session_ends_after_twelve_hours_however_much_it_is_used(door: Door) -> None:
    token, _ = door.log_in()
    for _ in range(12 * 6 - 1):
        door.moment += timedelta(minutes=10)
        assert door.known.session(token)
    door.moment += timedelta(minutes=10)
    assert door.known.session(token) is None


def test_what_a_page_asks_by_itself_keeps_no_session_alive(door: Door) -> None:
    token, _ = door.log_in()
    for _ in range(2):
        door.moment += timedelta(minutes=10)
        assert door.known.session(token, used=False)
    door.moment += timedelta(minutes=10)
    assert door.known.session(token, used=False) is None


def test_logging_out_ends_one_session_and_a_new_password_all(door: Door) -> None:
    first, second, third = (door.log_in() for _ in range(3))
    door.known.log_out(first[1])
    assert door.known.session(first[0]) is None and door.known.session(second[0])
    door.known.set_password("anna", "another password")
    assert door.known.session(second[0]) is door.known.session(third[0]) is None
    with pytest.raises(WrongPassword):
        door.log_in()
    token, _ = door.log_in("another password")
    door.known.remove("anna")
    assert door.known.session(token) is None


def test_a_password_changed_in_the_middle_of_a_log_in_lets_nobody_in(door: Door) -> None:
    other = Admins(door.admins, door.sessions, QuickHasher(), MemoryUsage())

    class ChangedMeanwhile(MemoryAdminSessions):
        def add(self, session: AdminSession) -> None:
            other.set_password("anna", "another password")
            super().add(session)

    sessions = ChangedMeanwhile()
    known = Admins(door.admins, sessions, door.hasher, MemoryUsage())
    with pytest.raises(WrongPassword):
        known.log_in("anna", PASSWORD, HERE)
    assert sessions.sessions == {}


def test_ten_may_fail_from_one_address_in_an_hour(door: Door) -> None:
    assert [door.wrong(f"n{number}") for number in range(12)] == [True] * 10 + [False] * 2
    with pytest.raises(RateLimited) as caught:
        door.log_in()  # the right password as well
    assert caught.value.retry_after == 3600
    assert door.log_in(address="10.13.13.3")
    door.moment += timedelta(hours=1)
    assert door.log_in()


def test_twenty_five_may_fail_with_one_name_and_sixty_in_all(door: Door) -> None:
    tried = [door.wrong("anna", f"10.13.13.{number}") for number in range(10, 37)]
    assert tried == [True] * 25 + [False] * 2
    tried = [door.wrong(f"n{number}", f"10.13.14.{number}") for number in range(40)]
    assert tried == [True] * 35 + [False] * 5


def test_a_device_alone_locks_no_name_out_with_both_its_addresses(door: Door) -> None:
    for _ in range(50):
        door.wrong("anna", HERE)
        door.wrong("anna", "fd13:13:13::2")
    assert door.log_in(address="10.13.13.3")


def test_a_new_password_lets_its_owner_in_at_once(door: Door) -> None:
    for number in range(80):
        door.wrong("anna", f"10.13.13.{2 + number % 8}")
    assert not door.wrong("anna", HERE)
    door.moment += timedelta(seconds=1)
    door.known.set_password("anna", "another long password")
    assert door.log_in("another long password", HERE)


def test_peers_of_one_network_of_ipv6_count_each_for_itself(door: Door) -> None:
    assert [door.wrong(address="fd00::2") for _ in range(11)][-1] is False
    assert door.log_in(address="fd00::3")


def test_what_succeeds_is_not_counted(door: Door) -> None:
    for _ in range(100):
        door.log_in()
    assert [door.wrong() for _ in range(11)] == [True] * 10 + [False]


def test_many_at_the_same_moment_are_no_more_than_the_limit(door: Door) -> None:
    start = threading.Barrier(32)

    def attempt(_: int) -> bool:
        start.wait()
        return door.wrong()

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(attempt, range(32))) == 10
    assert door.hasher.verified == 10


@pytest.mark.parametrize("name", ["nobody", "Not A Name", "", "a" * 500, "admin\x00", "$ne"])
def test_an_unknown_name_takes_a_hashs_time(door: Door, name: str) -> None:
    door.wrong()
    before = door.hasher.verified
    assert door.wrong(name)
    assert door.hasher.verified == before + 1
    hashed = door.hasher.hashed
    door.wrong(name)
    assert door.hasher.hashed == hashed  # the one that nobody's password is compared with is made once


@pytest.mark.parametrize("name", ["", "Anna", "a b", "-a", "a" * 33, "ä", "../x"])
def test_names_are_plain(door: Door, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        door.known.set_password(name)


@pytest.mark.parametrize(
    "password", ["short", "x" * 201, "eleven char", "with\nline ends", "\udcff" * 12, "a" * 12 + "\x00"]
)
def test_passwords_are_long_and_can_be_typed(door: Door, password: str) -> None:
    with pytest.raises(InvalidRequest, match="password"):
        door.known.set_password("anna", password)
    assert door.log_in()


def test_a_password_is_the_same_however_a_keyboard_composes_it(door: Door) -> None:
    door.known.set_password("anna", "Stra\u00dfenbahn f\u00e4hrt")
    assert door.log_in("Stra\u00dfenbahn fa\u0308hrt")


def test_a_password_is_made_up_where_none_is_given(door: Door) -> None:
    made = {door.known.set_password("berta") for _ in range(3)}
    assert len(made) == 3 and all(len(each) >= 20 for each in made)
    assert [admin.name for admin in door.known.all()] == ["anna", "berta"]


def test_a_new_password_leaves_when_an_admin_was_made(door: Door) -> None:
    made = door.moment
    door.moment += timedelta(days=3)
    door.known.set_password("anna", "another password")
    admin = door.admins.find("anna")
    assert isinstance(admin, Admin)
    assert (admin.created_at, admin.changed_at) == (made, door.moment)


def test_who_is_not_there_cannot_be_taken_away(door: Door) -> None:
    with pytest.raises(NotFound):
        door.known.remove("nobody")
