/* test_disk_failure: a disk that fails. A failed fsync ends the process before anything is
 * acknowledged; a failed write is refused and survived; SIGKILL at any moment loses nothing that
 * was acknowledged. Each victim is a child process that reports every acknowledgement through a
 * pipe. */
#include "tests/unit/storage/support.h"

#include "services/storage/write_batch.h"
#include "tests/unit/storage/support_vfs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_FSYNC 70 /* common/service.h: service_die */
#define KILL_ROUNDS 12u

struct child {
    pid_t pid;
    int acks; /* read end: one byte per acknowledged message */
};

static void make_store(const char *dir) {
    struct store *store = NULL;
    struct arena arena;
    arena_init(&arena, 65536, 1024u * 1024u);
    assert_int_equal(support_open(dir, &store, NULL), ERR_OK);
    assert_int_equal(support_user(store, &arena, "ann"), ERR_OK);
    assert_int_equal(support_group(store, &arena, "c_a", "u_ann"), ERR_OK);
    store_close(&store);
    arena_finish(&arena);
}

static struct child start_child(void (*body)(const char *dir, int acks), const char *dir) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(ends[0]);
        body(dir, ends[1]);
        _exit(0);
    }
    assert_int_equal(close(ends[1]), 0);
    return (struct child){pid, ends[0]};
}

static unsigned read_acks(const struct child *child, unsigned wanted) {
    unsigned count = 0;
    char byte = 0;
    while (count < wanted && read(child->acks, &byte, 1) == 1) {
        count++;
    }
    return count;
}

static int wait_child(const struct child *child) {
    int status = 0;
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_int_equal(close(child->acks), 0);
    return status;
}

static void acknowledge(int acks) {
    if (write(acks, "x", 1) != 1) {
        _exit(1);
    }
}

/* Appends for ever; acknowledges each; after `good` ones the next fsync of the log fails. Called in
 * a child. */
static void append_for_ever(struct store *store, int acks, size_t body_bytes, unsigned good) {
    struct arena arena;
    arena_init(&arena, 65536, 1024u * 1024u);
    uint64_t seq = support_head(store, &arena, "c_a");
    for (unsigned i = 0;; i++) {
        if (i == good) {
            support_vfs_fail(&vfs_sync_fault, VFS_LOG, 0, 1);
        }
        if (support_append(store, &arena, "c_a", ++seq, body_bytes) != ERR_OK) {
            _exit(2);
        }
        acknowledge(acks);
        arena_reset(&arena);
    }
}

static struct store *open_faulty(const char *dir) {
    struct store *store = NULL;
    support_vfs_install();
    if (support_open(dir, &store, NULL) != ERR_OK) {
        _exit(3);
    }
    return store;
}

static void append_until_log_sync_fails(const char *dir, int acks) {
    struct store *store = open_faulty(dir);
    append_for_ever(store, acks, 50, 5);
}

static void append_until_checkpoint_sync_fails(const char *dir, int acks) {
    struct store *store = open_faulty(dir);
    support_vfs_fail(&vfs_sync_fault, VFS_DATABASE, 0, 1);
    append_for_ever(store, acks, 20000, UINT_MAX); /* the log reaches its checkpoint soon */
}

static void expect_kept(const char *dir, unsigned acknowledged) {
    struct store *store = NULL;
    struct arena arena;
    arena_init(&arena, 65536, 1024u * 1024u);
    assert_int_equal(support_open(dir, &store, NULL), ERR_OK);
    size_t stored = support_count_dense(store, "c_a");
    assert_true(stored >= acknowledged);
    assert_true(stored <= acknowledged + 1); /* one may be stored and not yet acknowledged */
    assert_int_equal(support_append(store, &arena, "c_a", stored + 1, 10), ERR_OK);
    store_close(&store);
    arena_finish(&arena);
}

static void a_failed_fsync_ends_the_process(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(append_until_log_sync_fails, dir);
    assert_int_equal(read_acks(&child, 1000), 5); /* the sixth was never acknowledged */
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FSYNC);
    expect_kept(dir, 5);
    support_remove(dir);
}

static void a_failed_fsync_of_a_checkpoint_does_too(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(append_until_checkpoint_sync_fails, dir);
    unsigned acknowledged = read_acks(&child, 1000000);
    assert_true(acknowledged > 50); /* the log reaches its checkpoint */
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FSYNC);
    expect_kept(dir, acknowledged);
    support_remove(dir);
}

/* --- the directory: SQLite itself ignores this error (found by tests/powercut/sweep.py) */

static bool fsync_fails;

int fsync(int fd) { /* in place of libc's: only directories are synced by it here */
    if (fsync_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static void append_with_failing_directory(const char *dir, int acks) {
    struct store *store = open_faulty(dir);
    fsync_fails = true;
    append_for_ever(store, acks, 50, UINT_MAX);
}

static void a_failed_fsync_of_the_directory_does_too(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(append_with_failing_directory, dir);
    assert_int_equal(read_acks(&child, 1000), 0);
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FSYNC);
    expect_kept(dir, 0);
    support_remove(dir);
}

/* --- the log's index */

/* Fails as the disk is full when the index needs its second page; the log is written by then. */
static void append_until_index_cannot_grow(const char *dir, int acks) {
    struct store *store = open_faulty(dir);
    struct arena arena;
    arena_init(&arena, 65536, 1024u * 1024u);
    support_vfs_fail(&vfs_index_fault, VFS_ANY, 0, 1);
    enum err error = ERR_OK;
    for (uint64_t seq = 1; error == ERR_OK && seq < 1000; seq++) {
        error = support_append(store, &arena, "c_a", seq, 100000);
        if (error == ERR_OK) {
            acknowledge(acks);
        }
        arena_reset(&arena);
    }
    _exit(error == ERR_UNAVAILABLE ? 0 : 7); /* as if killed */
}

static void a_commit_without_room_for_its_index_is_unknown(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(append_until_index_cannot_grow, dir);
    unsigned acknowledged = read_acks(&child, 100000);
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(acknowledged > 50);
    expect_kept(dir, acknowledged);
    struct store *store = NULL;
    assert_int_equal(support_open(dir, &store, NULL), ERR_OK);
    /* expect_kept added one; the other is the one that failed: it came back, hence "unknown". */
    assert_int_equal(support_count_dense(store, "c_a"), acknowledged + 2);
    store_close(&store);
    support_remove(dir);
}

static int open_index_read_only(const char *path, int flags, int mode) {
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, "-shm") == 0 && (flags & O_ACCMODE) == O_RDWR) {
        errno = EIO;
        return -1;
    }
    return open(path, flags | O_CLOEXEC, (mode_t)mode);
}

static void open_without_index(const char *dir, int acks) {
    struct store *store = NULL;
    struct buf problem;
    (void)acks;
    buf_init(&problem, 512);
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    if (vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_index_read_only) != SQLITE_OK) {
        _exit(3);
    }
    _exit(support_open(dir, &store, &problem) != ERR_OK && buf_len(&problem) > 0 ? 0 : 8);
}

/* SQLite would go on with a read-only view for as long as the process lives. */
static void a_store_that_could_only_be_read_does_not_open(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(open_without_index, dir);
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    expect_kept(dir, 0);
    support_remove(dir);
}

/* --- the group commit must not tell anybody either */

static int group_acks;
static void tell(struct call *call, void *user) {
    (void)user;
    if (call->error == ERR_OK) {
        acknowledge(group_acks);
    }
}

static void commit_groups_until_sync_fails(const char *dir, int acks) {
    group_acks = acks;
    struct store *store = open_faulty(dir);
    struct write_batch *batch = NULL;
    struct write_batch_config config = {
        .store = store, .queue_max = 64, .messages_max = 4096, .on_done = tell};
    static struct call calls[20];
    support_vfs_fail(&vfs_sync_fault, VFS_LOG, 0, 1);
    if (write_batch_create(&config, &batch) != ERR_OK) {
        _exit(3);
    }
    for (size_t i = 0; i < 20; i++) {
        arena_init(&calls[i].arena, 16384, 1024u * 1024u);
        calls[i].handler = dispatch_find(MESSAGE_APPEND_BATCH);
        calls[i].request = &support_batch(&calls[i].arena, "c_a", i + 1, 1, 10)->base;
        if (write_batch_submit(batch, &calls[i]) != ERR_OK) {
            _exit(3);
        }
    }
    write_batch_destroy(&batch);
    _exit(4); /* reached only when the failed fsync was overlooked */
}

static void a_group_is_not_acknowledged(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(commit_groups_until_sync_fails, dir);
    assert_int_equal(read_acks(&child, 1000), 0);
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FSYNC);
    support_remove(dir);
}

/* --- failed writes */

static void append_over_failing_writes(const char *dir, int acks) {
    struct store *store = open_faulty(dir);
    struct arena arena;
    arena_init(&arena, 65536, 1024u * 1024u);
    uint64_t seq = 0;
    for (unsigned i = 0; i < 40; i++) {
        support_vfs_fail(&vfs_write_fault, VFS_LOG, (int)(i % 5), i % 4 == 0 ? 1 : 0);
        enum err error = support_append(store, &arena, "c_a", seq + 1, 50);
        if (error == ERR_OK) {
            seq++;
            acknowledge(acks);
        } else if (error != ERR_IO) {
            _exit(5);
        }
    }
    support_vfs_fail(&vfs_write_fault, VFS_LOG, 0, 0);
    for (unsigned i = 0; i < 5; i++) { /* all is well again */
        if (support_append(store, &arena, "c_a", ++seq, 50) != ERR_OK) {
            _exit(6);
        }
        acknowledge(acks);
    }
    store_close(&store);
    arena_finish(&arena);
}

static void a_failed_write_is_refused_and_survived(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    struct child child = start_child(append_over_failing_writes, dir);
    unsigned acknowledged = read_acks(&child, 1000);
    int status = wait_child(&child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(acknowledged > 30 && acknowledged < 45); /* some were refused, most were not */
    struct store *store = NULL;
    assert_int_equal(support_open(dir, &store, NULL), ERR_OK);
    assert_int_equal(support_count_dense(store, "c_a"), acknowledged);
    store_close(&store);
    support_remove(dir);
}

/* --- SIGKILL */

static void append_until_killed(const char *dir, int acks) {
    struct store *store = NULL;
    if (support_open(dir, &store, NULL) != ERR_OK) {
        _exit(3);
    }
    append_for_ever(store, acks, 3000, UINT_MAX);
}

static void a_killed_process_loses_nothing(void **state) {
    (void)state;
    char dir[64];
    support_make_dir(dir);
    make_store(dir);
    unsigned total = 0;
    for (unsigned round = 0; round < KILL_ROUNDS; round++) {
        struct child child = start_child(append_until_killed, dir);
        unsigned acknowledged = read_acks(&child, 1 + round * 37);
        assert_int_equal(kill(child.pid, SIGKILL), 0);
        acknowledged += read_acks(&child, 1000000); /* those still in the pipe count, too */
        int status = wait_child(&child);
        assert_true(WIFSIGNALED(status));
        struct store *store = NULL;
        assert_int_equal(support_open(dir, &store, NULL), ERR_OK);
        size_t stored = support_count_dense(store, "c_a");
        assert_true(stored >= total + acknowledged);
        assert_true(stored <= total + acknowledged + 1);
        total = (unsigned)stored;
        store_close(&store);
    }
    support_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_fsync_ends_the_process),
        cmocka_unit_test(a_failed_fsync_of_a_checkpoint_does_too),
        cmocka_unit_test(a_failed_fsync_of_the_directory_does_too),
        cmocka_unit_test(a_commit_without_room_for_its_index_is_unknown),
        cmocka_unit_test(a_store_that_could_only_be_read_does_not_open),
        cmocka_unit_test(a_group_is_not_acknowledged),
        cmocka_unit_test(a_failed_write_is_refused_and_survived),
        cmocka_unit_test(a_killed_process_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
