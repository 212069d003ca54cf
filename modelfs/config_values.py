"""What a person writes for a value, in a flag, a variable or a file, and what is meant.

Law: each takes anything, and returns what it does not understand as it is: ``config`` says what is wrong with it.
"""

import os
import re
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB, "T": 1024 * 1024 * MIB}
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse_bytes(text: object) -> object:
    """Return the number of bytes that ``text`` means.

    >>> parse_bytes("256M"), parse_bytes("1 GiB"), parse_bytes(4096)
    (268435456, 1073741824, 4096)
    """
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found else text


def parse_mode(text: object) -> object:
    """Return the permission bits that the octal digits ``text`` mean.

    >>> parse_mode("0444") == parse_mode("444") == 0o444
    True
    """
    return int(text, 8) if isinstance(text, str) and re.fullmatch(r"(0o)?[0-7]{1,6}", text) else text


def parse_switch(text: object) -> object:
    """Return whether ``text`` says yes or no.

    >>> parse_switch("on"), parse_switch("0"), parse_switch("maybe")
    (True, False, 'maybe')
    """
    return _WORDS.get(text.lower(), text) if isinstance(text, str) else text


def parse_path(text: object) -> object:
    """Return ``text`` as an absolute path: the daemon runs in another directory."""
    # not Path.expanduser, which raises for a user that there is not
    return str(Path(os.path.expanduser(text)).absolute()) if isinstance(text, str) and text else text  # noqa: PTH111  os, as everywhere here


def parse_lower(text: object) -> object:
    """Return ``text`` in small letters."""
    return text.lower() if isinstance(text, str) else text
