"""Which backend serves which release: the only place that knows them all."""

from iscsi.backend import Backend
from iscsi.comstar import SBDADM_COMSTAR, STMFADM_COMSTAR

# By backend, then by release, as the configuration names them.
BACKENDS: dict[str, dict[str, Backend]] = {
    "comstar": {"illumos": STMFADM_COMSTAR, "b111": SBDADM_COMSTAR},
}
