"""A pytest fixture that holds a kernel against visattn.  Installed with visattn, loaded with the first test that asks.

    def test_kernel(visattn_check):
        visattn_check("attention", my_kernel, framework="torch", precision="float16")

The test fails with the report, which names the mistake if it is a known one; otherwise the report is returned.  The
arguments are those of `visattn.check.judge.run`.  The function runs in the test's own process.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def visattn_check() -> Callable[..., Any]:
    """visattn_check(op, forward, backward=None, **how): the report, or a failed test."""
    def check(op: str, forward: Callable[..., Any] | None = None, backward: Callable[..., Any] | None = None,
              **how: Any) -> Any:
        from visattn.check import judge

        report = judge.run(op, forward, backward, **how)
        if not report.passed:
            pytest.fail(str(report), pytrace=False)
        return report

    return check
