/* test_out_of_memory: each allocation of a scripted session fails once, SQLite's own included: no
 * crash, and what was acknowledged is there afterwards. */
#include "tests/unit/storage/support.h"

#include "common/mem.h"
#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>

#define POINTS_ALL 400u   /* each of the first ones, which are the opening */
#define POINTS_STRIDE 17u /* then every so many */

/* SQLite's allocator over ours, so that the fault hook reaches it. */
static void *fault_malloc(int bytes) {
    return mem_alloc((size_t)bytes);
}
static void fault_free(void *pointer) {
    mem_free(pointer);
}
static void *fault_realloc(void *old, int bytes) {
    return mem_realloc(old, (size_t)bytes);
}
static int fault_size(void *pointer) {
    return pointer == NULL ? 0 : (int)malloc_usable_size(pointer);
}
static int fault_roundup(int bytes) {
    return (bytes + 7) & ~7;
}
static int fault_init(void *unused) {
    (void)unused;
    return SQLITE_OK;
}
static void fault_shutdown(void *unused) {
    (void)unused;
}

struct outcome {
    bool user, group;
    uint64_t stored; /* acknowledged messages */
};

static void use_store(struct store *store, struct arena *arena, struct outcome *outcome) {
    outcome->user = support_user(store, arena, "ann") == ERR_OK;
    outcome->group = support_group(store, arena, "c_a", "u_ann") == ERR_OK;
    for (unsigned i = 0; i < 3; i++) {
        if (support_append(store, arena, "c_a", outcome->stored + 1, 600) == ERR_OK) {
            outcome->stored++;
        }
    }
    if (store->ops->group_begin(store) == ERR_OK) {
        enum err error = support_append(store, arena, "c_a", outcome->stored + 1, 10);
        (void)support_user(store, arena, "bob"); /* an error of its own must not spread */
        if (store->ops->group_end(store) == ERR_OK && error == ERR_OK) {
            outcome->stored++;
        }
    }
    (void)support_head(store, arena, "c_a"); /* may fail */
    Pipit__ConversationsRequest list = PIPIT__CONVERSATIONS_REQUEST__INIT;
    list.user = "u_ann";
    list.with_last_message = true;
    list.with_members = true;
    Pipit__ConversationsReply reply = PIPIT__CONVERSATIONS_REPLY__INIT;
    (void)store->ops->conversations(store, &list, arena, &reply); /* may fail */
}

static void session(const char *dir, struct outcome *outcome) {
    struct store *store = NULL;
    struct arena arena;
    arena_init(&arena, 4096, 4u * 1024u * 1024u);
    if (support_open(dir, &store, NULL) == ERR_OK) {
        use_store(store, &arena, outcome);
        store_close(&store);
    }
    arena_finish(&arena);
}

static void check_point(uint64_t point) {
    char dir[64];
    struct outcome outcome = {false, false, 0};
    support_make_dir(dir);
    (void)mem_fault_set(point, 1);
    session(dir, &outcome);
    (void)mem_fault_set(0, 0);
    struct store *store = NULL;
    struct arena arena;
    arena_init(&arena, 65536, 4u * 1024u * 1024u);
    assert_int_equal(support_open(dir, &store, NULL), ERR_OK); /* nothing is broken for good */
    if (outcome.user) {
        assert_int_equal(support_user(store, &arena, "ann"), ERR_EXISTS);
    }
    if (outcome.group) {
        assert_int_equal(support_count_dense(store, "c_a"), outcome.stored);
        assert_int_equal(support_append(store, &arena, "c_a", outcome.stored + 1, 10), ERR_OK);
    }
    store_close(&store);
    arena_finish(&arena);
    support_remove(dir);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char dir[64];
    struct outcome outcome = {false, false, 0};
    support_make_dir(dir);
    (void)mem_fault_set(0, 0);
    session(dir, &outcome);
    uint64_t allocations = mem_fault_set(0, 0);
    support_remove(dir);
    assert_true(outcome.user && outcome.group);
    assert_int_equal(outcome.stored, 4);
    assert_true(allocations > 1000);
    for (uint64_t point = 1; point <= allocations;
         point += point < POINTS_ALL ? 1 : POINTS_STRIDE) {
        check_point(point);
    }
}

int main(void) {
    static const sqlite3_mem_methods methods = {fault_malloc,   fault_free,    fault_realloc,
                                                fault_size,     fault_roundup, fault_init,
                                                fault_shutdown, NULL};
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
