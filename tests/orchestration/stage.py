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
if "error" in knobs:
    raise SystemExit(f"error: {knobs['error']}")

digest = hashlib.sha256()
for dep in map(Path, stage["deps"]):
    for file in sorted(p for p in [dep, *dep.rglob("*")] if p.is_file()):
        digest.update(file.read_bytes())
report = {"stage": name, "rows": 7, "seconds": 0.5, "figures": knobs["figures"]}
for out in map(Path, stage["outs"]):
    target = out if out.suffix else out / "index.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report | {"mlflow_run_id": "abc123"}) if out.suffix == ".json" else name
    target.write_text(text if str(out).startswith("reports/") else digest.hexdigest())
