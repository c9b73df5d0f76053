"""A stage of the small workspace: `python stage.py NAME` writes the outs of NAME and its report.

What it reports, and whether it fails, stands in `knobs/NAME.json`, a dependency of the stage.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import yaml

name = sys.argv[1]
stage = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][name]
knobs = json.loads(Path(f"knobs/{name}.json").read_text())
print(f"{name} begins", file=sys.stderr, flush=True)
if "sleep" in knobs:
    Path("asleep").touch()
    time.sleep(knobs["sleep"])
digest = hashlib.sha256()
for dep in map(Path, stage["deps"]):
    for file in sorted(p for p in [dep, *dep.rglob("*")] if p.is_file()):
        digest.update(file.read_bytes())
report = {"stage": name, "rows": 7, "seconds": 0.5, "figures": knobs.get("figures")}
if "error" in knobs:
    if "figures" in knobs:
        Path("reports").mkdir(exist_ok=True)
        Path(f"reports/{name}.json").write_text(json.dumps(report))
    raise SystemExit(f"error: {knobs['error']}")
for out in map(Path, stage["outs"]):
    target = out if out.suffix else out / "index.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report | {"mlflow_run_id": "abc123"}) if out.suffix == ".json" else name
    target.write_text(text if str(out).startswith("reports/") else digest.hexdigest())
