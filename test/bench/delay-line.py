"""A wire with a delay: two TUN devices of this machine, and what leaves one enters the other later.

usage: delay-line.py FIRST SECOND ONE_WAY_MILLIS BITS_PER_SECOND

Segments travel as the kernel makes them, up to 64 KiB (IFF_VNET_HDR with TSO): a packet of 1,500
bytes at a time would measure this program. No loss, no reordering, a queue without end.
"""
import collections, fcntl, os, select, struct, sys, time

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CSUM, TSO4, TSO6 = 0x01, 0x02, 0x04


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETOFFLOAD, CSUM | TSO4 | TSO6)
    return fd


first, second = tun(sys.argv[1]), tun(sys.argv[2])
delay, rate = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 8
other = {first: second, second: first}
queue = {first: collections.deque(), second: collections.deque()}  # by the device it leaves through
free = {first: 0.0, second: 0.0}
print("ready", flush=True)
while True:
    heads = [waiting[0][0] for waiting in queue.values() if waiting]
    ready, _, _ = select.select([first, second], [], [], max(0.0, min(heads) - time.monotonic()) if heads else None)
    now = time.monotonic()
    for fd in ready:
        out = other[fd]
        try:
            for _ in range(64):
                packet = os.read(fd, 70000)
                free[out] = max(now, free[out]) + len(packet) / rate
                queue[out].append((free[out] + delay, packet))
        except BlockingIOError:
            pass
    for fd, waiting in queue.items():
        while waiting and waiting[0][0] <= now:
            try:
                os.write(fd, waiting.popleft()[1])
            except OSError:
                pass  # the device is down, or a segment it does not take: lost, as on a wire
