"""The lab: a real OpenZFS and LIO node and a real Xen dom0, as two QEMU machines built from Debian packages."""
