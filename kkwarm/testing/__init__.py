"""Tools for plugin authors: assertions, conformance rules, a scripted model, a tiny checkpoint."""

from kkwarm.testing.assertions import assert_accepts, assert_conforms, assert_rejects, verdict_on
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.testing.conformance import Finding, check_domain
from kkwarm.testing.scripted import ScriptedModel

__all__ = [
    "Finding",
    "ScriptedModel",
    "assert_accepts",
    "assert_conforms",
    "assert_rejects",
    "check_domain",
    "tiny_checkpoint",
    "verdict_on",
]
