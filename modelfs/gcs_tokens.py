"""The OAuth token that goes with every request to Google Cloud Storage, and when to ask for another.

Law: a token is renewed five minutes before its end; when that fails it is used to its end. Nobody waits for a renewal
who has a token that still lasts. A token that the store refuses is not sent again.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from modelfs.errors import ModelfsError

log = logging.getLogger(__name__)

_AHEAD_S = 300.0
"""Google's metadata server gives the same token until five minutes before its end."""

_PAUSE_S = 30.0
"""Between two tries to renew a token that still lasts, or that the store refused when it was new."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. ``origin`` says where it is from, for people; ``expires_at_s`` is in Unix seconds.

    ``principal`` is the same for all tokens of one identity, where that is known; else "".
    """

    value: str = field(repr=False)
    expires_at_s: float
    origin: str
    principal: str = field(default="", repr=False)


class Issuer(Protocol):
    """Where tokens are from."""

    def ask(self) -> Token:
        """Return a new token. Raises AccessRefusedError, StoreUnavailableError or UsageError."""
        ...

    def edition(self) -> Hashable:
        """Return what differs once the credentials behind the tokens have been replaced. Cheap: asked every time."""
        ...

    def principal(self) -> str | None:
        """Return who the tokens are of, as a text that may be secret; None where that cannot be told.

        Asked when there has been a token. May ask the network, and raises as ``ask`` does.
        """
        ...


class Tokens:
    """The tokens of one issuer. Thread-safe."""

    def __init__(self, issuer: Issuer, *, clock: Callable[[], float] = time.time) -> None:
        """Ask nobody yet."""
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._asked_at_s = 0.0
        self._renew_at_s = 0.0
        self._edition: Hashable = None

    def __call__(self) -> Token:
        """Return the token of now; see ``Issuer.ask`` for what is raised where there is none that lasts."""
        token = self._token
        if token is not None and not self._is_due():
            return token
        lasts = token is not None and token.expires_at_s > self._clock()
        if not self._lock.acquire(blocking=not lasts):
            assert token is not None  # noqa: S101  lasts
            return token
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def principal(self) -> str | None:
        """Return who the tokens are of; see ``Issuer.principal``."""
        return self._issuer.principal()

    def refused(self, token: Token) -> None:
        """Note that the store does not take ``token``. The next request has another, but not every second."""
        with self._lock:
            if self._token is token and self._clock() - self._asked_at_s >= _PAUSE_S:
                log.info("the store refuses the token, asking for another origin=%r", token.origin)
                self._token = None

    def _is_due(self) -> bool:
        return self._clock() >= self._renew_at_s or self._issuer.edition() != self._edition

    def _renewed(self) -> Token:
        token = self._token
        if token is not None and not self._is_due():
            return token  # another thread has been here
        now = self._clock()
        edition = self._issuer.edition()
        try:
            new = self._issuer.ask()
        except ModelfsError as error:
            if token is None or token.expires_at_s <= now:
                raise
            log.warning("going on with the old token lasts_s=%.0f error=%s", token.expires_at_s - now, error)
            self._renew_at_s, self._edition = now + _PAUSE_S, edition
            return token
        lasts_s = new.expires_at_s - now
        self._token, self._asked_at_s, self._edition = new, now, edition
        self._renew_at_s = now + max(lasts_s - _AHEAD_S, lasts_s / 2)
        return new
