#!/bin/sh
# storage.sh MODULES OUT: the storage node's image. systemd is its init, so that what is seen is the boot users have.
# shellcheck source=image.sh disable=SC2016
. "$(dirname "$0")/image.sh"
modules=$1 out=$2
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
make_tree "$tree" "$BASE,dbus,python3-cffi" \
    --customize-hook="test -d \"\$1\"/lib/modules/$(cat "$modules/kernel")" \
    --customize-hook="install -D -m 644 -t \"\$1\"/lib/modules/$(cat "$modules/kernel")/updates $modules/*.ko" \
    --customize-hook="install -D -m 755 -t \"\$1\"/usr/local/sbin $HERE/../provision/storage-debian.sh" \
    --customize-hook='chroot "$1" /usr/local/sbin/storage-debian.sh install' \
    --customize-hook='chroot "$1" apt-get install -qy --no-install-recommends python3-pyzfs'
lab_settings "$tree" storage 10.77.0.1
cat >"$tree/etc/systemd/system/lab-network.service" <<'END'
[Unit]
DefaultDependencies=no
After=systemd-udevd.service systemd-udev-trigger.service
Before=network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-network
[Install]
WantedBy=sysinit.target
END
chroot "$tree" systemctl enable -q lab-network.service ssh.service
# Nothing of it helps in a machine that lives for minutes, and each costs seconds of emulation.
chroot "$tree" systemctl mask -q apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer dpkg-db-backup.timer systemd-timesyncd.service systemd-random-seed.service getty.target \
    systemd-logind.service systemd-user-sessions.service
mkdir -p "$out"
pack "$tree" storage "$out"
