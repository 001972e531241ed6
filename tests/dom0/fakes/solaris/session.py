"""What Solaris's kernel does for a static target: logs in, asks each LUN for its GUID, and stays until told to go.

    session.py DIR TARGET PORTAL

DIR/initiator has the initiator's name, its CHAP name and its secret, DIR/luns the LUNs to look for, a line each.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from embedded.initiator import InitiatorError, Lun, Session


def _guid(lun: Lun) -> str | None:
    """Of a LUN that is there, by the device identification page."""
    url = f"iscsi://{lun.chap_user}%{lun.chap_secret}@{lun.portal}/{lun.target}/{lun.number}"
    argv = ["iscsi-inq", "-e", "1", "-c", "131", "-i", lun.initiator, url]
    said = subprocess.run(argv, capture_output=True, encoding="latin-1", timeout=60, check=False)
    found = re.search("600144f0[0-9a-f]{24}", said.stdout, re.IGNORECASE)
    return found[0].lower() if said.returncode == 0 and found else None


def main(root: Path, target: str, portal: str) -> None:
    """Log in, and out again on SIGTERM."""
    pid, seen = root / "pids" / target, root / "sessions" / target
    pid.write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    initiator, user, secret = (root / "initiator").read_text().split()
    numbers = sorted({int(line) for line in (root / "luns").read_text().split()})
    luns = [Lun(portal, target, number, initiator, user, secret) for number in numbers]
    try:
        found = {lun: guid for lun in luns if (guid := _guid(lun))}
        with Session(next(iter(found), luns[0])):
            new = seen.with_suffix(".new")
            new.write_text("".join(f"{lun.number} {guid}\n" for lun, guid in found.items()))
            new.rename(seen)
            while True:
                time.sleep(60)
    except InitiatorError as error:
        sys.stderr.write(f"{target}: {error}\n")
    finally:
        seen.unlink(missing_ok=True)
        pid.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
