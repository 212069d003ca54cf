"""What README.md and docs/ tell a person to write is what modelfs takes: URLs, flags and variables."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from modelfs import config
from modelfs.cli import app
from modelfs.location import parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCE = "\n".join(path.read_text() for path in (ROOT / "modelfs").glob("*.py"))
LINT = "\n".join((ROOT / "modelfs" / name).read_text() for name in ("lint.py", "model_files.py"))
PLACEHOLDERS = {":port": ":9000", "?SAS": "?sv=1&sig=x", "?$SAS": "?sv=1&sig=x", "account": "acct", "Account": "acct"}
NOT_READ = {"MODELFS_PORT"}
"""A variable that is named because it gets into the environment by itself."""


def code_blocks(text: str) -> Iterator[str]:
    """Yield the commands of a page, each on one line."""
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        if language in {"sh", "bash", ""}:
            yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def of_readmes_table() -> list[str]:
    text = (ROOT / "README.md").read_text()
    table = text.partition("### Where the models are")[2].partition("Each form")[0]
    return [each for each in re.findall(r"`([^`]+)`", table) if "://" in each and not each.endswith("://")]


@pytest.mark.parametrize("url", of_readmes_table())
def test_url_form_of_the_readme_is_one(url: str) -> None:
    for placeholder, value in PLACEHOLDERS.items():
        url = url.replace(placeholder, value)
    if parse(url).scheme == "other":
        assert parse(url).display.endswith("/path")
    elif parse(url).scheme != "file":
        assert parse(url).bucket in {"bucket", "container"}
        assert parse(url).prefix == "path"


def test_readmes_table_has_every_kind_of_url() -> None:
    text = " ".join(of_readmes_table())
    for beginning in ("s3://bucket", "s3://host", "s3://http://", "s3://https://", "s3://[", "gs://", "as://account/"):
        assert beginning in text
    for beginning in (
        "as://account.",
        "as://host",
        "https://account.",
        "abfss://",
        "file://",
        "https://host",
        "sftp://",
    ):
        assert beginning in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_a_command_is_shown_with_is_one(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    for line in code_blocks(page.read_text()):
        for name, rest in re.findall(r"(?:^|&& |  )modelfs (\w+)(.*)", line):
            assert name in commands, line
            known = {flag for option in commands[name].params for flag in (*option.opts, *option.secondary_opts)}
            for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", rest.partition("#")[0].partition("|")[0]):
                assert flag in known, line


def test_every_rule_of_lint_stands_in_its_table() -> None:
    rules = set(re.findall(r'\b(?:error|warning|tell)\(\s*"([a-z-]+)"', LINT))
    table = (ROOT / "docs/publishing.md").read_text().partition("| rule |")[2].partition("It does not open")[0]
    told = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z-]+)`", row.split("|")[1] if "|" in row else "")
    }
    assert told == rules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_of_a_credential_or_endpoint_is_read(page: Path) -> None:
    words = r"\b(?:AWS|AZURE|GOOGLE|TRITON|CLOUDSDK|STORAGE|MODELFS)_[A-Z_]+[A-Z]\b"
    settings = {setting.option.variable for setting in config.settings()} | set(config.OTHER_VARIABLES)
    for name in set(re.findall(words, page.read_text())) - NOT_READ - settings:
        assert name in SOURCE, f"{name} of {page.name} is read nowhere"
