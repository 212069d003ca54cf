"""``[[mounts]]`` of the configuration file: what an entry holds, who wins over it, and what is said of a wrong one."""

import re
from pathlib import Path

import pytest

from modelfs import sources
from modelfs.errors import UsageError
from modelfs.sources import Entry

TWO = """
refresh = 30
memory = "64M"

[[mounts]]
url = "s3://bucket/models"
mountpoint = "/mnt/a"
endpoint_url = "http://minio:9000"
refresh = 5

[[mounts]]
url = "gs://bucket/models"
mountpoint = "/mnt/b"
"""


def written(folder: Path, text: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def entries(*files: Path, flags: dict[str, object] | None = None, env: dict[str, str] | None = None) -> list[Entry]:
    return sources.load_mounts(flags=flags or {}, environment=env or {}, files=files)


def complaint(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(UsageError) as caught:
        entries(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "FILE")


def test_entry_takes_from_the_top_of_the_file_what_it_does_not_set(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    first, second = entries(path)
    assert (first.url, first.mountpoint, first.name) == (
        "s3://bucket/models",
        "/mnt/a",
        f"[[mounts]] number 1 in {path}",
    )
    assert (first.config.refresh_s, first.config.memory_bytes) == (5, 2**26)
    assert (second.config.refresh_s, second.config.memory_bytes) == (30, 2**26)


def test_what_one_entry_sets_is_no_other_entrys(tmp_path: Path) -> None:
    """A token of Google's must not go to the S3 store of the entry beside it."""
    first, second = entries(written(tmp_path, TWO))
    assert (first.config.endpoint_url, second.config.endpoint_url) == ("http://minio:9000", None)
    assert first.own == {"endpoint_url", "refresh_s"}
    assert not second.own


def test_flag_wins_over_entry_over_environment_over_the_top_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    env = {"MODELFS_REFRESH": "7", "MODELFS_MEMORY": "32M"}
    assert [entry.config.refresh_s for entry in entries(path, env=env)] == [5, 7]
    assert [entry.config.memory_bytes for entry in entries(path, env=env)] == [2**25, 2**25]
    assert [entry.config.refresh_s for entry in entries(path, env=env, flags={"refresh_s": "3"})] == [3, 3]


def test_entries_of_the_users_file_replace_those_of_the_system(tmp_path: Path) -> None:
    system = written(tmp_path, TWO, "system.toml")
    user = written(tmp_path, '[[mounts]]\nurl = "/srv/m"\nmountpoint = "/mnt/c"', "user.toml")
    assert [entry.mountpoint for entry in entries(system, user)] == ["/mnt/c"]
    assert entries(system, user)[0].config.refresh_s == 30
    assert [entry.mountpoint for entry in entries(system, written(tmp_path, "refresh = 9"))] == ["/mnt/a", "/mnt/b"]


def test_file_without_entries_has_none(tmp_path: Path) -> None:
    assert entries(written(tmp_path, "refresh = 3")) == entries(written(tmp_path, "mounts = []")) == []


def test_home_is_found_in_a_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    (entry,) = entries(written(tmp_path, '[[mounts]]\nurl = "/srv/m"\nmountpoint = "~/m"'))
    assert entry.mountpoint == "/home/u/m"


def test_commands_that_need_no_entries_do_not_mind_a_wrong_one(tmp_path: Path) -> None:
    path = written(tmp_path, "refresh = 3\n[[mounts]]\nrefesh = 9")
    config, _ = sources.load(flags={}, environment={}, files=[path])
    assert config.refresh_s == 3


GOOD = 'url = "s3://b/m"\nmountpoint = "/mnt/a"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mounts = 3", "mounts in FILE is no list of tables. Begin each entry with [[mounts]]."),
        ("mounts = [3]", "mounts in FILE is no list of tables. Begin each entry with [[mounts]]."),
        ("[mounts]\n" + GOOD, "mounts in FILE is no list of tables. Begin each entry with [[mounts]]."),
        ("[[mount]]\n" + GOOD, "configuration file FILE has an unknown key 'mount'. Did you mean 'mounts'?"),
        (GOOD, "configuration file FILE has an unknown key 'url'. It belongs to an entry of [[mounts]]."),
        (f"[[mounts]]\n{GOOD}[[mounts]]\n", '[[mounts]] number 2 in FILE has no url. Write url = "s3://bucket/path".'),
        ("[[mounts]]\nurl = 3\nmountpoint = '/m'", "[[mounts]] number 1 in FILE has no url."),
        ("[[mounts]]\nurl = ''\nmountpoint = '/m'", "[[mounts]] number 1 in FILE has no url."),
        ("[[mounts]]\nurl = '/srv'", "[[mounts]] number 1 in FILE has no absolute path as its mountpoint."),
        ("[[mounts]]\nurl = '/srv'\nmountpoint = 'm'", "[[mounts]] number 1 in FILE has no absolute path"),
        ('[[mounts]]\nurl = "/srv"\nmountpoint = "/m\\u0000"', "[[mounts]] number 1 in FILE has no absolute path"),
        ("[[mounts]]\nurl = '/srv'\nmountpoint = 3", "[[mounts]] number 1 in FILE has no absolute path"),
        (f"[[mounts]]\n{GOOD}refesh = 3", "[[mounts]] number 1 in FILE has an unknown key 'refesh'. Did you mean"),
        (f"[[mounts]]\n{GOOD}uri = 's3://b'", "[[mounts]] number 1 in FILE has an unknown key 'uri'. Did you mean"),
        (f"[[mounts]]\n{GOOD}refresh = 'x'", "refresh in [[mounts]] number 1 in FILE is 'x'. It must be a number"),
        (f"[[mounts]]\n{GOOD}runtime_dir = '/r'", "[[mounts]] number 1 in FILE sets runtime_dir, which holds for all"),
        (f"refresh = 'x'\n[[mounts]]\n{GOOD}", "refresh in FILE is 'x'."),
    ],
)
def test_wrong_entry_is_named_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    assert words in complaint(tmp_path, text)


def test_no_complaint_shows_a_url(tmp_path: Path) -> None:
    url = 'url = "as://account/models?sig=SECRET"'
    assert "SECRET" not in complaint(tmp_path, f"[[mounts]]\n{url}\nmountpoint = 3")
    assert "SECRET" not in complaint(tmp_path, f"[[mounts]]\n{url}\nmountpoint = '/m'\nrefesh = 3")
    assert "SECRET" not in complaint(tmp_path, f"[[mounts]]\nurl = ['as://account/models?sig=SECRET']\n{url[:0]}")


@pytest.mark.parametrize("page", ["README.md", "docs/containers.md"])
def test_example_of_the_page_loads(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[1] / page).read_text()
    example = re.search(r"(?:toml|END'?)\n(\[\[mounts\]\]\n.*?)(?:END|```)", text, re.DOTALL)
    assert example
    assert len(entries(written(tmp_path, example[1]))) == 2
