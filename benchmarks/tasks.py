"""The tasks of the protocol (docs/protocol.md): what is forecast from what, and on which folds.

A task is a dataset, changes to its settings, and a change for each fold. M3TR's variants, which
are rows or ablations of the results, are changes to the settings too.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from benchmarks.workspaces import QUICK, REAL, merged, settings_of
from m3tr.config import Params
from m3tr.errors import InputError
from m3tr.features.parts import MODALITIES

Changes = Mapping[str, Mapping[str, Any]]


class Task(NamedTuple):
    """One task of the protocol.

    Attributes
    ----------
    name, dataset : str
    changes : mapping
        Of the section `task` of the dataset's settings.
    folds : tuple of mappings
        Further changes of the section `task`, one a fold.
    later : mapping or None
        `observe` of a clock that sees a little more: the row of the noise floor.
    more : str
        What that clock sees more, in words.
    """

    name: str
    dataset: str
    changes: Mapping[str, Any] = {}
    folds: tuple[Mapping[str, Any], ...] = ({},)
    later: Mapping[str, Any] | None = None
    more: str = ""


class Variant(NamedTuple):
    """M3TR with other settings, or with less to see.

    Attributes
    ----------
    name, information : str
        Of its row, and its information set.
    changes : mapping
        Of the settings.
    without : str
        What no video has, separated by commas: `feedback` (before the clock), `visual`, `audio`,
        `text`, `metadata`.
    """

    name: str
    information: str
    changes: Changes = {}
    without: str = ""

    @property
    def absent(self) -> list[str]:
        """What no video has, as a list."""
        return self.without.split(",") if self.without else []


def _youtube(day: int) -> Task:
    """Observed from day 0, 2021-04-29 12:00 UTC, to `day`; the horizons are days 7, 14 and 21."""
    clock, later = (
        (datetime(2021, 4, 29, 12, tzinfo=UTC) + timedelta(days=d)).isoformat()
        for d in (day, day + 1)
    )
    return Task(
        f"Y{day}",
        "youtube-2021",
        {
            "observe": {"until": clock},
            "horizons": [f"{end - day}d" for end in (7, 14, 21)],
            "fractions": [0.72, 0.08, 0.2],
        },
        tuple({"fold": fold} for fold in range(5)),
        {"until": later},
        "one more daily reading",
    )


def _weibo(hours: int) -> Task:
    """Observed for `hours`; the horizons are the ages of 2 and 7 days; four rolling origins."""
    return Task(
        f"W{hours}",
        "weibo-ced",
        {"observe": {"age": f"{hours}h"}, "horizons": ["2d", "7d"], "min_events": 5},
        tuple({"fractions": [round(origin - 0.1, 1), 0.1, 0.1]} for origin in (0.5, 0.6, 0.7, 0.8)),
        {"age": f"{hours * 75}min"},
        "a quarter more window",
    )


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *map(_youtube, (1, 3, 6)),
        *map(_weibo, (1, 6, 24)),
        Task("T0", "tiktok-smp"),
        Task("S400", "sample"),
        Task("S5000", "simulation-5000"),
    )
}

# how M3TR is set in every task; learned means from training and validation
MODEL: Changes = {
    "bank": {"eta": "learned", "weights": "learned", "trajectory": "supervised", "numbers": True},
    # intervals of the results are over the test videos of all folds
    "evaluate": {"bootstrap": 0, "n_jobs": 1},
}

ROWS = (
    Variant("THP", "CFR", {"hawkes": {"encoder": "transformer"}}),
    Variant("MMRA-like", "CR", {"bank": {"eta": 0}, "train": {"ages": []}}, "feedback"),
)
ABLATIONS = (
    Variant("-Mamba", "CFR", {"hawkes": {"context": False}}),
    Variant("-classical", "CFR", {"hawkes": {"classical": False}}),
    Variant("-latent classes", "CFR", {"hawkes": {"classes": 0}}),
    Variant("-MHP", "CFR", {"hawkes": {"classical": False, "context": False, "classes": 0}}),
    Variant("eta=0", "CFR", {"bank": {"eta": 0}}),
    Variant("eta=1", "CFR", {"bank": {"eta": 1}}),
    Variant("-supervised key", "CFR", {"bank": {"trajectory": "likelihood"}}),
    Variant("-retrieval", "CF", {"bank": {"retrieve": False}}),
    Variant("-cross attention", "CFR", {"train": {"attention": False}}),
    Variant("-network", "CFR", {"train": {"members": 0}}),
    Variant("-boosted heads", "CFR", {"train": {"boosted": False}}),
    Variant("-forests", "CFR", {"train": {"trees": 0}}),
    Variant("-visual", "CFR", {}, "visual"),
    Variant("-audio", "CFR", {}, "audio"),
    Variant("-text", "CFR", {}, "text"),
    Variant("-modalities", "CFR", {}, "visual,audio,text"),
    Variant("visual alone", "CFR", {}, "audio,text"),
    Variant("audio alone", "CFR", {}, "visual,text"),
    Variant("text alone", "CFR", {}, "visual,audio"),
    Variant("-metadata", "CFR", {}, "metadata"),
    *ROWS,
)


def settings(task: Task, fold: int, quick: bool = False) -> dict[str, Any]:
    """The content of params.yaml of one fold."""
    whole = merged(merged(settings_of(task.dataset, quick=False), QUICK if quick else {}), MODEL)
    return merged(whole, {"task": {**task.changes, **task.folds[fold]}})


def differs(variant: Variant, settings: Mapping[str, Any]) -> bool:
    """Whether a variant is another model under these settings.

    At age 0 nothing was seen: the process and what compares trajectories have nothing to do. Nor
    can a modality be taken away where no video has it.
    """
    params = Params.model_validate(dict(settings))
    there = REAL[params.name].modalities if params.name in REAL else MODALITIES
    if {*variant.absent} & {*MODALITIES} - {*there}:
        return False
    age = params.task.observe.age
    told = {*variant.changes.get("bank", {})} - {"retrieve"} or "hawkes" in variant.changes
    return age != timedelta(0) or not (told or "feedback" in variant.absent)


def named(names: str | None) -> list[Task]:
    """The tasks of a comma-separated list; all without one.

    Raises
    ------
    InputError
        Where no task has a name of the list.
    """
    wanted = [*TASKS] if names is None else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in TASKS:
            raise InputError(f"no task is called {name!r}: name some of {', '.join(TASKS)}")
    return [TASKS[name] for name in wanted]
