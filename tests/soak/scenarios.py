"""The scenarios that Triton's own tests play with its native file systems, and the life of models on a mount.

Each is one value: a repository, and steps. Names of models begin with their scenario's, so that they can be mixed.
"""

import json

from soak.scenario import Files, Infer, Load, Mode, Scenario, Step, Unload
from soak.witness import config, ensemble, script, version

ALL = "version_policy { all {} }"
MANY = 1050


def _model(name: str, *numbers: int, policy: str = "") -> dict[str, bytes]:
    """Return a model whose version N tells N."""
    files = {f"{name}/config.pbtxt": config(policy)}
    for number in numbers:
        files |= version(f"{name}/{number}", number)
    return files


def _without(files: Files) -> dict[str, None]:
    return dict.fromkeys(files)


EMPTY = Scenario(
    "empty at the start, then all is uploaded",
    initial={},
    steps=(
        Step("nothing"),
        Step(
            "all uploaded",
            _model("first", 1) | _model("second", 1, 2) | {"both/config.pbtxt": ensemble("first"), "both/1/": b""},
            (Load(("first", "second")), Load(("both",)), Infer("first"), Infer("second"), Infer("both")),
        ),
    ),
    alone=True,
)

DUMMY = Scenario(
    "a repository of one dummy file",
    initial={"dummy": b"x"},
    steps=(
        Step("nothing"),
        Step("a model beside it", _model("beside", 1), (Load(("beside",)), Infer("beside"))),
        Step("the model goes", _without(_model("beside", 1)), (Unload(("beside",)), Load(("beside",)))),
    ),
    alone=True,
)

PLACEHOLDERS = Scenario(
    "placeholders in empty version folders",
    initial=_model("holder_step", 1)
    | {"holder_marker/config.pbtxt": ensemble("holder_step"), "holder_marker/1/": b""}
    | {"holder_hidden/config.pbtxt": ensemble("holder_step"), "holder_hidden/1/.keep": b""}
    | {"holder_file/config.pbtxt": ensemble("holder_step"), "holder_file/1/placeholder": b"x"}
    | _model("holder_real", 2)
    | {"holder_real/1/": b""},
    steps=(
        Step(
            "at the start",
            asks=(
                Load(("holder_step", "holder_real")),
                Load(("holder_marker", "holder_hidden", "holder_file")),
                Infer("holder_marker"),
                Infer("holder_hidden"),
                Infer("holder_file"),
                Infer("holder_real"),
            ),
        ),
        Step(
            "a newer version comes",
            version("holder_real/3", 3),
            (Load(("holder_real",)), Infer("holder_real")),
        ),
    ),
)

LATEST = Scenario(
    "version 4 comes and 3 unloads",
    initial=_model("latest", 1, 2, 3),
    steps=(
        Step("at the start", asks=(Load(("latest",)), Infer("latest"))),
        Step("4 comes", version("latest/4", 4), (Load(("latest",)), Infer("latest"))),
        Step("4 goes", _without(version("latest/4", 4)), (Load(("latest",)), Infer("latest"))),
        Step("4 is put back", version("latest/4", 5), (Load(("latest",)), Infer("latest", "4"))),
    ),
)

UPLOAD_3 = Scenario(
    "version 1 is served, 3 is uploaded",
    initial=_model("upload", 1),
    steps=(
        Step("at the start", asks=(Load(("upload",)), Infer("upload"))),
        Step("3 comes", version("upload/3", 3), (Load(("upload",)), Infer("upload"))),
        Step("1 goes", _without(version("upload/1", 1)), (Load(("upload",)), Infer("upload"))),
    ),
)

_PARTS = ("a", "b")
_PARAMETER = 'parameters { key: "a" value { string_value: "b" } }'
MODIFY = Scenario(
    "a model is modified",
    initial={"modify/config.pbtxt": config(), "modify/notes.txt": b"first"} | version("modify/1", 1, _PARTS),
    steps=(
        Step("at the start", asks=(Load(("modify",)), Infer("modify"))),
        Step("its version is replaced", version("modify/1", 2, _PARTS), (Load(("modify",)), Infer("modify"))),
        Step("and put back as it was", version("modify/1", 1, _PARTS), (Load(("modify",)), Infer("modify"))),
        Step("a file beside it is replaced", {"modify/notes.txt": b"second"}, (Load(("modify",)), Infer("modify"))),
        Step("a file beside it goes", {"modify/notes.txt": None}, (Load(("modify",)), Infer("modify"))),
        Step(
            "its config gets a parameter",
            {"modify/config.pbtxt": config(_PARAMETER)},
            (Load(("modify",)), Infer("modify")),
        ),
    ),
)

VERSIONS = Scenario(
    "a change in one version is no other's",
    initial=_model("versions", 1, 2, policy=ALL),
    steps=(
        Step("at the start", asks=(Load(("versions",)), Infer("versions", "1"), Infer("versions", "2"))),
        Step("1 is replaced", version("versions/1", 11), (Load(("versions",)), Infer("versions", "1"))),
        Step("3 comes", version("versions/3", 3), (Load(("versions",)), Infer("versions", "3"))),
        Step("2 goes", _without(version("versions/2", 2)), (Load(("versions",)), Infer("versions", "1"))),
        Step(
            "1 alone is asked for",
            {"versions/config.pbtxt": config("version_policy { specific { versions: [1] } }")},
            (Load(("versions",)), Infer("versions", "1")),
        ),
    ),
)

COMES_AND_GOES = Scenario(
    "a model goes and comes back",
    initial=_model("comes", 1) | _model("stays", 1),
    steps=(
        Step("at the start", asks=(Load(("comes", "stays")), Infer("comes"))),
        Step("unloaded by hand", asks=(Unload(("comes",)),)),
        Step("it goes", _without(_model("comes", 1)), (Load(("comes",)), Infer("comes"))),
        Step("it is back", _model("comes", 1), (Load(("comes",)), Infer("comes"), Infer("stays"))),
    ),
)

_RAISES = script(2, extra='raise ValueError("it will not load")')
FAILS = Scenario(
    "a load fails, and is tried again",
    initial=_model("fails", 1),
    steps=(
        Step("at the start", asks=(Load(("fails",)), Infer("fails"))),
        Step("a version that raises", {"fails/2/model.py": _RAISES}, (Load(("fails",)), Infer("fails"))),
        Step("again as it is", asks=(Load(("fails",)), Infer("fails"))),
        Step("mended", version("fails/2", 2), (Load(("fails",)), Infer("fails"))),
    ),
    modes=("explicit",),  # a server that polls tries again at every poll, and never comes to rest
)

_FOUR = tuple(f"concurrent{number}" for number in range(4))
CONCURRENT = Scenario(
    "four models are loaded at once",
    initial={path: data for name in _FOUR for path, data in _model(name, 1).items()},
    steps=(
        Step("at once", asks=(Load(_FOUR, at_once=True), Infer("concurrent2"))),
        Step("once more", asks=(Load(_FOUR, at_once=True),)),
        Step("unloaded at once", asks=(Unload(_FOUR, at_once=True),)),
    ),
    modes=("explicit",),
)

_OWN_CONFIG = {
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}],
    "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [-1]}],
    "version_policy": {"specific": {"versions": [1]}},
}
CUSTOM_CONFIG = Scenario(
    "a load brings a config of its own",
    initial=_model("custom", 1, 2),
    steps=(
        Step("its own config", asks=(Load(("custom",), json.dumps(_OWN_CONFIG)), Infer("custom"))),
        Step("that of the repository", asks=(Load(("custom",)), Infer("custom"))),
    ),
    modes=("explicit",),
)

_COUNTS = script(1, extra='self.told.append(len(os.listdir(os.path.join(args["model_repository"], "many"))))')
MANY_FILES = Scenario(
    "a model with 1,050 files in a folder",
    initial={"many/config.pbtxt": config(), "many/1/model.py": _COUNTS}
    | {f"many/many/{number:04d}": b"x" for number in range(MANY)},
    steps=(
        Step("at the start", asks=(Load(("many",)), Infer("many"))),
        Step("one more", {"many/many/more": b"x"}, (Load(("many",)), Infer("many"))),
    ),
)

SCENARIOS = (
    EMPTY,
    DUMMY,
    PLACEHOLDERS,
    LATEST,
    UPLOAD_3,
    MODIFY,
    VERSIONS,
    COMES_AND_GOES,
    FAILS,
    CONCURRENT,
    CUSTOM_CONFIG,
    MANY_FILES,
)


def together(mode: Mode) -> list[tuple[Scenario, ...]]:
    """Return the scenarios of a mode in groups that can be played on one server each."""
    fitting = [scenario for scenario in SCENARIOS if mode in scenario.modes]
    return [*((each,) for each in fitting if each.alone), tuple(each for each in fitting if not each.alone)]
