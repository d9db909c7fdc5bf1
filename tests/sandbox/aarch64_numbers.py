"""System call numbers of 64-bit ARM, as the kernel's own header has them, to check our tables against on any machine.

Source: ``include/uapi/asm-generic/unistd.h`` of Linux, which aarch64 uses as it is (installed with the C library's
headers as ``/usr/include/asm-generic/unistd.h``): the lines ``#define __NR_name number`` and ``#define __NR3264_name
number``; newfstatat is that header's fstatat. Where the header is installed, a test compares this copy with it.
"""

_LISTED = """
brk=214 capset=91 chdir=49 chroot=51 clock_getres=114 clock_gettime=113 clock_nanosleep=115 clone3=435 close=57
close_range=436 dup3=24 dup=23 exit=93 exit_group=94 faccessat2=439 faccessat=48 fadvise64=223 fchdir=50 fchmod=52
fchmodat=53 fchown=55 fchownat=54 fcntl=25 fdatasync=83 fgetxattr=10 flistxattr=13 flock=32 fremovexattr=16
fsconfig=431 fsetxattr=7 fsmount=432 fsopen=430 fstat=80 fstatfs=44 fsync=82 ftruncate=46 futex=98 getcwd=17
getdents64=61 getegid=177 geteuid=175 getgid=176 getgroups=158 getpid=172 getppid=173 getrandom=278 getresgid=150
getresuid=148 getrlimit=163 getrusage=165 gettid=178 gettimeofday=169 getuid=174 getxattr=8 ioctl=29
landlock_add_rule=445 landlock_create_ruleset=444 landlock_restrict_self=446 lgetxattr=9 listxattr=11 llistxattr=12
lremovexattr=15 lseek=62 lsetxattr=6 madvise=233 mkdirat=34 mknodat=33 mmap=222 mprotect=226 mremap=216 munmap=215
nanosleep=101 newfstatat=79 openat=56 ppoll=73 prctl=167 pread64=67 prlimit64=261 pwrite64=68 read=63 readlinkat=78
readv=65 recvmsg=212 removexattr=14 renameat2=276 renameat=38 restart_syscall=128 rseq=293 rt_sigaction=134
rt_sigprocmask=135 rt_sigreturn=139 sched_getaffinity=123 sched_yield=124 seccomp=277 sendfile=71 sendmsg=211
set_robust_list=99 setxattr=5 sigaltstack=132 statfs=43 statx=291 times=153 truncate=45 umask=166 uname=160
unlinkat=35 unshare=97 utimensat=88 write=64 writev=66
"""

NUMBERS = {name: int(number) for name, _, number in (pair.partition("=") for pair in _LISTED.split())}
