"""Stores that lie: the request is bent before it is answered, and the answer dressed up as if it had not been."""

import re
from collections.abc import Iterable
from dataclasses import replace

from faultserver.answers import Answer
from faultserver.faults import Effect, IgnoreRange, IgnoreVersion, WrongLength, WrongRange
from faultserver.wire import Request

_RANGE = re.compile("bytes=([0-9]+)-([0-9]+)")


def bent(request: Request, effects: Iterable[Effect]) -> Request:
    """Return the request that a lying store answers instead."""
    for effect in effects:
        match effect:
            case IgnoreRange():
                request = _without(request, "range")
            case IgnoreVersion():
                query = {name: value for name, value in request.query.items() if name != "generation"}
                request = replace(
                    _without(request, "if-match", "x-goog-if-generation-match", "x-goog-generation"), query=query
                )
            case WrongRange(shift_bytes):
                request = _moved(request, shift_bytes, shift_bytes)
            case WrongLength(delta_bytes):
                request = _moved(request, 0, delta_bytes)
    return request


def dressed(answer: Answer, request: Request, effects: Iterable[Effect]) -> Answer:
    """Return the answer with the Content-Range that the client asked for, where the store does not admit its lie."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or not any(isinstance(each, WrongRange) and not each.admit for each in effects):
        return answer
    headers = [
        (name, f"bytes {asked[1]}-{asked[2]}/{value.rpartition('/')[2]}" if name == "Content-Range" else value)
        for name, value in answer.headers
    ]
    return replace(answer, headers=headers)


def _without(request: Request, *names: str) -> Request:
    return replace(request, headers={name: value for name, value in request.headers.items() if name not in names})


def _moved(request: Request, first_by: int, last_by: int) -> Request:
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None:
        return request
    first = max(0, int(asked[1]) + first_by)
    last = max(first, int(asked[2]) + last_by)
    return replace(request, headers={**request.headers, "range": f"bytes={first}-{last}"})
