"""Settings: one definition, four sources, and one sentence about what is wrong."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from modelfs import config_page, sources
from modelfs.config import Config, settings
from modelfs.errors import UsageError

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"


def load(
    *, flags: dict[str, object] | None = None, env: dict[str, str] | None = None, files: list[Path] | None = None
) -> Config:
    return sources.load(flags=flags or {}, environment=env or {}, files=files or [])[0]


def complaint(
    *, flags: dict[str, object] | None = None, env: dict[str, str] | None = None, files: list[Path] | None = None
) -> str:
    with pytest.raises(UsageError) as caught:
        load(flags=flags, env=env, files=files)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def test_document_is_the_definition() -> None:
    assert DOCUMENT.read_text() == config_page.documentation(), (
        "run: python -m modelfs.config_page > docs/configuration.md"
    )


def test_examples_in_the_document_load(tmp_path: Path) -> None:
    one, several = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "config.toml"
    path.write_text(one)
    assert set(tomllib.loads(one)) == {"refresh", "memory", "log_format"}
    assert load(files=[path]).memory_bytes == 2**30
    path.write_text(several)
    entries = sources.load_mounts(flags={}, environment={}, files=[path])
    assert [entry.mountpoint for entry in entries] == ["/mnt/models", "/mnt/experiments"]
    assert [(entry.config.refresh_s, entry.config.memory_bytes) for entry in entries] == [(30, 2**28), (30, 2**30)]


def test_shown_defaults_are_the_defaults() -> None:
    for setting in settings():
        default = getattr(Config(), setting.field)
        shown = setting.option.shown_default.strip('"')
        if default is not None:
            env = {setting.option.variable: shown}
            assert getattr(load(env=env), setting.field) == default, setting.field


def test_flag_wins_over_environment_over_user_file_over_system_file(tmp_path: Path) -> None:
    system, user = tmp_path / "system.toml", tmp_path / "user.toml"
    system.write_text("refresh = 1\nmemory = '16M'\nmax_connections = 1\nlog_level = 'error'")
    user.write_text("refresh = 2\nmemory = '17M'\nmax_connections = 2")
    env = {"MODELFS_REFRESH": "3", "MODELFS_MEMORY": "18M"}
    found = load(flags={"refresh_s": "4"}, env=env, files=[system, user])
    assert (found.refresh_s, found.memory_bytes) == (4, 18 * 2**20)
    assert (found.max_connections, found.log_level) == (2, "error")


def test_named_file_replaces_the_default_ones(tmp_path: Path) -> None:
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"
    named.write_text("refresh = 7")
    other.write_text("max_connections = 3")
    for found in (
        load(flags={"config": str(named)}, files=[other]),
        load(env={"MODELFS_CONFIG": str(named)}, files=[other]),
    ):
        assert (found.refresh_s, found.max_connections) == (7, 32)


def test_absent_default_files_and_empty_variables_count_as_not_set(tmp_path: Path) -> None:
    assert load(env={"MODELFS_REFRESH": ""}, files=[tmp_path / "none.toml"]) == Config()


def test_user_file_lies_in_the_home() -> None:
    assert sources.default_files({"HOME": "/home/u"})[-1] == Path("/home/u/.config/modelfs/config.toml")
    assert len(sources.default_files({})) == 1


def test_config_survives_the_way_to_the_worker() -> None:
    found = load(flags={"memory_bytes": "1G", "file_mode": "0400", "allow_other": False, "log_file": "/l"})
    assert Config.model_validate(found.model_dump(mode="json")) == found


def test_config_is_frozen_and_knows_its_fields() -> None:
    with pytest.raises(ValidationError):
        Config().refresh_s = 1
    with pytest.raises(ValidationError):
        Config(refesh_s=1)  # type: ignore[call-arg]


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(flags={"log_file": "x/log"}).log_file == str(tmp_path / "x/log")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("memory_bytes", "256M", 256 * 2**20),
        ("memory_bytes", "1.5 GiB", 1536 * 2**20),
        ("memory_bytes", "16777216", 16 * 2**20),
        ("refresh_s", "1.5", 1.5),
        ("read_ahead_kib", "0", 0),
        ("file_mode", "444", 0o444),
        ("file_mode", "0o400", 0o400),
        ("dir_mode", "0555", 0o555),
        ("allow_other", "off", False),
        ("show_hidden", "YES", True),
        ("log_level", "DEBUG", "debug"),
        ("uid", "0", 0),
    ],
)
def test_text_is_understood(field: str, text: str, value: object) -> None:
    variable = next(setting.option.variable for setting in settings() if setting.field == field)
    assert getattr(load(env={variable: text}), field) == value


WRONG = [
    ("refresh_s", "0"),
    ("refresh_s", "nan"),
    ("refresh_s", "inf"),
    ("refresh_s", "86401"),
    ("refresh_s", "15s"),
    ("refresh_s", True),
    ("memory_bytes", "1M"),
    ("memory_bytes", "many"),
    ("memory_bytes", "-1G"),
    ("memory_bytes", "9" * 400),
    ("read_ahead_kib", "-1"),
    ("max_connections", "0"),
    ("max_connections", "1.5"),
    ("mount_timeout_s", "0"),
    ("uid", "-1"),
    ("uid", "root"),
    ("gid", str(2**32 - 1)),
    ("file_mode", "0644"),
    ("file_mode", "rw"),
    ("file_mode", "4555"),
    ("dir_mode", "0755"),
    ("allow_other", "perhaps"),
    ("show_hidden", "2"),
    ("region", "eu central"),
    ("log_level", "loud"),
    ("log_format", "xml"),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG)
def test_wrong_value_is_one_sentence_that_names_its_origin(field: str, wrong: object, tmp_path: Path) -> None:
    option = next(setting.option for setting in settings() if setting.field == field)
    assert complaint(flags={field: wrong}).startswith(f"{option.flag} is ")
    assert option.expects in complaint(flags={field: wrong})
    if isinstance(wrong, str):
        assert complaint(env={option.variable: wrong}).startswith(f"{option.variable} is ")
    path = tmp_path / "c.toml"
    path.write_text(f"{option.name} = {str(wrong).lower() if isinstance(wrong, bool) else repr(wrong)}")
    assert complaint(files=[path]).startswith(f"{option.name} in {path} is ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("refresh = ", "is not TOML"),
        ("refesh = 3", "unknown key 'refesh'. Did you mean 'refresh'?"),
        ("[mount]\nrefresh = 3", "unknown key 'mount'"),
        ("refresh = [1]", "refresh in"),
        ("refresh = {}", "refresh in"),
        ("show_hidden = 1", "show_hidden in"),
        ("file_mode = 444", "octal digits in quotes"),
        ("\xff\xfe", "is not TOML"),
    ],
)
def test_wrong_file_is_one_sentence_that_names_it(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("latin-1"))
    message = complaint(flags={"config": str(path)})
    assert str(path) in message
    assert words in message


def test_named_file_must_be_a_readable_file_of_sane_size(tmp_path: Path) -> None:
    assert "does not exist" in complaint(flags={"config": str(tmp_path / "none")})
    assert "cannot be read" in complaint(flags={"config": str(tmp_path)})
    big = tmp_path / "big"
    big.write_bytes(b"#" * (sources.CONFIG_BYTES_MAX + 1))
    assert "larger than" in complaint(flags={"config": str(big)})


def test_unknown_variable_is_a_warning_with_a_suggestion() -> None:
    _, warnings = sources.load(flags={}, environment={"MODELFS_REFESH": "1", "MODELFS_URL": "x", "HOME": "/"}, files=[])
    (warning,) = warnings
    assert "MODELFS_REFESH" in warning
    assert "'MODELFS_REFRESH'?" in warning
