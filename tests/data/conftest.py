"""Makes the helper module `mediafiles` of the features' tests importable here, too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "features"))
