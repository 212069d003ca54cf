"""The cache on disk through hundreds of kills and a thousand damages: run by hand, as root.

    .venv/bin/python tests/soak/disk_cache.py [KILLS [BITS [CUTS [SWAPS]]]]

Each kill is a SIGKILL of the worker, or of worker and supervisor, at a random moment of a fill; then the kernel's page
cache is dropped, the repository mounted again and every byte compared, and the folder is never larger than its quota.
Each damage is done to chunks of a full cache, in batches; every byte must be right, and every damage counted.
"""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faultserver import FaultServer, Keys, write_stamped
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, Mount, environment, is_mounted, wait_until

MIB = 1 << 20
SIZE = 96 * MIB + 12345
QUOTA_BYTES = 160 * MIB
KEYS = ("m/1/x", "m/2/x")
BATCH = 20
_FORCE_AND_DETACH = 3


class Soak:
    """A store, a cache and one mount after the other."""

    def __init__(self, store: FaultServer, folder: Path) -> None:
        self.store = store
        self.url = f"s3://127.0.0.1:{store.port}/models/repository"
        self.folder = folder
        self.cache = folder / "cache"
        self.path = folder / "models"
        self.path.mkdir()
        more = {"MODELFS_CACHE_DIR": str(self.cache), "MODELFS_CACHE_SIZE": str(QUOTA_BYTES)}
        self.mount = Mount(self.path, environment(folder / "run", **more))
        self.sources = {}
        for key in KEYS:
            self.sources[key] = folder / key.replace("/", "_")
            write_stamped(self.sources[key], key, "v1", SIZE)
            store.put("models", f"repository/{key}", self.sources[key])

    def begin(self) -> None:
        done = self.mount.command("mount", self.url, str(self.path))
        assert done.returncode == 0, done.stderr

    def end(self) -> None:
        # whoever looks at all mounts of a machine, a container that starts, keeps one busy for a moment
        wait_until(lambda: not self.mount.command("unmount", str(self.path)).returncode)

    def compare(self, keys: tuple[str, ...] = KEYS) -> None:
        """See that every byte is right."""
        for key in keys:
            subprocess.run(["cmp", self.path / key, self.sources[key]], check=True, timeout=120)

    def kill(self, *, whole_tree: bool) -> None:
        """SIGKILL the worker, or the whole tree, and take away what is left."""
        pids = self.mount.processes()
        workers = [pid for pid in pids if b"modelfs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # so that neither sees the other die
            for pid in pids if whole_tree else workers:
                os.kill(pid, number)
        if whole_tree:  # forced: a push of the killed may wait for a page that a READ without an answer holds
            while is_mounted(self.path):
                ctypes.CDLL(None).umount2(str(self.path).encode(), _FORCE_AND_DETACH)
            wait_until(lambda: not self.mount.processes())

    def drop(self) -> None:
        """Drop what the kernel has of the mount's files."""
        for key in KEYS:
            descriptor = os.open(self.path / key, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def size(self) -> int:
        return sum(path.lstat().st_blocks * 512 for path in [self.cache, *self.cache.rglob("*")])

    def damaged(self) -> int:
        return int(self.mount.figures()["disk"]["damaged_chunks"])

    def chunks(self) -> list[Path]:
        return sorted((self.cache / "modelfs-blocks").glob("??/*-*"))


def kill_in_mid_fill(soak: Soak, dice: random.Random, number: int) -> None:
    if dice.random() < 0.3:
        shutil.rmtree(soak.cache, ignore_errors=True)
    elif soak.chunks():
        for chunk in dice.sample(soak.chunks(), len(soak.chunks()) // 2):
            chunk.unlink()
    whole_tree = number % 2 == 1
    soak.begin()
    readers = [
        subprocess.Popen(["cat", soak.path / key], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for key in KEYS
    ]
    time.sleep(dice.uniform(0.0, 0.35))
    soak.kill(whole_tree=whole_tree)
    for reader in readers:
        reader.wait(120)
    if whole_tree:
        soak.begin()
    soak.drop()
    soak.compare()
    assert soak.size() <= QUOTA_BYTES, soak.size()
    soak.end()


def fill(soak: Soak) -> None:
    """Have one file there as a whole."""
    for _ in range(20):
        soak.begin()
        soak.store.clear_log()
        soak.compare(KEYS[:1])
        wait_until(lambda: not soak.mount.figures()["disk"]["waiting_bytes"])
        soak.end()
        assert soak.store.wait_until_idle()
        if not soak.store.requests(kind="get"):
            return
    raise AssertionError("it is never whole")


def flip(chunk: Path, dice: random.Random) -> None:
    with chunk.open("r+b") as file:
        position = dice.randrange(chunk.stat().st_size)
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))


def cut(chunk: Path, dice: random.Random) -> None:
    os.truncate(chunk, dice.randrange(chunk.stat().st_size))


def swap(one: Path, two: Path) -> None:
    beside = one.with_name("beside")
    one.rename(beside)
    two.rename(one)
    beside.rename(two)


def damage(soak: Soak, dice: random.Random, what: str, times: int) -> tuple[int, int]:
    """Damage chunks; return how many were, and how many of those were counted."""
    done = counted = 0
    while done < times:
        fill(soak)
        chunks = [chunk for chunk in soak.chunks() if chunk.stat().st_size > MIB]
        dice.shuffle(chunks)
        several = chunks[: min(BATCH, times - done)]
        if what == "swap":
            pairs = list(zip(chunks[::2], chunks[1::2], strict=False))[: min(5, times - done)]
            for one, two in pairs:
                swap(one, two)
            done, harmed = done + len(pairs), 2 * len(pairs)
        else:
            for chunk in several:
                (flip if what == "bit" else cut)(chunk, dice)
            done, harmed = done + len(several), len(several)
        soak.begin()
        soak.compare(KEYS[:1])
        found = soak.damaged()
        soak.end()
        print(f"{what}: harmed {harmed}, counted {found}", flush=True)
        counted += found == harmed
        if found != harmed:
            print("   NOT ALL WERE COUNTED", flush=True)
    return done, counted


def main() -> None:
    wanted = [int(each) for each in sys.argv[1:]]
    kills, bits, cuts, swaps = wanted + [200, 1000, 100, 100][len(wanted) :]
    seed = int(os.environ.get("SEED", time.time()))
    dice = random.Random(seed)
    print(f"seed {seed}", flush=True)
    with (
        FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store,
        tempfile.TemporaryDirectory(prefix="modelfs-soak-", dir=os.environ.get("SOAK_DIR")) as folder,
    ):
        store.create_bucket("models")
        soak = Soak(store, Path(folder))
        try:
            for number in range(kills):
                kill_in_mid_fill(soak, dice, number)
                if number % 10 == 9:
                    print(f"{number + 1} kills: every byte right, never above the quota", flush=True)
            shutil.rmtree(
                soak.cache, ignore_errors=True
            )  # from here on there is one file in it, which is read as a whole
            for what, times in (("bit", bits), ("cut", cuts), ("swap", swaps)):
                if times:
                    print(what, damage(soak, dice, what, times), flush=True)
        finally:
            if is_mounted(soak.path):
                ctypes.CDLL(None).umount2(str(soak.path).encode(), _FORCE_AND_DETACH)
            wait_until(lambda: not soak.mount.processes())


if __name__ == "__main__":
    main()
