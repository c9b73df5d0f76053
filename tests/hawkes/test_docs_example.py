"""The example of docs/hawkes.md runs as printed."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "hawkes.md"


def test_example(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(code, scope)
    matrix = scope["classical"].branching_matrix  # kinds are sorted: like, view
    assert abs(matrix.drop("receiver").to_numpy() - [[0.4, 0.0], [0.2, 0.6]]).max() < 0.2
    test, late = scope["test"], scope["late"]
    truth, classical, neural = (
        scope[name].log_likelihood(test, late).per_event
        for name in ("truth", "classical", "neural")
    )
    assert abs(classical - truth) < 0.1 and abs(neural - truth) < 0.2
