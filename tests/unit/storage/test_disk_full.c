/* test_disk_full: a disk without a free byte: writes are refused, reads go on, nothing acknowledged
 * is lost, and writes come back by themselves when there is room. On a small tmpfs when mounting is
 * allowed, else under RLIMIT_FSIZE (where the kernel says EFBIG, so the error is ERR_IO). */
#include "tests/unit/storage/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_BYTES (6u * 1024u * 1024u)
#define ROUNDS 3u

struct fixture {
    char dir[64];
    bool mounted;
    struct arena arena;
    struct store *store;
    uint64_t acknowledged;
};

static void ballast_path(const struct fixture *f, char path[96]) {
    (void)snprintf(path, 96, "%s/ballast", f->dir);
}

/* Takes everything to the last byte. */
static void take_room(struct fixture *f) {
    if (!f->mounted) {
        struct rlimit limit = {512u * 1024u, RLIM_INFINITY};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        return;
    }
    char path[96];
    static const uint8_t zeroes[65536];
    ballast_path(f, path);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_true(fd >= 0);
    for (size_t piece = sizeof(zeroes); piece > 0; piece /= 16) {
        while (write(fd, zeroes, piece) == (ssize_t)piece) {
        }
    }
    assert_int_equal(close(fd), 0);
}

static void give_room(struct fixture *f) {
    if (!f->mounted) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        return;
    }
    char path[96];
    ballast_path(f, path);
    assert_int_equal(unlink(path), 0);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_make_dir(f->dir);
    char options[32];
    (void)snprintf(options, sizeof(options), "size=%u", DISK_BYTES);
    f->mounted = mount("tmpfs", f->dir, "tmpfs", 0, options) == 0;
    (void)signal(SIGXFSZ, SIG_IGN); /* as the service does by way of its loop: an error, no death */
    arena_init(&f->arena, 65536, 256u * 1024u * 1024u);
    char store_dir[96];
    (void)snprintf(store_dir, sizeof(store_dir), "%s/store", f->dir);
    assert_int_equal(support_open(store_dir, &f->store, NULL), ERR_OK);
    assert_int_equal(support_user(f->store, &f->arena, "ann"), ERR_OK);
    assert_int_equal(support_group(f->store, &f->arena, "c_a", "u_ann"), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_close(&f->store);
    if (f->mounted) {
        assert_int_equal(umount2(f->dir, MNT_DETACH), 0);
    }
    support_remove(f->dir);
    arena_finish(&f->arena);
    free(f);
    return 0;
}

static enum err append(struct fixture *f, size_t body_bytes) {
    enum err error = support_append(f->store, &f->arena, "c_a", f->acknowledged + 1, body_bytes);
    if (error == ERR_OK) {
        f->acknowledged++;
    }
    arena_reset(&f->arena);
    return error;
}

static bool refused_for_room(const struct fixture *f, enum err error) {
    return error == ERR_NO_SPACE || (!f->mounted && error == ERR_IO);
}

static void expect_nothing_lost(struct fixture *f) {
    assert_int_equal(support_head(f->store, &f->arena, "c_a"), f->acknowledged);
    assert_int_equal(support_count_dense(f->store, "c_a"), f->acknowledged);
}

static void appends_until_refused(struct fixture *f, size_t body_bytes) {
    enum err error = ERR_OK;
    for (unsigned i = 0; i < 100000 && error == ERR_OK; i++) {
        error = append(f, body_bytes);
    }
    assert_true(refused_for_room(f, error));
}

static void refuses_recovers_and_loses_nothing(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(append(f, 100), ERR_OK);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        take_room(f);
        appends_until_refused(f, 3000);
        for (unsigned i = 0; i < 5; i++) { /* refused again and again, without harm */
            assert_true(refused_for_room(f, append(f, 60000)));
        }
        expect_nothing_lost(f); /* reads go on */
        give_room(f);
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(append(f, 100), ERR_OK);
        }
        expect_nothing_lost(f);
    }
}

static void other_writes_are_refused_cleanly(void **state) {
    struct fixture *f = *state;
    take_room(f);
    appends_until_refused(f, 500);
    enum err error = ERR_OK;
    unsigned made = 0;
    while (error == ERR_OK && made < 10000) { /* what is left of the last page may hold some */
        char name[16];
        (void)snprintf(name, sizeof(name), "n%u", made);
        error = support_user(f->store, &f->arena, name);
        made += error == ERR_OK;
    }
    assert_true(refused_for_room(f, error));
    give_room(f);
    char name[16];
    (void)snprintf(name, sizeof(name), "n%u", made);
    assert_int_equal(support_user(f->store, &f->arena, name), ERR_OK); /* it had left nothing */
    expect_nothing_lost(f);
}

static void a_group_is_refused_whole(void **state) {
    struct fixture *f = *state;
    take_room(f);
    appends_until_refused(f, 3000);
    assert_int_equal(f->store->ops->group_begin(f->store), ERR_OK);
    Pipit__AppendBatch *batch =
        support_batch(&f->arena, "c_a", f->acknowledged + 1, 200, 30000); /* more than the cache */
    assert_non_null(batch);
    Pipit__AppendReply reply = PIPIT__APPEND_REPLY__INIT;
    struct store_append item = {batch, &f->arena, &reply};
    enum err error = f->store->ops->append(f->store, &item, 1);
    enum err user_error = support_user(f->store, &f->arena, "late");
    if (error != ERR_OK) {
        assert_true(refused_for_room(f, user_error)); /* the group is lost already */
    }
    assert_true(refused_for_room(f, f->store->ops->group_end(f->store)));
    expect_nothing_lost(f);
    give_room(f);
    assert_int_equal(support_user(f->store, &f->arena, "late"), ERR_OK);
    assert_int_equal(append(f, 10), ERR_OK);
    expect_nothing_lost(f);
}

static void survives_reopening_while_full(void **state) {
    struct fixture *f = *state;
    take_room(f);
    appends_until_refused(f, 3000);
    store_close(&f->store);
    if (f->mounted) {
        give_room(f); /* opening needs room for the shared index */
    }
    char store_dir[96];
    (void)snprintf(store_dir, sizeof(store_dir), "%s/store", f->dir);
    if (!f->mounted) {
        give_room(f);
    }
    assert_int_equal(support_open(store_dir, &f->store, NULL), ERR_OK);
    expect_nothing_lost(f);
    assert_int_equal(append(f, 10), ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refuses_recovers_and_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(other_writes_are_refused_cleanly, setup, teardown),
        cmocka_unit_test_setup_teardown(a_group_is_refused_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_reopening_while_full, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
