"""Which backend serves which release: the only place that knows them all."""

from iscsi.backend import Backend
from iscsi.comstar import SBDADM_COMSTAR, STMFADM_COMSTAR
from iscsi.iscsitadm import ISCSITADM
from iscsi.lio import LIO

# By backend, then by release, as the configuration names them; the first release is the usual one.
BACKENDS: dict[str, dict[str, Backend]] = {
    "comstar": {"illumos": STMFADM_COMSTAR, "b134": STMFADM_COMSTAR, "b111": SBDADM_COMSTAR},
    "iscsitadm": {"b85": ISCSITADM},
    "lio": {"linux": LIO},
}
