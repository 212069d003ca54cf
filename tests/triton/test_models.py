"""The quickstart's example models are what Triton's example repository has."""

import hashlib
from pathlib import Path

import models


def test_the_eight_models_have_the_names_labels_and_weights_of_the_example_repository(examples: Path) -> None:
    assert sorted(path.name for path in examples.iterdir()) == sorted(models.NAMES)
    sizes = {name: (examples / name / "1" / "model.onnx").stat().st_size for name in models.NAMES}
    assert 30e6 < sizes.pop("densenet_onnx") < 34e6
    assert 90e6 < sizes.pop("inception_graphdef") < 97e6
    assert all(size < 1000 for size in sizes.values())
    labels = {path.name: len(path.read_text().splitlines()) for path in examples.glob("*/*.txt")}
    assert labels == {"densenet_labels.txt": 1000, "inception_labels.txt": 1001}


def test_models_are_the_same_bytes_at_every_making(examples: Path, tmp_path: Path) -> None:
    models.make(tmp_path)
    assert _digests(tmp_path) == _digests(examples)


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
