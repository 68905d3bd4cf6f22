/* data_dir: what has to be right before a database file is opened.
 *
 * Two processes writing one SQLite directory would still be correct, SQLite sees to that, but the
 * writer's cache of heads and the derived stream of membership changes assume a single process; and
 * two services started by mistake should be told so. flock is bound to the open file, so a crashed
 * process leaves no stale lock. The id inside the file is only for the message.
 *
 * New directory entries are durable only after an fsync of the directory. SQLite does not do that
 * for the database file itself, and for its log it ignores the error: data_dir_sync_around takes
 * its place. */
#include "services/storage/data_dir.h"

#include "common/service.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err fail(struct buf *problem, const char *what, const char *path) {
    enum err error = err_from_errno(errno);
    err_ignore(buf_append_format(problem, "store: cannot %s %s: %s", what, path,
                                 strerror(errno))); /* a cut line is better than none */
    return error == ERR_OK ? ERR_IO : error;
}

static enum err make_dir(const char *dir, struct buf *problem) {
    char path[PATH_MAX];
    size_t count = strlen(dir);
    if (count == 0 || count >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return fail(problem, "use directory", dir);
    }
    memcpy(path, dir, count + 1);
    for (size_t i = 1; i <= count; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return fail(problem, "make directory", path);
        }
        path[i] = dir[i];
    }
    return ERR_OK;
}

static void name_holder(int fd, const char *dir, struct buf *problem) {
    char holder[32] = "";
    ssize_t count = pread(fd, holder, sizeof(holder) - 1, 0);
    holder[count > 0 ? count : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    err_ignore(buf_append_format(problem,
                                 "store: %s is in use by process %s; stop it first, or set another "
                                 "directory in [storage] store",
                                 dir, holder[0] != '\0' ? holder : "(unknown)"));
}

enum err data_dir_take(const char *dir, int *lock_fd, struct buf *problem) {
    enum err error = make_dir(dir, problem);
    if (error != ERR_OK) {
        return error;
    }
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/lock", dir) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return fail(problem, "use directory", dir);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fail(problem, "open", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error = errno == EWOULDBLOCK ? ERR_EXISTS : ERR_IO;
        if (error == ERR_EXISTS) {
            name_holder(fd, dir, problem);
        } else {
            (void)fail(problem, "lock", path);
        }
        (void)close(fd); /* nothing was written */
        return error;
    }
    char text[32];
    int count = snprintf(text, sizeof(text), "%" PRIdMAX "\n", (intmax_t)getpid());
    /* The id only serves the message above: on a full disk the store opens without it. */
    if (ftruncate(fd, 0) == 0) {
        (void)!pwrite(fd, text, (size_t)count, 0);
    }
    *lock_fd = fd;
    return ERR_OK;
}

enum err data_dir_make_file(const char *path, struct buf *problem) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(problem, "open", path);
    }
    (void)close(fd); /* nothing was written */
    return ERR_OK;
}

static bool sync_dir(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    if (fsync(fd) != 0) {
        service_die("fsync of the store's directory failed; check the disk");
    }
    (void)close(fd); /* read-only */
    return true;
}

enum err data_dir_sync(const char *dir, struct buf *problem) {
    return sync_dir(dir) ? ERR_OK : fail(problem, "open", dir);
}

void data_dir_sync_around(const char *path) {
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t count = slash != NULL ? (size_t)(slash - path) : 0;
    if (count == 0 || count >= sizeof(dir)) {
        return; /* not one of ours: paths of the store are DIR/name */
    }
    memcpy(dir, path, count);
    dir[count] = '\0';
    (void)sync_dir(dir);
}
