"""Calls whose success leaves no trace, but which no block has any business making."""

from ._case import SYSCALL, Case, refused_call

CASES = (
    Case(
        "socketpair_raw",
        "sockets can be made",
        SYSCALL
        + """
r = sc(41, 1, 1, 0)
if r >= 0: escaped = "socket"
""",
    ),
    Case(
        "fork_once",
        "fork works",
        """
import os
p = os.fork()
if p == 0:
    os._exit(0)
escaped = "forked"
""",
    ),
    Case(
        "sys_bpf",
        "bpf(2) succeeds (kernel attack surface or worse)",
        SYSCALL
        + r"""
r = sc(321, 0, ctypes.create_string_buffer(b"\1\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0", 128), 72)
if r >= 0: escaped = "bpf -> " + str(r)
""",
    ),
    Case(
        "sys_userfaultfd",
        "userfaultfd(2) succeeds (kernel attack surface or worse)",
        SYSCALL
        + """
r = sc(323, 1)
if r >= 0: escaped = "userfaultfd -> " + str(r)
""",
    ),
    Case(
        "int80_abi",
        "32-bit syscall ABI reachable",
        r"""
import mmap, ctypes
m = mmap.mmap(-1, 4096, prot=7)
m.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
escaped = "int80 getpid %d" % f()
""",
    ),
    refused_call("arch_prctl", 158, "0x1002, 0"),
    refused_call("io_uring_enter", 426, "3, 1, 1, 0, None, 0"),
    refused_call("linkat_of_a_descriptor", 265, '3, b"", -100, b"x", 0x1000'),
    refused_call("openat2", 437, '-100, b"/", ctypes.create_string_buffer(24), 24'),
    refused_call("pipe2", 293, "ctypes.create_string_buffer(8), 0"),
    refused_call("remap_file_pages", 216, "0, 4096, 0, 0, 0"),
    refused_call("shutdown", 48, "3, 2"),
    refused_call("tgkill", 234, "os.getpid(), os.getpid(), 10"),
    refused_call("add_key", 248, 'b"user", b"x", b"x", 1, -3'),
    refused_call("clone", 56, "17, 0, 0, 0, 0"),
    refused_call("clone_new_user", 56, "0x10000000 | 17, 0, 0, 0, 0"),
    refused_call("epoll_create1", 291, "0"),
    refused_call("eventfd2", 290, "1, 0"),
    refused_call("execveat", 322, '-100, b"/bin/sh", None, None, 0'),
    refused_call("fanotify_init", 300, "0, 0"),
    refused_call("fsopen", 430, 'b"tmpfs", 0'),
    refused_call("init_module", 175, 'b"", 0, b""'),
    refused_call("inotify_init1", 294, "0"),
    refused_call("io_setup", 206, "1, ctypes.byref(ctypes.c_ulong(0))"),
    refused_call("io_uring_setup", 425, "4, ctypes.create_string_buffer(120)"),
    refused_call("ioprio_set", 251, "1, 0, 0x4000"),
    refused_call("kcmp", 312, "1, 1, 0, 0, 0"),
    refused_call("kexec_load", 246, "0, 0, None, 0"),
    refused_call("keyctl", 250, "0, -3, 1"),
    refused_call("landlock_create_ruleset", 444, "None, 0, 1"),
    refused_call("memfd_create", 319, 'b"x", 0'),
    refused_call("memfd_secret", 447, "0"),
    refused_call("mknod_fifo", 133, 'b"fifo", 0o010666, 0'),
    refused_call("mount", 165, 'b"none", b"/", b"tmpfs", 0, None'),
    refused_call("move_mount", 429, '-100, b"/", -100, b"/", 0'),
    refused_call("mq_open", 240, 'b"x", 0o102, 0o600, None'),
    refused_call("msgget", 68, "0, 0o1600"),
    refused_call(
        "name_to_handle_at", 303, '-100, b".", ctypes.create_string_buffer(140), ctypes.byref(ctypes.c_int()), 0'
    ),
    refused_call("open_tree", 428, '-100, b"/", 0x8000 | 1'),
    refused_call("perf_event_open", 298, "ctypes.create_string_buffer(128), 0, -1, -1, 0"),
    refused_call("personality", 135, "0x0400000"),
    refused_call("pidfd_getfd", 438, "3, 0, 0"),
    refused_call("pidfd_open", 434, "1, 0"),
    refused_call("pivot_root", 155, 'b"/", b"/"'),
    refused_call("pkey_mprotect", 329, "0, 0, 4, -1"),
    refused_call("prctl_dumpable", 157, "4, 1, 0, 0, 0"),
    refused_call("process_vm_writev", 311, "1, None, 0, None, 0, 0"),
    refused_call("ptrace_attach", 101, "16, 1, 0, 0"),
    refused_call("ptrace_traceme", 101, "0, 0, 0, 0"),
    refused_call("quotactl", 179, "0, None, 0, None"),
    refused_call("reboot_ctrl_alt_del", 169, "0xfee1dead, 672274793, 0, None"),
    refused_call("request_key", 249, 'b"user", b"x", None, 0'),
    refused_call("sched_setscheduler", 144, "0, 1, ctypes.byref(ctypes.c_int(1))"),
    refused_call("seccomp", 317, "1, 0, ctypes.create_string_buffer(16)"),
    refused_call("sendmsg", 46, "3, ctypes.create_string_buffer(56), 0"),
    refused_call("setns", 308, "3, 0"),
    refused_call("setpriority", 141, "0, 0, 19"),
    refused_call("setresuid", 117, "0, 0, 0"),
    refused_call("setrlimit", 160, "9, ctypes.create_string_buffer(16)"),
    refused_call("setsid", 112, ""),
    refused_call("shmget", 29, "0, 4096, 0o1600"),
    refused_call("signalfd4", 289, "-1, ctypes.create_string_buffer(8), 8, 0"),
    refused_call("socket_netlink", 41, "16, 3, 0"),
    refused_call("socket_packet", 41, "17, 3, 0"),
    refused_call("socket_vsock", 41, "40, 1, 0"),
    refused_call("socketpair", 53, "1, 1, 0, ctypes.create_string_buffer(8)"),
    refused_call("swapon", 167, 'b"x", 0'),
    refused_call("symlinkat", 266, 'b"/etc", -100, b"link"'),
    refused_call("sysfs", 139, "3"),
    refused_call("syslog", 103, "3, ctypes.create_string_buffer(4096), 4096"),
    refused_call("timer_create", 222, "1, None, ctypes.byref(ctypes.c_int())"),
    refused_call("umount2", 166, 'b"/", 2'),
    refused_call("unshare", 272, "0x10000000"),
    refused_call("userfaultfd_flags", 323, "2049"),
    refused_call("vmsplice", 278, "3, None, 0, 0"),
    Case(
        "all_calls_there_are",
        "a call that no block needs is let through",
        SYSCALL
        + """
# All that is allowed, or answered without effect. 335 and 336 are the kernel's own for probes: it never filters them.
let_through = {
    *range(22), 24, 25, 28, 32, 35, 39, 40, 60, 63, 72, *range(73, 78), *range(79, 86), 87, *range(89, 99), 100,
    102, 104, 107, 108, 110, 115, 118, 120, 131, 132, 137, 138, 186, *range(188, 200), 201, 202, 204, 217, 219,
    221, *range(228, 232), 235, 257, 258, *range(260, 265), *range(267, 270), 271, 273, 280, 302, 316, 318, 332,
    334, 335, 336, 435, 439, 452,
}
if os.uname().machine == "x86_64":
    for number in (*(set(range(1024)) - let_through), 2**30 - 1):
        if sc(number, -1, 0, 0, 0, 0, 0) != -1:
            escaped = str(number)
""",
    ),
    Case(
        "x32_numbers",
        "calls by their x32 numbers get past the filter",
        SYSCALL
        + """
if os.uname().machine == "x86_64" and sc(0x40000000 + 41, 1, 1, 0) >= 0:
    escaped = "x32 socket"
""",
    ),
    Case(
        "executable_memory",
        "memory is made writable and executable",
        SYSCALL
        + """
import mmap
escaped = None
for attempt in ("mmap", "mprotect"):
    try:
        if attempt == "mmap":
            mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        else:
            page = mmap.mmap(-1, 4096)
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            assert L.mprotect(ctypes.c_void_p(address), 4096, 5) == 0
        escaped = attempt
    except (OSError, AssertionError):
        pass
""",
    ),
    Case(
        "terminal_injection",
        "an ioctl reaches a terminal or a socket",
        """
import fcntl
escaped = None
for descriptor in range(8):
    for request, argument in ((0x5412, b"x"), (0x8905, b"x" * 8), (0x8901, b"x" * 8), (0x5421, b"x" * 8)):
        try:
            fcntl.ioctl(descriptor, request, argument)
            escaped = hex(request)
        except OSError:
            pass
""",
    ),
)
