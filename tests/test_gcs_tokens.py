"""When a token of Google's is renewed, in virtual time."""

import logging
import threading
from collections.abc import Hashable

import pytest

from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError
from modelfs.gcs_tokens import Token, Tokens

HOUR_S = 3600.0


class Fake:
    """An issuer and a clock: tokens of an hour, "1", "2" …; or an error."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked = 0
        self.lifetime_s = HOUR_S
        self.error: ModelfsError | None = None
        self.now_edition = "a"
        self.tokens = Tokens(self, clock=lambda: self.now_s)

    def ask(self) -> Token:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Token(str(self.asked), self.now_s + self.lifetime_s, "a test")

    def edition(self) -> Hashable:
        return self.now_edition

    def principal(self) -> str:
        return "me"

    @property
    def value(self) -> str:
        return self.tokens().value


@pytest.fixture
def fake() -> Fake:
    return Fake()


def test_token_is_asked_for_when_it_is_first_needed_and_once(fake: Fake) -> None:
    assert fake.asked == 0
    assert [fake.value, fake.value] == ["1", "1"]


def test_token_is_renewed_five_minutes_before_its_end(fake: Fake) -> None:
    assert fake.value == "1"
    fake.now_s += HOUR_S - 301
    assert fake.value == "1"
    fake.now_s += 1
    assert fake.value == "2"


def test_short_token_is_renewed_at_its_half(fake: Fake) -> None:
    fake.lifetime_s = 100
    assert fake.value == "1"
    fake.now_s += 49
    assert fake.value == "1"
    fake.now_s += 1
    assert fake.value == "2"


def test_failed_renewal_leaves_the_old_token_to_its_end_and_is_not_tried_all_the_time(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    assert fake.value == "1"
    fake.error = StoreUnavailableError("down")
    fake.now_s += HOUR_S - 300
    with caplog.at_level(logging.WARNING):
        assert [fake.value, fake.value] == ["1", "1"]
    assert (fake.asked, len(caplog.records)) == (2, 1)
    fake.now_s += 30
    assert (fake.value, fake.asked) == ("1", 3)
    fake.now_s += 270
    with pytest.raises(StoreUnavailableError, match="down"):
        fake.tokens()
    fake.error = None
    assert fake.value == "5"


def test_first_failure_is_told_and_the_next_call_tries_again(fake: Fake) -> None:
    fake.error = AccessRefusedError("no")
    with pytest.raises(AccessRefusedError):
        fake.tokens()
    fake.error = None
    assert fake.value == "2"


def test_replaced_credentials_are_used_by_the_next_request(fake: Fake) -> None:
    assert fake.value == "1"
    fake.now_edition = "b"
    assert [fake.value, fake.value] == ["2", "2"]


def test_replaced_credentials_that_are_no_good_leave_the_old_token(fake: Fake) -> None:
    assert fake.value == "1"
    fake.now_edition, fake.error = "b", AccessRefusedError("no")
    assert [fake.value, fake.value, fake.asked] == ["1", "1", 2]
    fake.now_edition, fake.error = "c", None
    assert fake.value == "3"


def test_refused_token_is_not_sent_again(fake: Fake) -> None:
    token = fake.tokens()
    fake.now_s += 30
    fake.tokens.refused(token)
    assert fake.value == "2"
    fake.now_s += 30
    fake.tokens.refused(token)  # late: it is not the token of now
    assert fake.value == "2"


def test_fresh_token_that_is_refused_is_no_reason_to_ask_again_at_once(fake: Fake) -> None:
    fake.tokens.refused(fake.tokens())
    assert fake.value == "1"


def test_nobody_waits_for_a_renewal_who_has_a_token_that_lasts() -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(Fake):
        def ask(self) -> Token:
            if self.asked:
                asked.set()
                assert answer.wait(30)
            return super().ask()

    fake = Slow()
    assert fake.value == "1"
    fake.now_s += HOUR_S - 100
    renewal = threading.Thread(target=fake.tokens)
    renewal.start()
    assert asked.wait(30)
    assert fake.value == "1"
    answer.set()
    renewal.join(30)
    assert fake.value == "2"


def test_token_is_not_shown() -> None:
    assert "hunter2" not in repr(Token("hunter2", 0.0, "a test"))
