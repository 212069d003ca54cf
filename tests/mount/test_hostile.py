"""R17, R19, R20, R21: a bucket full of keys that no folder should hold, on each cloud's dialect.

5,000 keys, or as many as the environment's HOSTILE_KEYS says.
"""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultserver import DialectName, FaultServer
from mount.hostile_keys import UNREADABLE, content_of, hostile_keys
from mount.mounting_for_tests import mounted
from mount.test_dialects import place
from reference.model import FOLDER, paths_of

NUMBER = int(os.environ.get("HOSTILE_KEYS", "5000"))
READERS = 16


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what lies below ``root``, by the path below it."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                found = os.lstat(root / path)
                yield path, found
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(path)


@pytest.mark.parametrize("dialect", ["s3", "gcs", "azure"])
def test_r17_r19_r20_r21_of_a_hostile_bucket_all_that_can_be_shown_is_and_nothing_else(
    dialect: DialectName, tmp_path: Path
) -> None:
    keys = hostile_keys(NUMBER, with_broken=dialect == "s3")
    shown = paths_of(key for key in keys if not UNREADABLE.search(key))
    with FaultServer(dialect) as server:
        for key in keys:
            server.put("models", f"repository/{key}", content_of(key))
        for key in ("repository", "repository-2/outside", "outside", "repositor/y"):
            server.put("models", key, b"outside")
        url, environment = place(server, dialect)
        with mounted(url, tmp_path, "--refresh", "3600", "--look", "0", **environment) as mount:
            found = dict(walk(mount.path))
            assert {*found, ""} == set(shown)
            files = {path: key for path, key in shown.items() if key is not FOLDER}
            for path, about in found.items():
                is_file = path in files
                mode = stat.S_IFREG | 0o444 if is_file else stat.S_IFDIR | 0o555
                assert (about.st_mode, about.st_size) == (mode, 48 if is_file else 0), path
            with ThreadPoolExecutor(READERS) as readers:
                for path, data in readers.map(lambda path: (path, (mount.path / path).read_bytes()), files):
                    assert data == content_of(str(files[path])), path
            for path in [*found][:: len(found) // 50]:
                with pytest.raises(OSError) as raised:  # noqa: PT011  the errno is what is compared
                    os.chmod(mount.path / path, 0o700)
                assert raised.value.errno == errno.EROFS
            assert mount.status()["details"]["objects_not_shown"] > 0
        listings = server.requests(kind="list")
    assert len(listings) == -(-len(keys) // 1000)
    assert {each.status for each in listings} == {200}
