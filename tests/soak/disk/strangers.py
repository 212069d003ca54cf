"""``disk.sh strangers``: who has other keys, and who puts files into the folder.

Other keys, the store cut before or after the mount: no listing and no byte of what the first ones left. Then each chunk
of the cache gives way to one that is well-formed and holds other bytes, and that another user could have put there:
none is served. That such chunks are well-formed is seen first: as our own they are.
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from mount.mounting_for_tests import is_mounted

from modelfs.disk_format import CHUNK_BYTES, HEADER_BYTES, checksums, decode, empty_header, encode
from soak.disk.machine import MIB, Machine, clear_away, disk, end
from soak.table import table

KEYS = ("m/1/x", "m/2/x")
SIZE = 96 * MIB + 12345
QUOTA = {"MODELFS_CACHE_SIZE": "1G"}
STRANGER = 12345
OTHERS = {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other"}
AWAY = ("--offline", "--mount-timeout=1")


def run(folder: Path, _: argparse.Namespace) -> None:
    """Have strangers try everything; raises where one gets something, or gives something."""
    with Machine(folder, folder / "cache", keys=None) as machine:
        for key in KEYS:
            machine.put(key, SIZE)
        machine.fill(**QUOTA)
        _get_nothing(machine)
        _give_nothing(machine)


def _get_nothing(machine: Machine) -> None:
    machine.store.down()
    for place in ("one", "of-others"):  # where the first mount was, and has its memory; and elsewhere
        for option in AWAY:
            _be_refused(machine, place, option)
    mount = machine.begin("one", "--offline", **QUOTA)
    machine.compare(mount)
    end(mount)
    machine.store.up()
    mount = machine.begin("of-others", "--read-deadline", "1", **QUOTA, **OTHERS)
    machine.store.down()
    for key in KEYS:
        done = subprocess.run(["cat", mount.path / key], capture_output=True, check=False, timeout=120)
        assert done.returncode, f"{key} was read without a store"
        assert not done.stdout, f"{len(done.stdout)} bytes of {key} were read without a store"
    assert not disk(mount)["hit_bytes"]
    clear_away(mount)
    machine.store.up()
    print("other keys, the store cut: no mount in 4 tries, no byte through one that was there before", flush=True)


def _be_refused(machine: Machine, place: str, option: str) -> None:
    mount = machine.place(place, **QUOTA, **OTHERS)
    done = mount.command("mount", option, machine.url, str(mount.path))
    assert done.returncode == 2, done
    assert not is_mounted(mount.path)
    assert not os.listdir(mount.path)
    assert all(key.rpartition("/")[2] not in done.stdout.split() for key in KEYS)


def _give_nothing(machine: Machine) -> None:
    kept = machine.folder / "kept"
    shutil.copytree(machine.cache, kept)
    shutil.copytree(machine.cache, machine.folder / "forged")
    for chunk in sorted((machine.folder / "forged").glob("*/??/*-*")):
        _forge(chunk)
    rows = []
    for put in (_ours, _anothers, _writable_by_others, _a_link, _a_hard_link, _the_whole_folder):
        shutil.rmtree(machine.cache)
        shutil.copytree(kept, machine.cache)
        places = machine.chunks()
        for place in places:
            put(place, machine.folder / "forged" / place.relative_to(machine.cache))
        mount = machine.begin(**QUOTA)
        right = sum(machine.is_right(mount, key) for key in KEYS)
        told = disk(mount)
        end(mount)
        rows.append(
            (put.__name__[1:].replace("_", " "), len(places), right, told["damaged_chunks"], told["hit_bytes"] >> 20)
        )
        print(rows[-1], flush=True)
        assert right == (0 if put is _ours else len(KEYS)), f"{put.__name__}: {right} files were right"
        expected = 0 if put in (_ours, _the_whole_folder) else len(places)
        assert told["damaged_chunks"] == expected, f"{told['damaged_chunks']} were counted, of {expected}"
    print(table(["a forged chunk is", "forged", f"right, of {len(KEYS)} files", "counted", "served, MiB"], rows))


def _forge(path: Path) -> None:
    """Put other bytes into a chunk, and the checksums that belong to them."""
    page, rest = path.read_bytes()[:HEADER_BYTES], path.read_bytes()[HEADER_BYTES:]
    header = decode(page)
    assert header is not None
    length = min(CHUNK_BYTES, header.identity.size - header.chunk * CHUNK_BYTES)
    data = rest.translate(bytes(range(255, -1, -1)))
    sums = checksums(header.identity.id, header.chunk, 0, memoryview(data)[:length])
    forged = encode(empty_header(header.identity, header.chunk).with_blocks(0, sums))
    assert forged is not None
    path.write_bytes(forged + data)


def _ours(place: Path, forged: Path) -> None:
    shutil.copyfile(forged, place)


def _anothers(place: Path, forged: Path) -> None:
    _ours(place, forged)
    os.chown(place, STRANGER, STRANGER)


def _writable_by_others(place: Path, forged: Path) -> None:
    _ours(place, forged)
    place.chmod(0o622)


def _elsewhere(place: Path, forged: Path) -> Path:
    """Put it into a folder of the stranger's own."""
    path = forged.with_name(f"{place.name}.theirs")
    shutil.copyfile(forged, path)
    os.chown(path, STRANGER, STRANGER)
    place.unlink()
    return path


def _a_link(place: Path, forged: Path) -> None:
    place.symlink_to(_elsewhere(place, forged))


def _a_hard_link(place: Path, forged: Path) -> None:
    place.hardlink_to(_elsewhere(place, forged))


def _the_whole_folder(place: Path, forged: Path) -> None:
    _ours(place, forged)
    os.chown(place.parents[1], STRANGER, STRANGER)


def options(_: argparse.ArgumentParser) -> None:
    """Add this run's options: it has none."""
