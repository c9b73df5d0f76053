"""docs/results.md from the numbers of docs/results.json."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.stats import binom

from benchmarks.scores import BEST, LATER, OURS, RIVALS
from m3tr.evaluation.table import ORDER as ROWS

# the rows in the order of the table; others follow
ORDER = (*ROWS, BEST)
INTRO = """# Results

Every row on the tasks of the [protocol](protocol.md#the-tasks), written by
`python -m benchmarks results --ablations`; all numbers are in [results.json](results.json). Unless
it is said otherwise: nMSE of the increment at the last horizon, mean ± standard deviation over the
folds, lower is better; 1 is the test mean. Intervals are 95 % bootstrap intervals over the test
videos of all folds. Rows and metrics are defined in [evaluation.md](evaluation.md), variants of
M3TR in [model.md](model.md#8-baselines-and-ablations).
"""
QUICK = (
    "\n**Quick settings: one fold, few seeds, a part of the data. These figures say nothing.**\n"
)


def page(found: Mapping[str, Any]) -> str:
    """The page; sections without numbers are left out."""
    tasks = found["tasks"]
    if not tasks:
        return INTRO + "\nNothing has been run yet.\n"
    rows = ordered({row for task in tasks.values() for row in task["rows"]} - {LATER})
    parts = [INTRO + (QUICK if found["quick"] else ""), overview(tasks, rows)]
    parts += [mean_ratios(found["across"], rows), sizes(tasks)]
    parts += [of_task(name, task) for name, task in tasks.items()]
    parts += [floors(tasks), coverages(tasks)]
    parts += [errors(name, task) for name, task in tasks.items()]
    if "ablations" in found:
        parts.append(ablations(found["ablations"]))
    return "".join(parts)


def overview(tasks: Mapping[str, Any], rows: Sequence[str]) -> str:
    """nMSE of every row on every task."""
    lines = []
    for row in rows:
        information = next(
            t["rows"][row]["information"] for t in tasks.values() if row in t["rows"]
        )
        lines.append([bold(row), information, *(pm(t["rows"].get(row)) for t in tasks.values())])
    text = (
        "–: there the row was left out, is M3TR itself (at publication no video has feedback), or "
        "the truth is not known.\n\n"
    )
    return section("nMSE, all tasks", text + table(["row", "set", *tasks], lines))


def mean_ratios(across: Mapping[str, Any], rows: Sequence[str]) -> str:
    """M3TR's nMSE over that of each row, over the tasks."""
    lines = [
        [
            row,
            *(number(a[mean], 3) for mean in ("geometric", "real", "arithmetic")),
            f"{a['better']} of {a['tasks']}",
            str(a["clearly_better"]),
            str(a["clearly_worse"]),
        ]
        for row in rows
        if (a := across.get(row)) is not None
    ]
    text = "Clearly: the 95 % interval of the ratio on that task, paired, does not hold 1.\n\n"
    head = [f"{OURS} over", "geometric mean", "of the real tasks", "arithmetic mean"]
    head += ["better on", "clearly better on", "clearly worse on"]
    return section("M3TR's nMSE over that of each row", text + table(head, lines))


def sizes(tasks: Mapping[str, Any]) -> str:
    """Examples of each task and fold."""
    lines = []
    for name, task in tasks.items():
        parts = [fold["examples"] for fold in task["folds"]]
        split = f"{task['split']}, {len(parts)} fold{'s' * (len(parts) > 1)}"
        counts = (ranged([p.get(s, 0) for p in parts]) for s in ("train", "validation", "test"))
        seeds = (str(task["seeds"][row]) for row in (OURS, "LightGBM"))
        lines.append([name, task["dataset"], split, *counts, *seeds])
    head = ["task", "dataset", "split", "training", "validation", "test"]
    head += ["seeds of M3TR's boosted heads", "seeds of LightGBM"]
    return section("Examples", table(head, lines))


def of_task(name: str, task: Mapping[str, Any]) -> str:
    """All headline scores of one task."""
    rivals = [r for r in RIVALS if r in task["rows"]]
    head = ["row", "set", "nMSE", "SRC", "MAE", "CRPS", "nMSE, total", "coverage", "width"]
    lines = []
    for row in ordered(set(task["rows"]) - {LATER}):
        s = task["rows"][row]
        cells = [bold(row), s["information"], pm(s)]
        cells += [
            number(s[k], 3) for k in ("src", "mae", "crps", "total_nmse", "coverage", "width")
        ]
        lines.append(cells + [with_interval(task["ratios"][row][r]) for r in rivals])
    days = [line["horizon_days"] for line in task["folds"][0]["rows"][OURS]["increment"]]
    told = ", ".join(f"{d:g}" if d < 10 else f"{d:.0f}" for d in days)
    text = f"{task['dataset']}; horizons at the median age of {told} days.\n\n"
    return section(name, text + table(head + [f"/ {r}" for r in rivals], lines))


def floors(tasks: Mapping[str, Any]) -> str:
    """What a little more observation is worth."""
    lines = []
    for name, task in tasks.items():
        if LATER in task["rows"]:
            rows = [task["rows"].get(row) for row in ("LightGBM CF", OURS, LATER)]
            lines.append([name, task["more"], *map(pm, rows)])
    if not lines:
        return ""
    text = (
        "LightGBM CF with covariates of a later clock, for the same label: it sees a part of what "
        "it forecasts. It is no bound; it shows how much of the error a little more waiting takes."
        "\n\n"
    )
    head = ["task", "sees", "LightGBM CF", OURS, "LightGBM CF, later clock"]
    return section("Noise floor", text + table(head, lines))


def coverages(tasks: Mapping[str, Any]) -> str:
    """Coverage of M3TR's intervals, nominal, overall and by decile of the forecast."""
    lines = []
    for name, task in tasks.items():
        last = last_horizon(task["groups"])
        by = {g: [line for line in last if line["group"] == g] for g in ("all", "forecast")}
        deciles = [number(line["coverage"], 2) for line in by["forecast"]]
        own = [number(line["coverage"], 3) for line in by["all"]]
        nominal = task["nominal"]
        off = sum(beyond_chance(line["coverage"], line["n"], nominal) for line in by["forecast"])
        cells = [name, number(nominal, 3), *own, *deciles, *["–"] * (10 - len(deciles))]
        lines.append([*cells, f"{off} of {len(deciles)}"])
    head = ["task", "nominal", "all", *(str(k) for k in range(1, 11)), "beyond chance"]
    title = "Coverage of M3TR's intervals, by decile of the forecast"
    text = (
        "Beyond chance: deciles in which the number of covered videos lies outside the central "
        "95 % of a binomial distribution at the nominal coverage; about one in twenty does where "
        "it holds.\n\n"
    )
    return section(title, text + table(head, lines))


def beyond_chance(coverage: float, n: int, nominal: float) -> bool:
    """Whether the coverage of n videos is off its nominal value beyond 95 % of chance."""
    lo, hi = binom.interval(0.95, n, nominal)
    return not lo <= round(coverage * n) <= hi


def errors(name: str, task: Mapping[str, Any]) -> str:
    """Where the errors lie: groups of the test videos at every horizon."""
    lines: dict[tuple[str, str], list[str]] = {}
    horizons = sorted({line["horizon"] for line in task["groups"]})
    compared = list(task["groups"][0]["nmse"])
    # deciles differ by horizon: their place is their name
    for line in task["groups"]:
        level = line["level"].split(":")[0] if line["group"] == "forecast" else line["level"]
        cells = lines.setdefault((line["group"], level), ["–"] * (1 + len(horizons)))
        cells[0] = str(line["n"])
        told = " / ".join(number(line["nmse"][row], 3) for row in compared)
        cells[1 + horizons.index(line["horizon"])] = told
    days = {line["horizon"]: line["horizon_days"] for line in task["groups"]}
    head = ["group", "level", "videos", *(f"{days[h]:.3g} d" for h in horizons)]
    text = f"nMSE of {' / '.join(compared)}, each with the variance of the whole test part.\n\n"
    body = table(head, [[group, level, *cells] for (group, level), cells in lines.items()])
    return section(f"Errors on {name}", text + body)


def ablations(found: Mapping[str, Any]) -> str:
    """Error of each variant over that of the full model, on validation and on test."""
    tasks = found["tasks"]
    text = (
        "M3TR with one thing changed, over M3TR: squared error of the increment at the last "
        "horizon on validation / test of the first fold. Above 1, the variant is worse than M3TR; "
        "below 1 on the mean, it shows a part that is not worth having here. On one fold a few "
        "percent are noise. The mean is geometric, over as many tasks as the column before it "
        "says. 1.000 / 1.000: the same forecasts. –: not run, M3TR itself on that task, or the "
        "dataset has no such modality. What the model is was decided before this table, on "
        "validation and on earlier cuts of the data. The variants: "
        "[model.md](model.md#8-baselines-and-ablations).\n\n"
    )
    head = ["variant", *tasks, "tasks", "mean"]
    lines = []
    for name, mean in found["mean"].items():
        cells = [both(task.get(name)) for task in tasks.values()]
        lines.append([name, *cells, str(sum(name in task for task in tasks.values())), both(mean)])
    return section("Ablations", text + table(head, lines))


def last_horizon(groups: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The groups at the last horizon."""
    every = list(groups)
    last = max(line["horizon"] for line in every)
    return [line for line in every if line["horizon"] == last]


def ordered(rows: Iterable[str]) -> list[str]:
    """Rows in the order of the table."""
    every = list(rows)
    return [r for r in ORDER if r in every] + sorted(r for r in every if r not in ORDER)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def section(title: str, text: str) -> str:
    """A section of the page."""
    return f"\n## {title}\n\n{text}"


def bold(row: str) -> str:
    """Our own row stands out."""
    return f"**{row}**" if row == OURS else row


def pm(scored: Mapping[str, Any] | None) -> str:
    """nMSE and its spread over folds."""
    if scored is None or scored["nmse"] is None:
        return "–"
    sd = scored.get("nmse_sd")
    return number(scored["nmse"], 4) + ("" if sd is None else f" ± {sd:.4f}")


def both(scored: Mapping[str, Any] | None) -> str:
    """Validation and test."""
    if scored is None:
        return "–"
    return f"{number(scored['validation'], 3)} / {number(scored['test'], 3)}"


def with_interval(three: Sequence[float]) -> str:
    """A ratio with its interval."""
    ratio, lo, hi = three
    return f"{ratio:.3f} [{lo:.3f}, {hi:.3f}]"


def ranged(values: Sequence[int]) -> str:
    """Least and greatest."""
    lo, hi = min(values), max(values)
    return f"{lo:,}" if lo == hi else f"{lo:,} to {hi:,}"


def number(value: float | None, digits: int) -> str:
    """A number, or a dash for what is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"
