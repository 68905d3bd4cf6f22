/* faultcall: preloaded into pipit-storage; makes the n-th call on one of its data files fail.
 *
 * strace can make a call return a number, but then it does not happen at all: a "short write" made
 * that way claims bytes that were never written, which is a lying disk and not a short write. Here
 * half of the bytes are really written. It is also some thirty times faster, so every call of a
 * session can have its turn. That no call escapes it is checked against strace (sweep.py).
 *
 * Environment: FAULTCALL_DIR (data folder; other files are left alone), FAULTCALL_LOG (one line
 * "thread call file n seconds" per call, and "FAULT ..." before a fault takes effect),
 * FAULTCALL_FAULT
 * ("call file n kind"), FAULTCALL_DELAY_US (each fdatasync and fsync takes so much longer).
 * A file is named by its last component; the folder itself is ".".
 *
 * Kinds: EIO, ENOSPC (once), EIO+ (from the n-th on), short (half is written), full (half, then
 * nothing fits any more), torn (half, then SIGKILL), kill (SIGKILL before it), stop (SIGSTOP of the
 * whole process before it: the power is cut while it stands still). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 16
#define FDS_MAX 1024
#define NAME_BYTES 64

enum call { OPEN, PREAD, PWRITE, WRITE, FDATASYNC, FSYNC, FTRUNCATE, UNLINK, RENAME, MKDIR, CALLS };
static const char *const call_names[CALLS] = {"open",  "pread",     "pwrite", "write",  "fdatasync",
                                              "fsync", "ftruncate", "unlink", "rename", "mkdir"};
enum verdict { GO_ON, FAIL, HALF, HALF_AND_DIE };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char files[FILES_MAX][NAME_BYTES];
static unsigned counts[FILES_MAX][CALLS];
static int file_of_fd[FDS_MAX]; /* index + 1; 0 = not one of ours */
static char dir[512];
static size_t dir_bytes;
static int log_fd = -1;
static useconds_t delay_us;
static struct {
    char call[16], file[NAME_BYTES], kind[16];
    unsigned number;
    bool set, persists, full;
} fault;

__attribute__((constructor)) static void start(void) {
    const char *text = getenv("FAULTCALL_DIR");
    if (text != NULL) {
        dir_bytes = (size_t)snprintf(dir, sizeof(dir), "%s", text);
    }
    if ((text = getenv("FAULTCALL_LOG")) != NULL) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                              0600);
    }
    if ((text = getenv("FAULTCALL_DELAY_US")) != NULL) {
        delay_us = (useconds_t)strtoul(text, NULL, 10);
    }
    if ((text = getenv("FAULTCALL_FAULT")) != NULL) {
        fault.set = sscanf(text, "%15s %63s %u %15s", fault.call, fault.file, &fault.number,
                           fault.kind) == 4;
        if (!fault.set) {
            abort(); /* a fault that never comes would look like a pass */
        }
    }
}

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        abort();
    }
    return found;
}

static void say(const char *prefix, enum call call, const char *file, unsigned number) {
    char thread[32] = "?";
    char line[192];
    struct timespec now;
    if (log_fd < 0) {
        return;
    }
    (void)prctl(PR_GET_NAME, thread);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int count = snprintf(line, sizeof(line), "%s%s %s %s %u %ld.%06ld\n", prefix, thread,
                         call_names[call], file, number, (long)now.tv_sec, now.tv_nsec / 1000);
    (void)syscall(SYS_write, log_fd, line, (size_t)count);
}

/* Index of the file + 1, or 0. Under the lock. */
static int file_index(const char *path) {
    if (dir_bytes == 0 || strncmp(path, dir, dir_bytes) != 0 ||
        (path[dir_bytes] != '/' && path[dir_bytes] != '\0')) {
        return 0;
    }
    const char *name =
        path[dir_bytes] == '\0' || path[dir_bytes + 1] == '\0' ? "." : path + dir_bytes + 1;
    for (int i = 0; i < FILES_MAX; i++) {
        if (files[i][0] == '\0') {
            (void)snprintf(files[i], NAME_BYTES, "%s", name);
        }
        if (strcmp(files[i], name) == 0) {
            return i + 1;
        }
    }
    abort();
}

static bool needs_room(enum call call, bool creates) {
    return call == PWRITE || call == WRITE || call == MKDIR || (call == OPEN && creates);
}

/* The fault itself. Kinds that end the process do not return. */
static enum verdict strike(enum call call) {
    const char *kind = fault.kind;
    if (strcmp(kind, "kill") == 0) {
        (void)kill(getpid(), SIGKILL);
    } else if (strcmp(kind, "stop") == 0) {
        (void)kill(getpid(), SIGSTOP);
        for (;;) {
            (void)pause(); /* nothing of it may happen, even if somebody wakes it */
        }
    } else if (strcmp(kind, "full") == 0) {
        fault.full = true;
        errno = ENOSPC;
        return call == PWRITE || call == WRITE ? HALF : FAIL;
    } else if (strcmp(kind, "short") == 0) {
        return HALF;
    } else if (strcmp(kind, "torn") == 0) {
        return HALF_AND_DIE;
    }
    fault.persists = strcmp(kind, "EIO+") == 0;
    errno = strcmp(kind, "ENOSPC") == 0 ? ENOSPC : EIO;
    return FAIL;
}

/* Counts the call and says what to do with it; errno is set for FAIL. */
static enum verdict judge(enum call call, int index, bool creates) {
    enum verdict verdict = GO_ON;
    if (index == 0) {
        return verdict;
    }
    (void)pthread_mutex_lock(&lock);
    const char *file = files[index - 1];
    unsigned number = ++counts[index - 1][call];
    say("", call, file, number);
    bool named =
        fault.set && strcmp(fault.call, call_names[call]) == 0 && strcmp(fault.file, file) == 0;
    if (fault.full && needs_room(call, creates)) {
        errno = ENOSPC;
        verdict = FAIL;
    } else if (named && number == fault.number) {
        say("FAULT ", call, file, number);
        verdict = strike(call);
    } else if (named && fault.persists) {
        errno = EIO;
        verdict = FAIL;
    }
    (void)pthread_mutex_unlock(&lock);
    return verdict;
}

static int path_index(const char *path) {
    (void)pthread_mutex_lock(&lock);
    int index = file_index(path);
    (void)pthread_mutex_unlock(&lock);
    return index;
}

static int fd_index(int fd) {
    return fd >= 0 && fd < FDS_MAX ? __atomic_load_n(&file_of_fd[fd], __ATOMIC_ACQUIRE) : 0;
}

static void remember(int fd, int index) {
    if (fd >= 0 && fd < FDS_MAX) {
        __atomic_store_n(&file_of_fd[fd], index, __ATOMIC_RELEASE);
    }
}

/* --- the calls */

static int open_any(int at, const char *path, int flags, mode_t mode) {
    int index = path_index(path);
    if (judge(OPEN, index, (flags & O_CREAT) != 0) == FAIL) {
        return -1;
    }
    int fd = (int)syscall(SYS_openat, at, path, flags | O_LARGEFILE, mode);
    remember(fd, index);
    return fd;
}

#define OPEN_BODY(at)                                                                              \
    va_list arguments;                                                                             \
    va_start(arguments, flags);                                                                    \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;            \
    va_end(arguments);                                                                             \
    return open_any(at, path, flags, mode);

int open(const char *path, int flags, ...) {
    OPEN_BODY(AT_FDCWD)
}
int open64(const char *path, int flags, ...) {
    OPEN_BODY(AT_FDCWD)
}
int openat(int at, const char *path, int flags, ...) {
    OPEN_BODY(at)
}
int openat64(int at, const char *path, int flags, ...) {
    OPEN_BODY(at)
}
int __open_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}

int close(int fd) {
    static int (*next)(int);
    if (next == NULL) {
        next = (int (*)(int))real("close");
    }
    remember(fd, 0);
    return next(fd);
}

static ssize_t write_at(enum call call, int fd, const void *bytes, size_t count, off64_t at) {
    enum verdict verdict = judge(call, fd_index(fd), false);
    if (verdict == FAIL) {
        return -1;
    }
    size_t part = verdict == GO_ON || count < 2 ? count : count / 2;
    ssize_t written = call == PWRITE ? syscall(SYS_pwrite64, fd, bytes, part, at)
                                     : syscall(SYS_write, fd, bytes, part);
    if (verdict == HALF_AND_DIE) {
        (void)kill(getpid(), SIGKILL);
    }
    return written;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    return write_at(WRITE, fd, bytes, count, 0);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return write_at(PWRITE, fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return write_at(PWRITE, fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    if (judge(PREAD, fd_index(fd), false) == FAIL) {
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, count, at);
}
ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    return pread64(fd, bytes, count, at);
}

static int sync_any(enum call call, int fd) {
    int index = fd_index(fd);
    if (judge(call, index, false) == FAIL) {
        return -1;
    }
    if (index != 0 && delay_us > 0) {
        (void)usleep(delay_us);
    }
    return (int)syscall(call == FSYNC ? SYS_fsync : SYS_fdatasync, fd);
}
int fdatasync(int fd) {
    return sync_any(FDATASYNC, fd);
}
int fsync(int fd) {
    return sync_any(FSYNC, fd);
}

int ftruncate64(int fd, off64_t bytes) {
    if (judge(FTRUNCATE, fd_index(fd), false) == FAIL) {
        return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, bytes);
}
int ftruncate(int fd, off_t bytes) {
    return ftruncate64(fd, bytes);
}

int unlink(const char *path) {
    return judge(UNLINK, path_index(path), false) == FAIL
               ? -1
               : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int rename(const char *from, const char *to) {
    return judge(RENAME, path_index(from), false) == FAIL
               ? -1
               : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int mkdir(const char *path, mode_t mode) {
    return judge(MKDIR, path_index(path), true) == FAIL
               ? -1
               : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
