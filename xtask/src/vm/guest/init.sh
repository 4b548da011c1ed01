#!/bin/sh
# The guest's first process: mounts what every Linux has, does the work, says how it ended on the
# line that the host waits for, and switches the machine off.
export PATH=/bin:/sbin HOME=/root
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /run /tmp /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
ip link set lo up

# For the tests, as cargo and xtask have them on the host; and no test may be left out here.
export IGD_XDP_OBJECT=/vm/nat-xdp.o IGD_CONTROL_BIN=/vm/igd-control IGD_KERNEL_MUST_HAVE_ALL=1

# Should the host be gone, nobody else ends this machine.
[ -z "$vm_seconds" ] || { sleep "$vm_seconds"; poweroff -f; } &

cd /vm && sh /vm/work
echo "guest ended: $?"
poweroff -f
