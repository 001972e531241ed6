"""The contract on the embedded nodes, in each flavour."""

import shutil

import pytest

from tests.contract.checkpoints import *  # noqa: F403
from tests.contract.luns import *  # noqa: F403
from tests.contract.volumes import *  # noqa: F403

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd") or not shutil.which("iscsi-inq"), reason="needs tgt and libiscsi-bin"),
]
