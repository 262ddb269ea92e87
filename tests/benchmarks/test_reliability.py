import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.page import replaced
from benchmarks.peers.stock_kills import left_text, slowest, weigh
from benchmarks.peers.stock_life import Leftovers
from benchmarks.peers.stock_notes import (
    Note,
    append_note,
    ended_and_begun_again,
    first_begun,
    heard_and_trained_again,
    key_of,
    knowledge_lost,
    last_epochs,
    number_of,
    read_notes,
    trained_again,
)
from benchmarks.reliability import markdown, rows, verdict

WHOLE = {"a": 3, "b": 9}


def note(event: str, key: str = "a", epoch: int = 0, *, life: int = 0, in_rungs: int = 0) -> Note:
    return Note(life, event, key, epoch, pid=1, at_s=0.0, in_rungs=in_rungs)


def epochs(key: str, first: int, last: int, *, life: int = 0, heard: int | None = None) -> list[Note]:
    """Trained from `first` to `last`, told up to `heard`."""
    told = last if heard is None else heard
    pairs = [
        (note("trained", key, epoch, life=life), note("heard", key, epoch, life=life))
        for epoch in range(first, last + 1)
    ]
    return [one for pair in pairs for one in pair if one.event == "trained" or one.epoch <= told]


KILLED = [
    note("begun"),
    *epochs("a", 1, 3),
    note("ended", "a", 3),
    note("begun", "b"),
    *epochs("b", 1, 4, heard=3),  # and killed
    note("begun", "b", 2, life=1),
    *epochs("b", 3, 9, life=1),
    note("begun", "a", life=1),
    *epochs("a", 1, 1, life=1),
]


def test_an_epoch_counts_as_repeated_once_the_driver_had_recorded_it():
    assert heard_and_trained_again(KILLED) == 2, "epoch 3 of b, epoch 1 of a; nobody was told of epoch 4"
    assert trained_again(KILLED) == 3
    assert ended_and_begun_again(KILLED) == 1
    assert last_epochs(KILLED) == WHOLE
    assert first_begun(KILLED) == ("a", "b")


@given(st.integers(1, 9), st.integers(0, 9))
def test_a_search_that_goes_on_where_it_was_repeats_nothing(last, more):
    notes = [
        note("begun"),
        *epochs("a", 1, last),
        note("begun", "a", last, life=1),
        *epochs("a", last + 1, last + more),
    ]
    assert (heard_and_trained_again(notes), trained_again(notes), ended_and_begun_again(notes)) == (0, 0, 0)
    assert last_epochs(notes) == {"a": last + more}


GONE = Leftovers(0.4, 0.9, ())
SLOW = Leftovers(1.25, 1.5, ())
STAY = Leftovers(2.0, None, ("agent",))


def test_a_killed_search_is_weighed_against_the_undisturbed_one():
    killed = weigh(KILLED, ["b", "c"], WHOLE, [SLOW, GONE])
    assert (killed.deaths, killed.heard_again, killed.ended_again) == (2, 2, 1)
    assert (killed.epochs, killed.trials, killed.same_params, killed.same_length) == (12, 2, 1, 1)
    assert killed.lost == 1, "a began, and is in no result"
    assert killed.left == SLOW
    assert "deaths: 2; epochs trained again that the driver had been told of: **2** (the whole" in killed.text()
    shorter = weigh(KILLED, ["a", "b"], WHOLE | {"b": 3}, [GONE])
    assert (shorter.same_params, shorter.same_length) == (2, 1)


def test_of_several_deaths_the_slowest_is_told():
    assert left_text(slowest([SLOW, GONE])) == "all gone within 1.5 s"
    assert slowest([STAY, SLOW, STAY]) == STAY
    assert left_text(STAY) == "the trial's own gone within 2.0 s; left after 20 s: agent"
    never = Leftovers(None, None, ("ray",))
    assert left_text(slowest([STAY, never])) == "the trial's own there after 20 s; left after 20 s: agent, ray"


def test_what_is_known_is_compared_across_each_death():
    heard = [(0, 1), (0, 5), (1, 2), (1, 4), (2, 4)]
    notes = [note("heard", life=life, in_rungs=known) for life, known in heard]
    assert knowledge_lost([*notes, note("trained", life=2, in_rungs=9)], "in_rungs") == [(5, 2), (4, 4)]
    assert knowledge_lost(notes[:2], "in_rungs") == []


def test_notes_round_trip_without_an_unfinished_line(tmp_path):
    file = tmp_path / "notes"
    assert read_notes(file) == []
    keys = [key_of({"x": 1.5, "b": 2}), key_of({"b": 3, "x": 1.5})]
    assert key_of({"b": 2, "x": 1.5}) == keys[0]
    written = [replace(note("begun"), key=key) for key in (*keys, keys[0])]
    for one in written:
        append_note(file, one)
    with file.open("ab") as torn:
        torn.write(b'{"life": 0, "ev')
    assert read_notes(file) == written
    assert [number_of(file, key) for key in keys] == [0, 1]


def test_the_line_holds_where_stock_repeats_what_it_had_been_told():
    killed = weigh(KILLED, ["a"], WHOLE, [GONE])
    line = json.loads(json.dumps(verdict([replace(killed, heard_again=0, num_to_keep=2), killed])))
    assert (line["ours"], line["peer"], line["peer_num_to_keep_2"], line["holds"]) == (0, 2, 0, True)
    assert not verdict([replace(killed, heard_again=0)])["holds"]
    assert not verdict([])["holds"], "nothing was measured"


def test_a_cell_ends_neither_its_line_nor_its_column():
    assert markdown(("a", "b"), [("one|two", "three\nfour")]) == "| a | b |\n| --- | --- |\n| one/two | three four |"


def test_every_row_names_one_of_our_tests():
    from benchmarks.__main__ import ROOT
    from benchmarks.peers.stock_kills import Undisturbed
    from benchmarks.peers.stock_script import Setup

    whole = Undisturbed(Setup(), WHOLE)
    named = [part for row in rows(whole, whole) for part in row.ours.split("`") if part.endswith(".py")]
    assert len(named) >= 14
    for name in named:
        assert (ROOT / "tests" / "search" / name).is_file(), name


MARK = "<!-- benchmark: reliability -->"


@pytest.mark.parametrize("page", ["# By hand\n\ntext\n", f"# By hand\n\ntext\n\n{MARK}\n\nold\n"])
def test_the_section_is_the_end_of_a_page_written_by_hand(page):
    assert replaced(page, "reliability", "new\n") == f"# By hand\n\ntext\n\n{MARK}\n\nnew\n"


def test_another_benchmarks_section_stays():
    other = "<!-- benchmark: other -->\n\nit\n"
    assert (
        replaced(f"by hand\n\n{MARK}\n\nold\n\n{other}", "reliability", "new\n")
        == f"by hand\n\n{MARK}\n\nnew\n\n{other}"
    )
    assert replaced(f"by hand\n\n{other}", "reliability", "new\n") == f"by hand\n\n{other}\n{MARK}\n\nnew\n"
