"""Who reads the root. Time is a number here."""

from modelfs import visits
from modelfs.visits import PAUSE_S, WALK_S, WALK_S_FOR_EACH, Visits

POLLER, OTHER = 7, 8


def test_lookups_of_a_poll_are_told_however_long_it_takes_as_long_as_it_goes_on() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=1000)
    now_s = 0.0
    while now_s < WALK_S + 1000 * WALK_S_FOR_EACH - 1:
        now_s += PAUSE_S * 0.9
        assert seen.is_polling(POLLER, now_s)
        now_s += PAUSE_S * 0.9
        seen.note_request(POLLER, now_s)  # it opens folders and stats files in between
    assert not seen.is_polling(POLLER, WALK_S + 1000 * WALK_S_FOR_EACH + 0.1)


def test_who_has_not_read_the_root_is_no_poll() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=3)
    assert not seen.is_polling(OTHER, 0.01)
    seen.note_request(OTHER, 0.02)
    assert not seen.is_polling(OTHER, 0.03)


def test_a_load_from_the_thread_that_served_the_index_is_none_of_its_poll() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=3)
    assert not seen.is_polling(POLLER, 0.1)


def test_a_pause_is_noticed_by_whatever_is_asked_first_and_costs_one_lookup() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=3)
    seen.note_request(POLLER, 0.2)  # the root's own attributes
    seen.note_request(POLLER, 0.21)
    assert not seen.is_polling(POLLER, 0.22)
    assert seen.is_polling(POLLER, 0.23)
    assert not seen.is_polling(POLLER, 0.4)


def test_a_root_that_takes_long_to_read_is_no_pause() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=10**6)
    for step in range(100):
        seen.note_more(step * PAUSE_S)
    assert seen.is_polling(POLLER, 99 * PAUSE_S + 0.01)


def test_who_reads_the_root_again_begins_anew() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 0.0, names=3)
    seen.note_request(POLLER, 5.0)
    seen.note_reading(POLLER, 6.0, names=3)
    assert seen.is_polling(POLLER, 6.01)


def test_who_knows_a_name_that_has_gone_is_told_from_who_does_not() -> None:
    seen = Visits()
    seen.note_reading(POLLER, 10.0, names=3)
    assert seen.has_read_before(POLLER, 11.0)
    assert not seen.has_read_before(OTHER, 11.0)
    assert not seen.has_read_before(POLLER, 10.0)
    seen.note_request(POLLER, 10.0 + visits.LONG_PAUSE_S / 2)
    assert seen.has_read_before(POLLER, 11.0)
    seen.note_request(POLLER, 10.1 + 1.5 * visits.LONG_PAUSE_S)
    assert not seen.has_read_before(POLLER, 11.0)  # a load, that comes after the poll


def test_no_more_threads_are_remembered_than_is_good() -> None:
    seen = Visits()
    for thread in range(5 * visits.KEPT):
        seen.note_reading(thread, 1.0, names=0)
    assert len(seen._visits) == visits.KEPT
    assert seen.is_polling(5 * visits.KEPT - 1, 1.01)
