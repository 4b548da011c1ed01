# The benchmark with pktgen; /vm/plan has its options. Over virtual links of its own, unless it is given
# interfaces by name: then there are two pairs of them, as if joined by cables.
options=$(cat /vm/plan)
case $options in
*--from*)
    ip link add a0 type veth peer name a1
    ip link add b0 type veth peer name b1
    for interface in a0 a1 b0 b1; do ip link set $interface up; done
    ip address add 10.9.0.1/24 dev a1
    ip route add 10.10.0.0/16 via 10.9.0.2 dev a1
    ;;
*) options="--veth $options" ;;
esac
show() { ip -brief link; ip -brief address; ip route; ip netns; }
show >/tmp/before
# shellcheck disable=SC2086 # they are words
/vm/nat-bench-pktgen --object /vm/nat-bench.o --json "report: " $options || exit
show >/tmp/after
# What it has not put back.
diff /tmp/before /tmp/after
