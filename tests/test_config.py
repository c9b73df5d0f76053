"""params.yaml: defaults, and one sentence for every mistake."""

from pathlib import Path

import pytest
import yaml

from m3tr.config import Params, read_params
from m3tr.errors import InputError

REPOSITORY = Path(__file__).parents[1]


def told(folder: Path, text: str) -> str:
    """The sentence that `text` as params.yaml gives."""
    (folder / "params.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_params(folder)
    sentence = str(caught.value)
    assert "params.yaml" in sentence and "\n" not in sentence
    return sentence


def keys_of(mapping: dict, prefix: str = "") -> set[str]:
    """All dotted keys, those of inner mappings included."""
    found = set()
    for key, value in mapping.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= keys_of(value, f"{prefix}{key}.")
    return found


# text after `name: x`, the key that must be named, what must be said of it
MISTAKES = {
    "unknown at the top": ("sed: 1", "sed", "remove it or correct its spelling"),
    "unknown in a room": ("train: {epoch: 3}", "train.epoch", "remove it or correct"),
    "unknown three deep": (
        "features: {visual: {frame: 3}}",
        "features.visual.frame",
        "remove it or correct",
    ),
    "unknown in observe": ("task: {observe: {ages: 1d}}", "task.observe.ages", "remove it"),
    "unknown bound": ("evaluate: {bounds: {nmse: 1}}", "evaluate.bounds.nmse", "remove it"),
    "horizon inside the window": (
        "task: {observe: {age: 3d}, horizons: [2d, 7d]}",
        "task",
        "the horizon 2d is not after the observation age 3d: name a later horizon",
    ),
    "horizon at the clock": ("task: {observe: {age: 1d}, horizons: [1d]}", "task", "later horizon"),
    "horizons descend": ("task: {horizons: [7d, 4d]}", "task", "horizons must ascend"),
    "no horizon": ("task: {horizons: []}", "task.horizons", "at least 1"),
    "wrong type": ("train: {epochs: many}", "train.epochs", "valid integer"),
    "a half": ("train: {epochs: 2.5}", "train.epochs", "valid integer"),
    "out of range": ("bank: {k: 0}", "bank.k", "greater than or equal to 1"),
    "a share above 1": ("bank: {eta: 2}", "bank.eta", "between 0 and 1"),
    "a share in another word": ("bank: {eta: taught}", "bank.eta", "nor 'learned'"),
    "a negative weight": ("bank: {weights: {text: -1}}", "bank.weights", "none negative"),
    "an unknown modality": (
        "bank: {weights: {smell: 1}}",
        "bank.weights",
        "of visual, audio, text",
    ),
    "not a number": ("train: {dropout: .nan}", "train.dropout", "finite number"),
    "a word for a room": ("hawkes: fast", "hawkes", "valid dictionary"),
    "a list for a room": ("bank: [1, 2]", "bank", "valid dictionary"),
    "nothing for a room": ("bank:", "bank", "valid dictionary"),
    "bad duration": ("task: {observe: {age: soon}}", "task.observe.age", "as in '6h'"),
    "duration without unit": ("task: {observe: {age: 3}}", "task.observe.age", "as in '6h'"),
    "bad unit": ("task: {horizons: [3 months]}", "task.horizons.0", "a unit of s, min, h, d, w"),
    "endless duration": ("task: {horizons: [99999999999w]}", "task.horizons.0", "too long"),
    "both clocks": (
        "task: {observe: {age: 1d, until: 2025-01-01}}",
        "task.observe",
        "exactly one of age (as in 1d) and until (a time)",
    ),
    "no clock": ("task: {observe: {}}", "task.observe", "exactly one of age"),
    "bad time": ("task: {observe: {until: later}}", "task.observe.until", "write it as in '20"),
    "shares": ("task: {fractions: [.5, .5, .5]}", "task", "sum to 1"),
    "a share that is no number": (
        "task: {fractions: [.nan, .5, .5]}",
        "task.fractions.0",
        "finite",
    ),
    "split": ("task: {split: by moon}", "task.split", "'temporal' or 'random'"),
    "coverage of what": (
        "quality: {min_coverage: {smell: 1}}",
        "quality.min_coverage.smell",
        "remove it or correct",
    ),
    "no share": ("quality: {max_drift: 1.5}", "quality.max_drift", "less than or equal to 1"),
    "model name": ("registry: {model: 'a b'}", "registry.model", "pattern"),
}


@pytest.mark.parametrize(("text", "key", "remedy"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    sentence = told(tmp_path, f"name: x\n{text}\n")
    assert f"'{key}'" in sentence
    assert remedy in sentence


def test_a_name_is_needed(tmp_path: Path) -> None:
    assert "'name'" in told(tmp_path, "seed: 3\n")
    assert "'name'" in told(tmp_path, "name: ''\n")
    assert "'name'" in told(tmp_path, f"name: {'x' * 300}\n")


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "- a\n- list\n", "word", "3", "null"], ids=repr
)
def test_no_settings_at_all(tmp_path: Path, text: str) -> None:
    assert "holds no settings: copy the one of the repository" in told(tmp_path, text)


def test_keys_that_are_no_words(tmp_path: Path) -> None:
    assert "every key must be a word" in told(tmp_path, "name: x\n3: 4\n")


def test_no_yaml(tmp_path: Path) -> None:
    assert "not valid YAML at line 2: mend it" in told(tmp_path, "name: x\ntask: {a: ]\n")
    assert "not valid YAML" in told(tmp_path, "name: x\n\tseed: 3\n")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(InputError, match=r"params\.yaml is not valid YAML"):
        read_params(tmp_path)


def test_yaml_that_would_run_code(tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    told(tmp_path, f"name: !!python/object/apply:os.mkdir ['{evil}']\n")
    assert not evil.exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml cannot be read: copy the one of the repo"):
        read_params(tmp_path)
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(InputError, match=r"params\.yaml cannot be read"):
        read_params(tmp_path)


def test_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: mine\n")
    params = read_params(tmp_path)
    assert params == Params(name="mine")
    assert params.task.target == "view" and params.task.split == "temporal"
    assert params.seed == 7


def test_settings_survive_a_round_trip(tmp_path: Path) -> None:
    params = read_params(REPOSITORY)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert read_params(tmp_path) == params


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Params(name="x").train.epochs = 3  # type: ignore[misc]


def test_the_repository_names_what_dvc_watches() -> None:
    """DVC fails on a parameter that params.yaml does not spell out."""
    read_params(REPOSITORY)
    written = keys_of(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))
    graph = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    watched = {key for stage in graph.values() for key in stage["params"]}
    assert watched - written == set()
    # and every room is watched by some stage
    rooms = set(Params.model_fields) - {"name"}
    assert rooms - {key.split(".")[0] for key in watched} == set()


def test_a_workspace_may_leave_out_what_dvc_watches() -> None:
    from m3tr.pipeline import RESOLVED, workspace_graph

    resolved = keys_of(Params(name="x").model_dump(mode="json")) | {"code"}
    for stage in workspace_graph()["stages"].values():
        assert set(stage["params"][0][RESOLVED]) - resolved == set()
        assert not [dep for dep in stage["deps"] if dep.startswith("m3tr/")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bank: {ages: [2d]}", "bank.ages: 2d is not between 0 and the observation age 1d"),
        ("bank: {ages: [0]}", "bank.ages: 0s is not between 0 and the observation age 1d"),
        (
            "task: {observe: {until: 2021-05-05}, split: random}\nbank: {ages: [1h]}",
            "bank.ages: under task.observe.until every video is met at its own age",
        ),
    ],
)
def test_ages_of_the_bank_lie_below_that_of_the_task(
    tmp_path: Path, text: str, sentence: str
) -> None:
    assert sentence in told(tmp_path, f"name: x\n{text}\n")
