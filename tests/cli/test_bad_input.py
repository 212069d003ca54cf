"""What a person can do wrong before a mount: one line that says what is wrong and what to do, status 2, nothing left.

Every case runs the command as a person does. The bound only catches what hangs.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer, Keys

from modelfs import mounting

PATIENCE_S = 60.0
NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists(), reason="gets as far as mounting: needs root and /dev/fuse"
)
GOOD_KEYS = {"AWS_ACCESS_KEY_ID": "good-key", "AWS_SECRET_ACCESS_KEY": "good-secret"}
WRONG_KEYS = {"AWS_ACCESS_KEY_ID": "good-key", "AWS_SECRET_ACCESS_KEY": "wrong-secret"}


class Bench:
    """A repository, a mount point and a clean environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        (self.repository / "model" / "1").mkdir(parents=True)
        (self.repository / "model" / "config.pbtxt").write_text('name: "model"')
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "MODELFS_RUNTIME_DIR": str(folder / "run"),
            "MODELFS_STATE_DIR": str(folder / "state"),
            "MODELFS_SETTLE": "0",
            "MODELFS_CACHE_SIZE": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(
        self, *arguments: str, prefix: tuple[str, ...] = (), **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*prefix, sys.executable, "-P", "-m", "modelfs", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            cwd=self.folder,
        )

    def refuse(self, *arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> str:
        """Run a command that must fail, check the form of its complaint, and return that."""
        done = self.run(*arguments, prefix=prefix, **environment)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 2, line
        assert done.stdout == ""
        assert line.startswith("modelfs: ")
        assert line.endswith(".")
        assert "Traceback" not in line
        assert not mounting.mounted_at(str(self.mountpoint))
        assert not (self.folder / "run").exists()
        return line.removeprefix("modelfs: ")

    def refuse_mount(self, *options: str, url: str | None = None, **environment: str) -> str:
        arguments = ("mount", url or str(self.repository), str(self.mountpoint), *options)
        return self.refuse(*arguments, prefix=(), **environment)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    while mounting.mounted_at(str(bench.mountpoint)):
        mounting.unmount(str(bench.mountpoint), lazy=True)


@pytest.fixture
def store() -> Iterator[FaultServer]:
    with FaultServer(keys=Keys("good-key", "good-secret")) as server:
        server.create_bucket("models")
        yield server


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no command is given"),
        (("mont",), "No such command 'mont'"),
        (("mount",), "no URL is given"),
        (("mount", "s3://bucket/models"), "no mount point is given"),
        (("mount", "s3://bucket/models", "/mnt", "extra"), "unexpected extra argument"),
        (("mount", "s3://bucket/models", "/mnt", "--refesh", "3"), "No such option: --refesh"),
        (("mount", "s3://bucket/models", "/mnt", "--refresh"), "--refresh"),
        (("unmount",), "no mount point is given"),
        (("ls",), "no URL is given"),
        (("status", "--jsn"), "No such option: --jsn"),
        (("lint",), "nothing to lint is given"),
        (("lint", "/no-such-folder"), "No such file or directory"),
        (("lint", "s3://"), "write"),
        (("seal",), "no model is given"),
        (("seal", "s3://bucket"), "names no model"),
        (("seal", "https://host/models/m"), "https:// is only read"),
        (("seal", "s3://bucket/m/1", "--verify"), "Add --from DIR"),
        (("seal", "/no-such-folder/m/1"), "No such file or directory"),
        (("cache",), "no command is given"),
        (("cache", "pin"), "nothing is named"),
        (("cache", "evict"), "nothing is named"),
        (("cache", "unpin", "s3://bucket/m", "--cache-dir", "/no-such-folder"), "there is no cache yet"),
        (("warm",), "nothing is named"),
        (("warm", "file:///models"), "is not kept on a disk"),
        (("warm", "s3://bucket/models"), "nothing is kept on a disk here"),
        (("warm", "/mnt"), "has mounted nothing at /mnt"),
        (("mount", "s3://bucket/models", "/mnt", "--cache-size", "5M"), "at least 16M"),
        (("mount", "s3://bucket/models", "/mnt", "--cache-group", "a b"), "letters"),
        (("refresh",), "no mount point is given"),
        (("refresh", "/mnt"), "has mounted nothing at /mnt"),
        (("refresh", "/mnt", "--wait", "--timeout", "0"), "--timeout is '0'"),
    ],
)
def test_wrong_command_line(bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    assert words in bench.refuse(*arguments)


@pytest.mark.parametrize(
    "url",
    [
        "a bucket://bucket/models",
        "no-such-scheme://bucket/models",
        "relative/models",
        "s3://",
        "s3://host:port/bucket",
        "s3://host:99999/bucket",
        "s3://user:password@host:9000/bucket",
        "as://account",
        "s3://bucket/a/../b",
        "two\nlines",
    ],
)
def test_wrong_url(bench: Bench, url: str) -> None:
    line = bench.refuse_mount(url=url)
    assert ": write" in line or ": set" in line
    assert "password" not in line.replace("no user or password", "")


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (("--refresh", "0"), {}, "--refresh is '0'. It must be a number of seconds"),
        (("--memory", "lots"), {}, "--memory is 'lots'"),
        (("--file-mode", "0644"), {}, "without write bits"),
        ((), {"MODELFS_REFRESH": "soon"}, "MODELFS_REFRESH is 'soon'"),
        (("--config", "none.toml"), {}, "configuration file none.toml does not exist"),
        ((), {"MODELFS_CONFIG": "none.toml"}, "configuration file none.toml does not exist"),
    ],
)
def test_wrong_setting(bench: Bench, options: tuple[str, ...], environment: dict[str, str], words: str) -> None:
    assert words in bench.refuse_mount(*options, **environment)


@pytest.mark.parametrize(
    ("text", "words"),
    [("refresh = ", "is not TOML"), ("refesh = 3", "unknown key 'refesh'"), ("refresh = 'x'", "refresh in ")],
)
def test_wrong_configuration_file(bench: Bench, text: str, words: str) -> None:
    (bench.folder / ".config" / "modelfs").mkdir(parents=True)
    (bench.folder / ".config" / "modelfs" / "config.toml").write_text(text)
    assert words in bench.refuse_mount()


def test_missing_local_repository(bench: Bench) -> None:
    assert "/none" in bench.refuse_mount(url=f"{bench.folder}/none")
    assert "/none" in bench.refuse("ls", f"{bench.folder}/none")


def test_local_repository_that_is_a_link_to_itself(bench: Bench) -> None:
    (bench.folder / "loop").symlink_to("loop")
    assert "/loop" in bench.refuse_mount(url=f"{bench.folder}/loop")


def test_missing_mount_point(bench: Bench) -> None:
    bench.mountpoint.rmdir()
    assert "does not exist. Create it with 'mkdir -p" in bench.refuse_mount()


def test_mount_point_that_is_a_file(bench: Bench) -> None:
    bench.mountpoint.rmdir()
    bench.mountpoint.touch()
    assert "is not a directory" in bench.refuse_mount()


def test_mount_point_that_is_not_empty(bench: Bench) -> None:
    (bench.mountpoint / "something").touch()
    assert "is not empty" in bench.refuse_mount()


def test_mount_point_inside_the_repository(bench: Bench) -> None:
    inside = bench.repository / "mnt"
    inside.mkdir()
    assert "lies inside the repository" in bench.refuse("mount", str(bench.repository), str(inside))
    link = bench.folder / "link"
    link.symlink_to(bench.repository)
    assert "lies inside the repository" in bench.refuse("mount", str(link), str(link / "mnt"))


def test_files_that_cannot_be_written(bench: Bench) -> None:
    assert "--log-file" in bench.refuse_mount("--log-file", "/proc/none/log")
    assert "--log-file" in bench.refuse_mount("--log-file", "~nobody-of-this-name/log")
    assert "--runtime-dir" in bench.refuse_mount("--runtime-dir", "/proc/none")
    assert "--runtime-dir" in bench.refuse_mount("--runtime-dir", "/" + "x" * 120)


def test_unmounting_what_is_not_mounted(bench: Bench) -> None:
    assert "modelfs has mounted nothing at" in bench.refuse("unmount", str(bench.mountpoint))


@NEEDS_ROOT
def test_busy_mount_point(bench: Bench) -> None:
    assert bench.run("mount", str(bench.repository), str(bench.mountpoint)).returncode == 0
    try:
        done = bench.run("mount", str(bench.repository), str(bench.mountpoint))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "is busy" in line
        assert "modelfs unmount" in line
    finally:
        assert bench.run("unmount", str(bench.mountpoint)).returncode == 0


def test_missing_bucket(bench: Bench, store: FaultServer) -> None:
    assert "none" in bench.refuse_mount(url=f"s3://127.0.0.1:{store.port}/none/models", **GOOD_KEYS)


@pytest.mark.parametrize("keys", [WRONG_KEYS, {}], ids=["wrong", "absent"])
def test_keys_that_the_store_refuses(bench: Bench, store: FaultServer, keys: dict[str, str]) -> None:
    line = bench.refuse_mount(url=f"s3://127.0.0.1:{store.port}/models/repository", **keys)
    assert "credentials" in line or "key" in line
    assert "wrong-secret" not in line


def test_nothing_listens(bench: Bench) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"s3://127.0.0.1:{unused.getsockname()[1]}/models"
        assert "127.0.0.1" in bench.refuse_mount("--mount-timeout", "2", url=url, **GOOD_KEYS)


@pytest.mark.parametrize("connects", [True, False], ids=["accepts and says nothing", "swallows packets"])
def test_black_hole(bench: Bench, store: FaultServer, connects: bool) -> None:  # noqa: FBT001  a case
    """With the default time-outs: the one case that takes as long as a failing mount may."""
    store.black_hole(connects=connects)
    line = bench.refuse_mount(url=f"s3://127.0.0.1:{store.port}/models/repository", **GOOD_KEYS)
    assert "the store" in line


@NEEDS_ROOT
def test_machine_without_fuse(bench: Bench) -> None:
    """In a mount namespace whose /dev has the usual files, but no fuse."""
    devices = bench.folder / "dev"
    devices.mkdir()
    for name in ("null", "zero", "random", "urandom"):
        number = Path("/dev", name).stat().st_rdev
        os.mknod(devices / name, 0o20666, number)
    script = f'mount --bind {devices} /dev && exec "$@"'
    prefix = ("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh")
    assert "/dev/fuse is missing" in bench.refuse("mount", str(bench.repository), str(bench.mountpoint), prefix=prefix)


@NEEDS_ROOT
def test_root_without_the_capability_to_mount(bench: Bench) -> None:
    prefix = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    assert "SYS_ADMIN" in bench.refuse("mount", str(bench.repository), str(bench.mountpoint), prefix=prefix)


@NEEDS_ROOT
def test_neither_root_nor_fusermount3(bench: Bench) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv
    base = Path("/tmp") / f"modelfs-test-{os.getpid()}"  # noqa: S108  pytest's own folder is closed to others
    (base / "mnt").mkdir(parents=True)
    for path in (base, base / "mnt"):
        shutil.chown(path, "nobody")
    # the interpreter may lie in root's home: the user may look everywhere, but is not root
    become = (setpriv, "--reuid", "nobody", "--clear-groups")
    look = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    try:
        environment = {"PATH": "/nowhere", "MODELFS_RUNTIME_DIR": str(base / "run"), "MODELFS_SETTLE": "0"}
        environment["MODELFS_CACHE_SIZE"] = "0"
        arguments = ("mount", str(bench.repository), str(base / "mnt"))
        assert "needs fusermount3" in bench.refuse(*arguments, prefix=(*become, *look), **environment)
        assert not (base / "run").exists()
    finally:
        shutil.rmtree(base)


def test_no_complaint_shows_a_secret_of_the_url(bench: Bench) -> None:
    assert "sig=abc" not in bench.refuse_mount(url="as://account?sig=abc")
    assert "sig=abc" not in bench.refuse_mount(url="nonsense?sig=abc")
