"""For plugin authors: assertions, conformance rules, a scripted model, a tiny checkpoint."""

from kkwarm.testing.assertions import assert_accepts, assert_conforms, assert_rejects, verdict_on
from kkwarm.testing.conformance import Finding, check_domain

__all__ = ["Finding", "assert_accepts", "assert_conforms", "assert_rejects", "check_domain", "verdict_on"]
