"""Makes the helper module `mediafiles` importable (pytest runs with importlib imports)."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["HF_HUB_OFFLINE"] = "1"
