"""The example of docs/hawkes-estimation.md runs as printed."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "hawkes-estimation.md"


def test_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    plain, sparse = capsys.readouterr().out.splitlines()[0].split()
    assert int(plain) > 9 and int(sparse) == 9
    truth = scope["alpha"]
    assert ((scope["sparse"].alpha > 0) == (truth > 0)).all()
    assert (scope["lower"] < truth)[truth > 0].mean() > 0.7
