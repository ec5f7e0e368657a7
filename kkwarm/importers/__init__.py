"""Turns other tools' result folders into runs that compare with ours. It reads their files and imports none of them."""

from kkwarm.importers.records import Answer, Results, TaskResults
from kkwarm.importers.run import store

__all__ = ["Answer", "Results", "TaskResults", "store"]
