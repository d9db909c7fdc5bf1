/* Makes the n-th operation that changes files under one folder fail, or the process die at it.
 *
 * Preloaded (LD_PRELOAD) it stands between the program, SQLite included, and the C library. It does nothing until
 * fault_arm() is called, so one process can load everything, fork for each case, and arm itself in the child.
 * Numbers of modes are those of tests/faults/interposer.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 0, FAIL_ONCE, FAIL_ON, KILL_BEFORE, KILL_MIDDLE, SHORT, FAIL_PATH };
enum { NOTED = 1 << 20 };
enum { NO_EXCHANGE = 1, NO_RENAME_FLAGS, NO_LINKS }; /* each without what the ones before it are without, too */

static char folder[PATH_MAX];
static size_t folder_length;
static long at, seen, faults;
static int mode, number_of_error, armed, without;
static char touched[2][PATH_MAX], refused[PATH_MAX]; /* paths of the operation at hand; the one refused from now on */
static int touches;
static char is_write[NOTED]; /* by number of operation: can it be cut in two */

void fault_arm(const char *path, long n, int how, int error) {
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    at = n, seen = 0, faults = 0, mode = how, number_of_error = error, armed = 1;
    refused[0] = 0;
}
void fault_disarm(void) { armed = 0; }
void fault_without(int what) { without = what; } /* from now on the file system has no such operation */
long fault_seen(void) { return seen; }
long fault_done(void) { return faults; }
int fault_is_write(long n) { return n > 0 && n < NOTED && is_write[n]; }

static int inside(const char *path) {
    if (touches < 2)
        snprintf(touched[touches++], PATH_MAX, "%s", path);
    return strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || path[folder_length] == 0);
}

static int fd_inside(int fd) {
    char link[64], path[PATH_MAX];
    int keep = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = keep;
    if (length < 0)
        return 0;
    path[length] = 0;
    return inside(path);
}

static int at_inside(int dir_fd, const char *path) {
    if (path == NULL)
        return fd_inside(dir_fd);
    if (path[0] == '/')
        return inside(path);
    char whole[PATH_MAX + 300];
    if (dir_fd != AT_FDCWD) {
        char link[64];
        int keep = errno;
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        errno = keep;
        if (length < 0)
            return 0;
        whole[length] = 0;
    } else if (getcwd(whole, PATH_MAX) == NULL)
        return 0;
    snprintf(whole + strlen(whole), 300, "/%s", path);
    return inside(whole);
}

static int both_inside(int x, const char *a, int y, const char *b) {
    int first = at_inside(x, a);
    return at_inside(y, b) || first;
}

/* Whose path a refusal for good is about: of two names the note's, not that of our own file. */
static int is_refused(void) {
    for (int i = 0; i < touches; i++)
        if (strcmp(touched[i], refused) == 0)
            return 1;
    return 0;
}

static void refuse_path(void) {
    int i = touches == 2 && strstr(touched[0], "/.trioagent/") != NULL ? 1 : 0;
    snprintf(refused, sizeof refused, "%s", touches ? touched[i] : "");
}

enum { GO, REFUSE, CUT };

static void die(void) { kill(getpid(), SIGKILL); pause(); }

/* What to do with an operation that concerns us; size: bytes to be written, or -1. */
static int decide(long size) {
    seen++;
    if (seen < NOTED)
        is_write[seen] = size > 1;
    if (mode == COUNT || seen < at || (seen > at && mode != FAIL_ON && mode != FAIL_PATH))
        return GO;
    if (mode == FAIL_PATH) {
        if (seen == at)
            refuse_path();
        if (!is_refused())
            return GO;
    }
    faults++;
    switch (mode) {
    case FAIL_ONCE: case FAIL_ON: case FAIL_PATH: errno = number_of_error; return REFUSE;
    case KILL_BEFORE: die(); break;
    case KILL_MIDDLE: case SHORT: if (size > 1) return CUT;
    }
    faults--;
    return GO;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (next == NULL) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define AROUND(type, concerned, size, call, cut_call) do { \
    touches = 0; \
    if (!armed || !(concerned)) return call; \
    int what = decide(size); \
    if (what == REFUSE) return -1; \
    if (what == CUT) { type done = cut_call; if (mode == KILL_MIDDLE) die(); return done; } \
    return call; \
} while (0)

#define SIMPLE(name, declaration, concerned, call) \
    int name declaration { NEXT(name); AROUND(int, concerned, -1, call, call); }

ssize_t write(int fd, const void *data, size_t size) {
    NEXT(write);
    AROUND(ssize_t, fd_inside(fd), (long)size, next(fd, data, size), next(fd, data, size / 2));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    NEXT(pwrite);
    AROUND(ssize_t, fd_inside(fd), (long)size, next(fd, data, size, where), next(fd, data, size / 2, where));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    NEXT(pwrite64);
    AROUND(ssize_t, fd_inside(fd), (long)size, next(fd, data, size, where), next(fd, data, size / 2, where));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    AROUND(ssize_t, fd_inside(fd), -1, next(fd, parts, count), 0);
}

SIMPLE(fsync, (int fd), fd_inside(fd), next(fd))
SIMPLE(fdatasync, (int fd), fd_inside(fd), next(fd))
SIMPLE(ftruncate, (int fd, off_t size), fd_inside(fd), next(fd, size))
SIMPLE(ftruncate64, (int fd, off64_t size), fd_inside(fd), next(fd, size))
SIMPLE(fchmod, (int fd, mode_t bits), fd_inside(fd), next(fd, bits))
SIMPLE(fchown, (int fd, uid_t user, gid_t group), fd_inside(fd), next(fd, user, group))
SIMPLE(futimens, (int fd, const struct timespec t[2]), fd_inside(fd), next(fd, t))
SIMPLE(utimensat, (int dir, const char *p, const struct timespec t[2], int f), at_inside(dir, p), next(dir, p, t, f))
SIMPLE(fsetxattr, (int fd, const char *n, const void *v, size_t s, int f), fd_inside(fd), next(fd, n, v, s, f))
SIMPLE(mkdir, (const char *p, mode_t bits), at_inside(AT_FDCWD, p), next(p, bits))
SIMPLE(mkdirat, (int dir, const char *p, mode_t bits), at_inside(dir, p), next(dir, p, bits))
SIMPLE(rmdir, (const char *p), at_inside(AT_FDCWD, p), next(p))
SIMPLE(unlink, (const char *p), at_inside(AT_FDCWD, p), next(p))
SIMPLE(unlinkat, (int dir, const char *p, int f), at_inside(dir, p), next(dir, p, f))
SIMPLE(rename, (const char *a, const char *b), both_inside(AT_FDCWD, a, AT_FDCWD, b), next(a, b))
SIMPLE(renameat, (int x, const char *a, int y, const char *b), both_inside(x, a, y, b), next(x, a, y, b))
int renameat2(int x, const char *a, int y, const char *b, unsigned int f) {
    NEXT(renameat2);
    if (without >= NO_RENAME_FLAGS ? f != 0 : without == NO_EXCHANGE && f & RENAME_EXCHANGE) {
        errno = EINVAL;
        return -1;
    }
    AROUND(int, both_inside(x, a, y, b), -1, next(x, a, y, b, f), -1);
}
int linkat(int x, const char *a, int y, const char *b, int f) {
    NEXT(linkat);
    if (without == NO_LINKS) {
        errno = EPERM;
        return -1;
    }
    AROUND(int, both_inside(x, a, y, b), -1, next(x, a, y, b, f), -1);
}

#define OPEN(name, declaration, dir, ...) \
    int name declaration { \
        NEXT(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        AROUND(int, flags & (O_CREAT | O_TRUNC) && at_inside(dir, path), -1, next(__VA_ARGS__, bits), -1); \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, path, flags)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, path, flags)
OPEN(openat, (int dir, const char *path, int flags, ...), dir, dir, path, flags)
OPEN(openat64, (int dir, const char *path, int flags, ...), dir, dir, path, flags)
