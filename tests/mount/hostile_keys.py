"""Keys that a bucket may hold and a tree may not, or only just: for tests of what is shown of them.

Law: the same keys for the same number and seed, on every machine.
"""

import random
import re
from collections.abc import Iterator
from hashlib import blake2b

KEY_BYTES_MAX = 1000  # S3 takes 1,024 with the prefix of the repository

UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no engine can ask a cloud for."""

PLAIN = ("m", "resnet", "config.pbtxt", "model.onnx", "weights.bin", "labels.txt", "a", "b", "c")
DIGITS = ("1", "2", "10", "01", "0", "1" * 18, "1" * 19, "1" * 20, "3.bak", "1e3", "٣", "²")
ODD = (
    *(" ", "  ", " lead", "trail ", "a b", "a+b", "+", "a=b", "=", "%", "%20", "a%2Fb", "%2e%2e", "%00", "100%"),
    *("a&b", "a;b", "a?b", "a#b", "a@b", "a:b", "a|b", "<x>", "&amp;", "]]>", "*", "[x]", "{y}", "~", "$HOME", "`id`"),
    *("'", '"', "a,b", "a\\b", "-rf", "--", "con", "nul", "x.", "...", "..x", ". .", "_$folder", "__pycache__x"),
    *(
        "ünï",
        "é",
        "e\u0301",
        "日本語",
        "😀",
        "👩‍🚀",
        "\u202etxt.exe",
        "\u200b",
        "\ufeff",
        "\u00a0",
        "\u2028",
        "\U0010ffff",
    ),
    *("x" * 255, "é" * 127, "日" * 85),
)
HIDDEN = (".git", ".", "..", "", "__pycache__", "x_$folder$", ".keep", ".modelfs-seal.json")
IMPOSSIBLE = ("\0", "a\0b", "x" * 256, "é" * 128, "日" * 86)
CONTROL = ("\n", "\t", "a\nb", "\x01", "\x1b[31m", "\x7f", "\r")
BROKEN = ("\udcff", "a\udc80b")
"""Bytes that are no UTF-8, which S3 alone takes."""

TRAPS = (
    *("../outside", "../../etc/passwd", "/etc/passwd", "//etc/passwd", "a//b", "a/./b", "a/../b", "a/b/..", "./a", "/"),
    *("//", "m/", "m/9/", "m/9", "m/9/x", "twin", "twin/x", "twin/", "deep/" + "d/" * 250 + "x", "d/" * 300 + "x"),
    *("config", "config.pbtxt", "..", ".", "...", "m/../../x", "%2e%2e/x", "a/%2e%2e/b", "C:\\x", "\\\\host\\share"),
)


def hostile_keys(number: int, *, with_broken: bool, seed: int = 17) -> list[str]:
    """Return ``number`` different keys, the traps first."""
    chance = random.Random(seed)
    found = dict.fromkeys(TRAPS)
    for key in _random_keys(chance, with_broken=with_broken):
        if len(found) == number:
            return list(found)
        if 0 < len(key.encode("utf-8", "surrogateescape")) <= KEY_BYTES_MAX:
            found[key] = None
    raise AssertionError("the keys never end")


def _random_keys(chance: random.Random, *, with_broken: bool) -> Iterator[str]:
    kinds = [PLAIN, DIGITS, ODD, HIDDEN, IMPOSSIBLE, CONTROL, BROKEN if with_broken else PLAIN]
    weights = [30, 14, 40, 4, 2, 2, 1]
    while True:
        names = [
            chance.choice(kind) + chance.choice(("", "", str(chance.randrange(1000))))
            for kind in chance.choices(kinds, weights, k=chance.randint(1, 5))
        ]
        yield "/".join(names) + chance.choice(("", "", "", "", "", "/"))


def content_of(key: str) -> bytes:
    """Return what the object ``key`` holds: nothing that another one holds."""
    return blake2b(key.encode("utf-8", "surrogateescape"), digest_size=24).hexdigest().encode()
