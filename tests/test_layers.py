"""The house: which module may import which. A module that fits no row, or looks down, fails here."""

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import modelfs

ROWS = (
    # pure: no I/O, no clock
    (
        "errors",
        "blocks",
        "identity",
        "answers",
        "cookies",
        "pace",
        "backward",
        "priority",
        "given",
        "names",
        "pbtxt",
        "findings",
        "buffers",
        "unpinned_times",
    ),
    ("location", "gate", "spans", "readahead", "pushing", "version_policy", "visits", "restraint"),
    ("model_config",),
    ("wholeness",),
    ("tree",),
    ("growing",),
    ("model_files", "withdrawn", "manifest"),
    ("lint", "groups"),
    ("uploads",),
    ("settle",),
    # what is set, and who we are to a store
    ("config_values",),
    ("config", "credential_files", "proxies"),
    ("config_page", "sources", "aws_session", "credentials_triton"),
    ("credentials", "aws_settings"),
    ("azure_signing",),
    ("credentials_sas",),
    ("azure_tokens",),
    ("credentials_azure",),
    # the store and its engines
    ("store", "failing"),
    ("gathering",),
    ("http_errors",),
    ("s3_errors", "unpinned_errors"),
    ("transport", "s3_address", "obstore_errors"),
    ("azure_errors", "gcs_errors", "obstore_client"),
    ("gcs_tokens",),
    ("gcs_metadata", "google_files"),
    ("credentials_gcs",),
    ("s3_listing", "azure_listing", "gcs_listing", "places"),
    ("s3_writing", "azure_writing", "gcs_writing"),
    ("direct_client", "obstore_s3", "obstore_azure", "obstore_gcs", "aiohttp_errors", "fsspec_client", "unpinned_http"),
    ("direct_s3", "fsspec_s3", "fsspec_azure", "fsspec_gcs"),
    ("store_s3", "store_azure", "store_gcs", "store_local", "store_unpinned"),
    ("engines", "late_store", "offline"),
    ("opening", "trial"),
    # what is read, and what is shown
    ("connections", "memory_limit", "remembered", "journal", "texts", "upload_reader", "sharing", "collector"),
    ("disk_format", "disk_locks", "disk_policy", "disk_tally", "disk_trouble", "disk_ways"),
    ("disk_chunks", "disk_index"),
    ("disk_home",),
    ("disk_census",),
    ("disk_ledger",),
    ("disk_writer",),
    ("disk",),
    ("disk_opening", "disk_reading", "disk_inventory"),
    ("extents", "splitting", "on_open"),
    ("listings", "showing"),
    ("cache", "view"),
    ("inodes", "push", "foresight", "xattrs", "looks", "invalidations"),
    ("streamer", "inherited"),
    ("open_files",),
    ("announced",),
    ("operations", "reading"),
    # the serving process; the first row is shared with the supervisor
    ("mounting", "logs", "runtime"),
    ("kernel", "control", "unmounting", "disk_places"),
    ("reports",),
    ("worker",),
    # the command line
    ("mounts", "launch", "listing", "linting", "comparing"),
    ("check", "several", "bench", "sealing", "refreshing", "warming", "held_back"),
    ("warming_mount",),
    ("show", "cli_options"),
    ("show_cache",),
    ("cli_bench", "cli_cache", "cli_publish"),
    ("cli",),
    ("__main__",),
)
"""A module imports only from rows above its own."""

BESIDE = (
    ("mounting", "logs", "runtime", "fuse_protocol", "lives", "service_manager"),
    ("watch", "lost", "unmounting"),
    ("succession",),
    ("supervisor",),
    ("parent",),
)
"""What the supervisor, and the parent of several, are made of: the standard library, and the rows above."""

ONLY_IN = {
    "pyfuse3": {"operations", "invalidations", "worker"},
    "azure": {"azure_tokens", "fsspec_azure"},
    "obstore": {"obstore_s3", "obstore_gcs", "obstore_azure", "obstore_client", "obstore_errors"},
    "google": {"google_files"},
    "botocore": {"aws_session", "s3_address", "s3_listing", "fsspec_s3"},
    "urllib3": {"transport", "http_errors", "google_files"},
    "aiohttp": {"aiohttp_errors", "fsspec_client", "fsspec_s3", "fsspec_gcs", "fsspec_azure", "unpinned_http"},
    "fsspec": {"fsspec_client", "store_unpinned"},
    "s3fs": {"fsspec_s3"},
    "gcsfs": {"fsspec_gcs"},
    "adlfs": {"fsspec_azure"},
    "pydantic": {"config", "sources"},
    "typer": {"cli", "cli_bench", "cli_cache", "cli_options", "cli_publish"},
    "rich": {"show", "show_cache"},
    "sqlite3": {"cli_cache", "disk_census", "disk_index", "disk_ledger", "disk_trouble"},
    "xxhash": {"disk_format"},
}
"""The libraries that only some modules may know."""

FOLDER = Path(modelfs.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def imports(module: str) -> Iterator[str]:
    """Yield the full names of what ``module`` imports, anywhere in it."""
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            if node.module == "modelfs":
                yield from (f"modelfs.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def ours(module: str) -> set[str]:
    """Return which modules of modelfs ``module`` imports. Constants of the package itself do not count."""
    names = {name.split(".")[1] for name in imports(module) if name.startswith("modelfs.")}
    return {name for name in names if not name.startswith("__")}


def test_the_rows_name_the_modules_that_there_are() -> None:
    assert {name for rows in (ROWS, BESIDE) for row in rows for name in row} == set(MODULES)


def test_each_module_stands_once_in_the_table_of_the_design() -> None:
    rows = re.findall(r"(?m)^\| (?:[0-9]|beside)[^|]*\|([^|]*)\|", DESIGN.read_text())
    patterns = [name for row in rows for name in re.findall(r"`([a-z0-9_*]+)`", row)]
    for module in set(MODULES) - {"__main__"}:
        assert len([pattern for pattern in patterns if fnmatchcase(module, pattern)]) == 1, module
    assert all(any(fnmatchcase(module, pattern) for module in MODULES) for pattern in patterns)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_rows_above(module: str) -> None:
    rows = BESIDE if any(module in row for row in BESIDE) else ROWS
    row = next((index for index, names in enumerate(rows) if module in names), None)
    assert row is not None, f"{module} has no row: give it one, or reconsider it"
    allowed = {name for names in rows[:row] for name in names}
    assert ours(module) - {module} <= allowed


@pytest.mark.parametrize("module", [name for row in BESIDE for name in row])
def test_supervisor_uses_the_standard_library_alone(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module)}
    assert roots - {"modelfs"} <= sys.stdlib_module_names


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_library_is_known_only_where_it_belongs(library: str) -> None:
    users = {module for module in MODULES if any(name.partition(".")[0] == library for name in imports(module))}
    assert users == ONLY_IN[library]


def test_config_is_known_only_to_those_who_put_things_together() -> None:
    users = {module for module in MODULES if "config" in ours(module)}
    shell = {
        "cli",
        "cli_bench",
        "cli_cache",
        "cli_options",
        "launch",
        "listing",
        "check",
        "bench",
        "linting",
        "sealing",
        "warming",
    }
    assert users <= {"config_page", "sources", "worker", "opening", *shell}


def test_asyncio_does_not_appear() -> None:
    assert not [module for module in MODULES if "asyncio" in imports(module)]
