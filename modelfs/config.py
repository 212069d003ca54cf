"""The one definition of every setting: flag, environment variable, TOML key and documentation come from it.

Law: a Config is frozen and complete, and holds no secret. ``sources`` fills it; other modules than the worker and the
command line take plain values.

``python -m modelfs.config_page`` prints docs/configuration.md from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from modelfs.config_values import MIB, parse_bytes, parse_lower, parse_mode, parse_path, parse_switch

ENVIRONMENT_PREFIX = "MODELFS_"
OTHER_VARIABLES = {
    "MODELFS_CONFIG": "the configuration file, as `--config`",
    "MODELFS_URL": "the repository's URL, where the command line has none",
    "MODELFS_MOUNTPOINT": "the mount point, where the command line has none",
    "MODELFS_DEBUG": "`1` shows the traceback of an unexpected error of the command line",
}
"""What the environment may hold beside the settings."""


def _as_it_is(text: object) -> object:
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of Config is called outside, and what a person may write there."""

    name: str
    metavar: str
    expects: str
    shown_default: str
    parse: Callable[[object], object] = _as_it_is
    is_for_listing: bool = False
    """Whether it also means something to ``modelfs ls``."""

    @property
    def flag(self) -> str:
        """The command line's name."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's name."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def _nothing_or_enough(size_bytes: int | None) -> int | None:
    if size_bytes and size_bytes < LEAST_CACHE_BYTES:
        raise ValueError("too little")
    return size_bytes


LEAST_CACHE_BYTES = 16 * MIB
"""Two of the chunks that blocks are kept in, or less, would only throw each other out."""

_Mode = Annotated[int, Field(ge=0, le=0o777)]


class Config(BaseModel):
    """The settings of one mount. Field names carry units; the outside names stand in each field's Option."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    refresh_s: Annotated[
        float,
        Option("refresh", "SECONDS", "a number of seconds from 1 to 86400", "15"),
        Field(ge=1, le=86400, description="How often the repository is listed for changes."),
    ] = 15.0
    settle_s: Annotated[
        float,
        Option("settle", "SECONDS", "a number of seconds from 0 to 600", "10"),
        Field(
            ge=0,
            le=600,
            description="How long a new or changed model version must be listed unchanged, with all its files there,"
            " before it is shown. What is younger than this when mounting is waited for. 0 shows everything at once.",
        ),
    ] = 10.0
    look_s: Annotated[
        float,
        Option("look", "SECONDS", "a number of seconds from 0 to 10", "0.5"),
        Field(
            ge=0,
            le=10,
            description="How long the lookup of a model in the root, which is what an explicit load begins with, waits"
            " for that model to be listed anew. Then what was shown before answers. 0 lists nothing then.",
        ),
    ] = 0.5
    memory_bytes: Annotated[
        int,
        Option("memory", "BYTES", "a size of at least 16M, such as 256M or 2G", "256M", parse_bytes),
        Field(
            ge=16 * MIB,
            le=2**50,
            description="The most memory for blocks, held or in flight. In a control group a quarter of its limit is"
            " the most, since the page cache and the interpreter count there too.",
        ),
    ] = 256 * MIB
    load_ahead_bytes: Annotated[
        int,
        Option("load_ahead", "BYTES", "a size such as 512M or 8G, or 0", "2G", parse_bytes),
        Field(
            ge=0,
            le=2**50,
            description="The most of models that are about to load that is brought into the page cache before their"
            " files are opened: of those whose files somebody has looked at, and then opened the config, as Triton"
            " does. At most a quarter of the memory that is available. 0 brings nothing.",
        ),
    ] = 2 * 1024 * MIB
    read_ahead_kib: Annotated[
        int,
        Option("read_ahead", "KIB", "a number of KiB from 0 to 1048576", "1024"),
        Field(
            ge=0,
            le=MIB,
            description="How far the kernel reads ahead of a reader, in KiB. 0 leaves the kernel's own default.",
        ),
    ] = 1024
    max_connections: Annotated[
        int,
        Option("max_connections", "N", "a whole number from 1 to 1024", "32"),
        Field(
            ge=1,
            le=1024,
            description="The most reads from the store at one time. A listing is one request more. Within this bound"
            " there are as many as bring more throughput.",
        ),
    ] = 32
    max_rate_bytes_per_s: Annotated[
        float | None,
        Option("max_rate", "BYTES", "a size of at least 64K, such as 100M", "none", parse_bytes),
        Field(
            ge=MIB // 16,
            le=2**50,
            description="The most bytes to ask the store for in a second, for links that others share.",
        ),
    ] = None
    mount_timeout_s: Annotated[
        float,
        Option("mount_timeout", "SECONDS", "a number of seconds from 1 to 3600", "10", is_for_listing=True),
        Field(
            ge=1,
            le=3600,
            description="How long a page of a listing is asked for before `mount`, `ls` or a refresh gives up.",
        ),
    ] = 10.0
    connect_timeout_s: Annotated[
        float,
        Option("connect_timeout", "SECONDS", "a number of seconds from 0.1 to 600", "5", is_for_listing=True),
        Field(ge=0.1, le=600, description="How long one connection to the store may take to come about."),
    ] = 5.0
    stall_timeout_s: Annotated[
        float,
        Option("stall_timeout", "SECONDS", "a number of seconds from 0.1 to 3600", "20", is_for_listing=True),
        Field(ge=0.1, le=3600, description="How long a request may go without progress before it is tried again."),
    ] = 20.0
    read_deadline_s: Annotated[
        float,
        Option("read_deadline", "SECONDS", "a number of seconds from 1 to 86400", "1800"),
        Field(
            ge=1,
            le=86400,
            description="How long a read is retried before it fails with EIO. Long, as Triton takes a failed read for"
            " zeros.",
        ),
    ] = 1800.0
    region: Annotated[
        str | None,
        Option("region", "NAME", "the name of a region, such as eu-central-1", "the SDK's", is_for_listing=True),
        Field(pattern=r"^[A-Za-z0-9-]{1,64}$", description="The region of an S3 bucket."),
    ] = None
    endpoint_url: Annotated[
        str | None,
        Option("endpoint_url", "URL", "http://host:port or https://host:port", "the cloud's own", is_for_listing=True),
        Field(
            pattern=r"^(?i:https?)://[^/?#@\s]+/*$",
            description="Where an S3, Google Cloud or Azure store is, when the repository's URL does not say so itself."
            " Wins over `AWS_ENDPOINT_URL` and `AZURE_STORAGE_BLOB_ENDPOINT`.",
        ),
    ] = None
    engine: Annotated[
        Literal["auto", "obstore", "fsspec"],
        Option("engine", "ENGINE", "auto, obstore or fsspec", "auto", parse_lower, is_for_listing=True),
        Field(
            description="Who fetches the bytes of objects. auto is the fastest that can: connections of modelfs's own"
            " for S3 over plain HTTP, else obstore; fsspec is s3fs, gcsfs or adlfs. Listings are the same with all,"
            " and so is a local folder.",
        ),
    ] = "auto"
    allow_unpinned: Annotated[
        bool,
        Option("allow_unpinned", "", "true or false", "false", parse_switch, is_for_listing=True),
        Field(
            description="Whether to read, with `--engine fsspec`, from a store that cannot pin a version: `http://`,"
            " `sftp://`, `hf://` and whatever else fsspec has a driver for. A file that is replaced while it is read"
            " may give bytes of two versions.",
        ),
    ] = False
    addressing_style: Annotated[
        Literal["auto", "path", "virtual"],
        Option("addressing_style", "STYLE", "auto, path or virtual", "auto", parse_lower, is_for_listing=True),
        Field(
            description="Where the bucket of an S3 store stands: in the host name (virtual) or in the path. auto is"
            " virtual for AWS where the name allows it, and path for every other store.",
        ),
    ] = "auto"
    sign_requests: Annotated[
        bool,
        Option("sign_request", "", "true or false", "true", parse_switch, is_for_listing=True),
        Field(
            description="Whether requests to S3, Google Cloud and Azure carry credentials. `--no-sign-request` is"
            " anonymous access.",
        ),
    ] = True
    request_payer: Annotated[
        bool,
        Option("request_payer", "", "true or false", "false", parse_switch, is_for_listing=True),
        Field(description="Whether the reader pays, which a requester-pays bucket of S3 asks for."),
    ] = False
    expected_bucket_owner: Annotated[
        str | None,
        Option("expected_bucket_owner", "ACCOUNT", "the 12 digits of an AWS account", "anyone", is_for_listing=True),
        Field(
            pattern=r"^[0-9]{12}$",
            description="Which AWS account must own the S3 bucket. Another owner's bucket is refused.",
        ),
    ] = None
    sas_file: Annotated[
        str | None,
        Option("sas_file", "FILE", "the path of a file", "none", parse_path, is_for_listing=True),
        Field(
            min_length=1,
            description="A file that holds a SAS token for Azure and is read again when it changes, so that a living"
            " mount gets a new one.",
        ),
    ] = None
    ca_bundle: Annotated[
        str | None,
        Option(
            "ca_bundle",
            "FILE",
            "the path of a PEM file",
            "the system's authorities",
            parse_path,
            is_for_listing=True,
        ),
        Field(
            min_length=1,
            description="Further certificate authorities to trust for https:// stores. Wins over `AWS_CA_BUNDLE`.",
        ),
    ] = None
    uid: Annotated[
        int | None,
        Option("uid", "N", "a numeric user id", "the mounting user"),
        Field(ge=0, le=2**32 - 2, description="Who owns everything in the mount."),
    ] = None
    gid: Annotated[
        int | None,
        Option("gid", "N", "a numeric group id", "the mounting user's group"),
        Field(ge=0, le=2**32 - 2, description="Which group owns everything in the mount."),
    ] = None
    file_mode: Annotated[
        _Mode,
        Option("file_mode", "OCTAL", 'octal digits in quotes without write bits, such as "0444"', '"0444"', parse_mode),
        Field(description="The permissions of files. Write bits are refused: the mount is read-only."),
    ] = 0o444
    dir_mode: Annotated[
        _Mode,
        Option("dir_mode", "OCTAL", 'octal digits in quotes without write bits, such as "0555"', '"0555"', parse_mode),
        Field(description="The permissions of directories."),
    ] = 0o555
    allow_other: Annotated[
        bool | None,
        Option("allow_other", "", "true or false", "true for root, else false", parse_switch),
        Field(
            description="Whether other users than the mounting one may look in. Without root, /etc/fuse.conf must hold"
            " `user_allow_other`.",
        ),
    ] = None
    show_hidden: Annotated[
        bool,
        Option("show_hidden", "", "true or false", "false", parse_switch, is_for_listing=True),
        Field(description="Whether dot files, `__pycache__` and placeholder objects are shown."),
    ] = False
    list_mode: Annotated[
        Literal["whole", "on-open"],
        Option("list", "HOW", "whole or on-open", "whole", parse_lower),
        Field(
            description="Whether the repository is listed as a whole, or each model when somebody first looks into it:"
            " for repositories of millions of files, of which few are used."
        ),
    ] = "whole"
    list_limit: Annotated[
        int,
        Option("list_limit", "N", "a whole number of at least 1000", "5000000"),
        Field(
            ge=1000,
            description="The most objects to list as a whole, 550 bytes of memory each. Where there are more, models"
            " are listed when they are used, as with `--list on-open`.",
        ),
    ] = 5_000_000
    share_listings: Annotated[
        bool,
        Option("share_listings", "", "true or false", "true", parse_switch),
        Field(
            description="Whether mounts of one user that list the same, with the same credentials and `--refresh`, take"
            " turns: one of them lists for all, through `runtime_dir`.",
        ),
    ] = True
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Option("log_level", "LEVEL", "debug, info, warning or error", "info", parse_lower),
        Field(description="The least important lines that are logged."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Option("log_format", "FORMAT", "text or json", "text", parse_lower),
        Field(description="How log lines look."),
    ] = "text"
    log_file: Annotated[
        str | None,
        Option(
            "log_file",
            "PATH",
            "a path",
            "standard error with `--foreground`, else `log` in the runtime folder",
            parse_path,
        ),
        Field(
            min_length=1,
            description="Where the log goes. It is moved to PATH.1 at 4 MiB. After a crash `modelfs status` tells"
            " where it is.",
        ),
    ] = None
    runtime_dir: Annotated[
        str | None,
        Option(
            "runtime_dir",
            "PATH",
            "a path",
            "/run/modelfs for root, else $XDG_RUNTIME_DIR/modelfs or /tmp/modelfs-UID",
            parse_path,
        ),
        Field(min_length=1, description="Where living mounts are recorded."),
    ] = None
    cache_dir: Annotated[
        str | None,
        Option(
            "cache_dir",
            "PATH",
            "a path",
            "/var/cache/modelfs for root, else $XDG_CACHE_HOME/modelfs or ~/.cache/modelfs; in a container none, unless"
            " that is a mount of its own",
            parse_path,
        ),
        Field(
            min_length=1,
            description="Where blocks are kept on a disk, for the next start and for the other mounts of this machine.",
        ),
    ] = None
    cache_size_bytes: Annotated[
        int | None,
        Option(
            "cache_size",
            "BYTES",
            "0, or a size of at least 16M, such as 100G",
            "a fifth of the disk, at most 200G",
            parse_bytes,
        ),
        Field(
            ge=0,
            le=2**60,
            description="The most that all mounts with this cache folder keep there, while at least 15 % of the disk"
            " stay free. 0 keeps nothing on a disk.",
        ),
        AfterValidator(_nothing_or_enough),  # behind Field, which then looks at numbers only
    ] = None
    cache_group: Annotated[
        str | None,
        Option("cache_group", "NAME", "1 to 64 letters, digits, dots, dashes and underscores", "who the keys are of"),
        Field(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            description="Which mounts of this user share the blocks on a disk: those of the same store that say the"
            " same name, whatever their keys. Without it, those with the same keys or role.",
        ),
    ] = None
    offline: Annotated[
        bool,
        Option("offline", "", "true or false", "false", parse_switch),
        Field(
            description="Whether to ask the store nothing: the tree is the one that was shown here last, and what is"
            " not on the disk cannot be read. Without it that tree is shown when the store is away at the start, until"
            " it is back.",
        ),
    ] = False
    state_dir: Annotated[
        str | None,
        Option(
            "state_dir",
            "PATH",
            "a path",
            "/var/lib/modelfs for root, else $XDG_STATE_HOME/modelfs or ~/.local/state/modelfs",
            parse_path,
        ),
        Field(
            min_length=1,
            description="Where the times that a mount has shown are remembered, in one file for each mount, so"
            " that a remount shows no older ones.",
        ),
    ] = None


class Setting(NamedTuple):
    """One field of Config, as other modules need it."""

    field: str
    option: Option
    description: str
    is_switch: bool


def settings() -> Iterator[Setting]:
    """Yield all settings in the order of the documentation."""
    for field, info in Config.model_fields.items():
        option = next(item for item in info.metadata if isinstance(item, Option))
        yield Setting(field, option, info.description or "", option.expects == "true or false")
