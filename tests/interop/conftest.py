"""The fixtures of the e2e tests serve here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import importlib.util  # noqa: E402

spec = importlib.util.spec_from_file_location(
    "e2e_conftest", Path(__file__).resolve().parent.parent / "e2e" / "conftest.py"
)
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
place, shared, Place = e2e.place, e2e.shared, e2e.Place
no_reports, no_late_reports = e2e.no_reports, e2e.no_late_reports
