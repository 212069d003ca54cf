"""A repository of many small models that a real Triton loads in a moment: ensembles around one Python model.

Law: pure. A Python model each would be a process each; an ensemble is none, and is polled like any other model.
"""

BASE = "base"
"""The model that all the others lead to."""

FILES = ("config.pbtxt", "1/marker", *(f"labels_{number}.txt" for number in range(8)))
"""The ten files of each of the others."""

_TENSORS = """
input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""

_CODE = b"""
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                output_tensors=[pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy())]
            )
            for request in requests
        ]
"""


def names(number: int) -> list[str]:
    """Return the names of ``number`` models, the base first."""
    return [BASE, *(f"model_{index:04d}" for index in range(1, number))]


def files(number: int) -> dict[str, bytes]:
    """Return the files of ``number`` models by their keys: two of the base, ten of each other."""
    found = {f"{BASE}/config.pbtxt": f'backend: "python"{_TENSORS}'.encode(), f"{BASE}/1/model.py": _CODE}
    for name in names(number)[1:]:
        for file in FILES:
            found[f"{name}/{file}"] = b"0\n"
        found[f"{name}/config.pbtxt"] = _ensemble(name).encode()
    return found


def _ensemble(name: str) -> str:
    step = f'{{ model_name: "{BASE}" model_version: -1 input_map {{ key: "IN" value: "IN" }}'
    step += ' output_map { key: "OUT" value: "OUT" } }'
    return f'name: "{name}"\nplatform: "ensemble"{_TENSORS}ensemble_scheduling {{ step [ {step} ] }}\n'
