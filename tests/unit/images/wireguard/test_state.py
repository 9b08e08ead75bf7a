"""What is kept stays private and whole, and no address is given twice."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from images.wireguard.vpn.refusal import RefusedError
from images.wireguard.vpn.state import Numbers, Peer, Server, State, check_name

PEER = Peer("laptop", 2, "public", "preshared", "a.org:51820")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_comes_back(state: State) -> None:
    assert (state.server(), state.peers(), state.peer("laptop"), state.config("laptop")) == (None, [], None, None)
    state.keep_server(Server("public", "private"))
    state.keep_peer(PEER)
    state.keep_peer(Peer("first", 1, "a", "b"))
    state.keep_config("laptop", "text")
    again = State(state.folder)
    assert again.server() == Server("public", "private")
    assert [peer.name for peer in again.peers()] == ["first", "laptop"]
    assert (again.peer("laptop"), again.config("laptop")) == (PEER, "text")
    again.forget_peer("laptop")
    assert (state.peer("laptop"), state.config("laptop")) == (None, None)


def test_every_file_is_for_root_alone(state: State) -> None:
    state.keep_server(Server("public", "private"))
    state.keep_peer(PEER)
    state.keep_config("laptop", "text")
    with state.locked():
        files = [path for path in state.folder.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {_mode(file) for file in files} == {0o600}
    assert {_mode(state.folder), _mode(state.folder / "peers")} == {0o700}


def test_a_folder_that_was_left_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    (folder / "laptop.conf").touch(mode=0o644)
    State(folder).prepare()
    assert (_mode(folder), _mode(folder / "laptop.conf")) == (0o700, 0o600)


def test_a_folder_that_cannot_be_used_says_whose_it_must_be(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        State(tmp_path / "none").prepare()
    assert caught.value.id == "wireguard.state_unusable"
    assert "chown" in caught.value.hint


def test_a_broken_file_is_named_and_not_taken_for_none(state: State) -> None:
    (state.folder / "server.json").write_text("{")
    with pytest.raises(RefusedError, match=r"server\.json"):
        state.server()


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(state: State) -> None:
    state.keep_config("laptop", "old")
    with pytest.raises(UnicodeEncodeError):
        state.keep_config("laptop", "new \ud800")
    assert state.config("laptop") == "old"
    assert not [path for path in state.folder.iterdir() if path.name.startswith(".")]


def test_keys_do_not_show_where_objects_are_printed() -> None:
    assert "private" not in repr(Server("public", "private"))
    assert "preshared" not in repr(PEER).replace("preshared_key", "")


def test_numbers_are_given_in_order_and_those_given_back_come_last() -> None:
    first, left = Numbers().take(4)
    assert first == 2
    second, left = left.give_back(2).take(4)
    third, left = left.take(4)
    assert (second, third) == (3, 4)
    fourth, left = left.give_back(3).take(4)
    assert fourth == 2, "the longest free one first"
    fifth, left = left.take(4)
    assert fifth == 3
    with pytest.raises(RefusedError) as caught:
        left.take(4)
    assert caught.value.id == "wireguard.no_address"


def test_a_number_beyond_a_smaller_network_is_not_given_again() -> None:
    with pytest.raises(RefusedError):
        Numbers(next=200, freed=(150,)).take(100)


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a.conf", "a b", "a" * 33, "a\n"])
def test_what_could_be_another_file_is_no_name(name: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_name(name)
    assert caught.value.id == "wireguard.name_invalid"


def _take(folder: Path, given: multiprocessing.Queue[int]) -> None:
    state = State(folder)
    for _ in range(10):
        with state.locked():
            number, left = state.numbers().take(254)
            state.keep_numbers(left)
        given.put(number)


def test_calls_at_the_same_time_never_get_the_same_number(state: State) -> None:
    context = multiprocessing.get_context("fork")
    given: multiprocessing.Queue[int] = context.Queue()
    calls = [context.Process(target=_take, args=(state.folder, given)) for _ in range(4)]
    for call in calls:
        call.start()
    numbers = sorted(given.get(timeout=30) for _ in range(40))
    for call in calls:
        call.join()
    assert numbers == list(range(2, 42))
