"""The example of docs/hawkes.md runs as printed."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "hawkes.md"


def test_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    assert "[20, 2, 2]" in capsys.readouterr().out
    assert scope["X"].shape == (20, len(scope["names"]))
    assert abs(scope["model"].branching.detach().numpy() - scope["alpha"][0] / 20).max() < 0.2
