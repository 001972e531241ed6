"""A real Xen starts a guest on a volume, by the line that ``guest disks`` prints."""

from tests.lab.live import Dom0, LabNode

GUEST = """\
name = "{name}"
type = "pv"
kernel = "/root/guest/guest.vmlinux"
ramdisk = "/root/guest/guest.cpio.gz"
extra = "console=hvc0 quiet mitigations=off"
memory = 128
vcpus = 1
{disks}
"""


def _until(dom0: Dom0, name: str, words: str) -> None:
    """Wait until a guest says something on its console."""
    log = f"/var/log/xen/console/guest-{name}.log"
    late = f"{{ tail -n 20 {log} >&2; exit 1; }}"
    wait = f"i=0; until grep -q '{words}' {log}; do i=$((i+1)); [ $i -le 150 ] || {late}; sleep 1; done"
    dom0.run(wait, seconds=200)


def test_a_guest_reads_and_writes_its_disk(node: LabNode, dom0: Dom0, guest: str) -> None:
    """It finds xvda with the volume's size, reads what dom0 wrote, and what it writes is on the volume."""
    made = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    disks = node.xvm("guest", "disks", guest).out
    device = dom0.login(made)
    dom0.run(f"printf written-by-dom0 | dd of={device} conv=sync,fsync oflag=direct bs=512 2>/dev/null")
    dom0.run(
        f"cat >/root/{guest}.cfg <<'END'\n{GUEST.format(name=guest, disks=disks)}END\nxl create -q /root/{guest}.cfg"
    )
    try:
        _until(dom0, guest, f"GUEST-DISK xvda {(1 << 30) // 512} sectors ro=0")
        typed = (
            "head -c 15 /dev/xvda; echo; printf hello-from-guest | dd of=/dev/xvda bs=512 seek=1 conv=sync,fsync; "
            "echo GUEST-WROTE-$((40 + 2))"
        )
        dom0.run(f"echo '{typed}' >$(xenstore-read /local/domain/$(xl domid {guest})/console/tty)")
        _until(dom0, guest, "GUEST-WROTE-42")
        _until(dom0, guest, "^written-by-dom0")
    finally:
        dom0.run(f"xl destroy {guest}")

    assert "hello-from-guest" == dom0.run(
        f"dd if={device} bs=512 skip=1 count=1 iflag=direct 2>/dev/null | tr -d '\\0'"
    )
    dom0.logout(made)
