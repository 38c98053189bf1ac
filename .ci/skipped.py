"""List the tests that a run skipped; fail on one that has no business to be."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree

# What may be skipped, by the reason given: the real images are not everywhere, nor a browser that .ci/run can install.
ALLOWED = (
    *(() if "FGVC_REALDATA" in os.environ else ("FGVC_REALDATA is not set",)),
    *(("no browser: ",) if "FGVC_NO_BROWSER" in os.environ else ()),
)


def main(report: str) -> int:
    """Print every skipped test with its reason; 1 where one is not allowed."""
    unwelcome = 0
    for case in ElementTree.parse(report).iter("testcase"):
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            allowed = any(text in reason for text in ALLOWED)
            unwelcome += not allowed
            print(f"skipped{'' if allowed else ' (not allowed)'}: {case.get('classname')}.{case.get('name')}: {reason}")
    return 1 if unwelcome else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
