"""R1 to R4 on a Triton that polls a mount while the mount's store has a bad day: nothing of it may be noticed.

Each storm lasts until listings and polls enough have met it, however long that takes. ``tests/soak/availability.sh``
has all of them, and the ones that last for minutes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Fault
from soak.availability import cut_in_a_load, load_weights
from soak.storms import READ_EFFECTS, STORMS
from soak.weather import Weather, weather

SIZE = 5_000_000


@pytest.fixture(scope="module")
def place(triton: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weather]:
    """Have a Triton poll three models, on a mount whose listing takes three pages."""
    with weather(triton, tmp_path_factory.mktemp("weather")) as place:
        yield place


@pytest.mark.parametrize("name", ["away", "listings: no answer", "listings: goes on too long", "lets somebody else in"])
def test_r1_a_store_that_is_away_stalls_lies_or_refuses_unloads_nothing(place: Weather, name: str) -> None:
    place.outlast(STORMS[name])


@pytest.mark.parametrize("name", ["page 2 of 3: 500", "page 3 of 3: ends too soon"])
def test_r2_a_page_that_fails_takes_nothing_away(place: Weather, name: str) -> None:
    assert place.outlast(STORMS[name])


def test_r3_a_repository_that_is_empty_in_one_listing_unloads_nothing(place: Weather) -> None:
    assert place.outlast(STORMS["empty for one listing"]) >= 2


@pytest.mark.parametrize("name", ["reset in the middle", "ends too soon", "other bytes, admitted"])
def test_r4_a_load_outlives_faults_of_its_reads_and_has_every_byte(place: Weather, name: str) -> None:
    fault = place.store.fail(Fault(READ_EFFECTS[name], kind="get", key="*/weights", every=2, times=4))
    load_weights(place, "two", SIZE)
    assert fault.hits
    place.store.heal(fault)


def test_r4_a_load_waits_while_the_network_is_cut_and_then_succeeds(place: Weather) -> None:
    cut_in_a_load(place, "three", SIZE, for_s=3)


def test_r1_what_changed_is_served_when_the_store_is_back(place: Weather) -> None:
    with STORMS["away"](place.store):
        place.watch(lambda: not place.figures()[1])
    place.change("one")
