"""Turns result folders of other tools into runs. Their files are read; the tools are not imported."""

from kkwarm.importers.records import Answer, Results, TaskResults
from kkwarm.importers.run import import_results

__all__ = ["Answer", "Results", "TaskResults", "import_results"]
