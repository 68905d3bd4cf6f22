/* discovery: the specification, static lists, and names against a resolver of our own; the 2 s are
 * the fake clock's. */
#include "common/discovery.h"

#include "common/clock.h"
#include "common/mem.h"
#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

static struct loop *loop;

/* --- a resolver that answers what the test wrote, and counts */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static char records[200][DISCOVERY_HOST_BYTES];
static size_t record_count;
static enum err answer;
static unsigned rounds, entered;
static bool hold; /* the resolver blocks */

static enum err resolve(const char *host, char (*addresses)[DISCOVERY_HOST_BYTES], size_t max,
                        size_t *count) {
    pthread_mutex_lock(&lock);
    entered++;
    while (hold) {
        pthread_cond_wait(&released, &lock);
    }
    enum err error =
        strcmp(host, "storage") == 0 || strcmp(host, "other") == 0 ? answer : ERR_NOT_FOUND;
    if (error == ERR_OK) {
        *count = record_count < max ? record_count : max;
        memcpy(addresses, records, *count * sizeof records[0]);
    }
    rounds++;
    pthread_mutex_unlock(&lock);
    return error;
}

static void set_records(const char *const *texts) {
    pthread_mutex_lock(&lock);
    record_count = 0;
    for (; *texts != NULL; texts++) {
        (void)snprintf(records[record_count++], DISCOVERY_HOST_BYTES, "%s", *texts);
    }
    answer = ERR_OK;
    pthread_mutex_unlock(&lock);
}

static void set_answer(enum err error, bool held) {
    pthread_mutex_lock(&lock);
    answer = error;
    hold = held;
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&lock);
}

#define RECORDS(...) set_records((const char *const[]){__VA_ARGS__, NULL})

static bool rounds_reached(void *arg) {
    pthread_mutex_lock(&lock);
    bool reached = rounds >= *(unsigned *)arg;
    pthread_mutex_unlock(&lock);
    return reached;
}

static bool has_entered(void *arg) {
    pthread_mutex_lock(&lock);
    bool reached = entered >= *(unsigned *)arg;
    pthread_mutex_unlock(&lock);
    return reached;
}

/* --- what was told */

static unsigned changes;
static char told[16384];

static void on_change(const char *const *addresses, size_t count, void *user) {
    assert_ptr_equal(user, &changes);
    changes++;
    told[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(told);
        (void)snprintf(told + used, sizeof told - used, "%s%s", i > 0 ? " " : "", addresses[i]);
    }
}

static struct discovery *start(const char *specification) {
    struct discovery *discovery;
    changes = 0;
    told[0] = '\0';
    assert_int_equal(discovery_create(loop, specification, on_change, &changes, &discovery),
                     ERR_OK);
    assert_int_equal(changes, 0); /* never inside create */
    return discovery;
}

/* One more round of the resolver, and whatever it posted. */
static void next_round(void) {
    pthread_mutex_lock(&lock);
    unsigned wanted = rounds + 2; /* the first may have begun before */
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 2; i++) {
        unsigned step = wanted - 1 + (unsigned)i;
        clock_fake_advance_us(DISCOVERY_INTERVAL_US);
        assert_true(support_turn_until(loop, rounds_reached, &step));
    }
    support_turn_for(loop, 2000);
}

static int setup(void **state) {
    (void)state;
    clock_fake_on(1000000, 0);
    rounds = entered = 0;
    set_answer(ERR_OK, false);
    record_count = 0;
    discovery_set_resolver(resolve);
    return loop_create(8, &loop) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    set_answer(ERR_OK, false);
    discovery_set_resolver(NULL);
    loop_destroy(&loop);
    clock_fake_off();
    return 0;
}

/* --- specifications */

static void static_lists_are_told_once_sorted(void **state) {
    (void)state;
    struct discovery *discovery = start(" tcp://10.0.0.2:7101, tcp://10.0.0.1:7101 "
                                        ",ipc:///run/b,tcp://[fd00::1]:7101,ipc:///run/b");
    assert_true(support_turn_until_count(loop, &changes, 1));
    assert_string_equal(told, "ipc:///run/b tcp://10.0.0.1:7101 tcp://10.0.0.2:7101 "
                              "tcp://[fd00::1]:7101");
    clock_fake_advance_us(10 * DISCOVERY_INTERVAL_US);
    support_turn_for(loop, 2000);
    assert_int_equal(changes, 1);
    assert_int_equal(rounds, 0); /* nothing to resolve */
    discovery_destroy(&discovery);
    discovery_destroy(&discovery); /* NULL */
}

static void a_static_list_may_be_destroyed_before_it_is_told(void **state) {
    (void)state;
    struct discovery *discovery = start("ipc:///run/b");
    discovery_destroy(&discovery);
    support_turn_for(loop, 2000);
    assert_int_equal(changes, 0);
}

static void malformed_specifications_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",        " ",   ",",          "tcp://a:1,",  ",tcp://a:1", "tcp://a:1,,tcp://b:1",
        "tcp://a", "a:1", "http://a:1", "tcp://a b:1", "tcp://a:0",  "ipc://"};
    struct discovery *discovery = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (discovery_create(loop, bad[i], on_change, &changes, &discovery) != ERR_INVALID) {
            fail_msg("accepted \"%s\"", bad[i]);
        }
    }
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text, "ipc:///", 7);
    text[399] = '\0';
    assert_int_equal(discovery_create(loop, text, on_change, &changes, &discovery), ERR_TOO_LARGE);
    text[0] = '\0';
    for (int i = 0; i < DISCOVERY_SOURCES_MAX + 1; i++) {
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%sipc://%d",
                       i > 0 ? "," : "", i);
    }
    assert_int_equal(discovery_create(loop, text, on_change, &changes, &discovery), ERR_TOO_LARGE);
    assert_null(discovery);
}

/* --- names */

static void names_become_all_their_addresses(void **state) {
    (void)state;
    RECORDS("10.0.0.10", "fd00::2", "10.0.0.9", "10.0.0.10");
    struct discovery *discovery = start("tcp://storage:7201,ipc:///run/b");
    assert_true(support_turn_until_count(loop, &changes, 1));
    assert_string_equal(told, "ipc:///run/b tcp://10.0.0.10:7201 tcp://10.0.0.9:7201 "
                              "tcp://[fd00::2]:7201");
    RECORDS("10.0.0.9", "10.0.0.10", "fd00::2"); /* another order is no change */
    next_round();
    assert_int_equal(changes, 1);
    RECORDS("10.0.0.11");
    next_round();
    assert_int_equal(changes, 2);
    assert_string_equal(told, "ipc:///run/b tcp://10.0.0.11:7201");
    discovery_destroy(&discovery);
}

static void failures_keep_the_last_known_list(void **state) {
    (void)state;
    set_answer(ERR_NOT_FOUND, false);
    struct discovery *discovery = start("tls+tcp://storage:7201");
    next_round();
    assert_int_equal(changes, 0); /* nothing known yet: nothing to tell */
    RECORDS("10.0.0.1", "10.0.0.2");
    next_round();
    assert_int_equal(changes, 1);
    assert_string_equal(told, "tls+tcp://10.0.0.1:7201 tls+tcp://10.0.0.2:7201");
    for (int i = 0; i < 3; i++) {
        set_answer(ERR_NOT_FOUND, false);
        next_round();
        set_records((const char *const[]){NULL}); /* no error, no records */
        next_round();
    }
    assert_int_equal(changes, 1);
    RECORDS("10.0.0.2");
    next_round();
    assert_int_equal(changes, 2);
    assert_string_equal(told, "tls+tcp://10.0.0.2:7201");
    discovery_destroy(&discovery);
}

static void several_names_fail_apart(void **state) {
    (void)state;
    RECORDS("10.0.0.1");
    struct discovery *discovery = start("tcp://other:1,tcp://unknown:2,tcp://storage:3");
    assert_true(support_turn_until_count(loop, &changes, 1));
    assert_string_equal(told, "tcp://10.0.0.1:1 tcp://10.0.0.1:3");
    discovery_destroy(&discovery);
}

static void the_list_is_bounded(void **state) {
    (void)state;
    pthread_mutex_lock(&lock);
    for (record_count = 0; record_count < 60; record_count++) {
        (void)snprintf(records[record_count], DISCOVERY_HOST_BYTES, "10.0.0.%zu",
                       100 + record_count);
    }
    pthread_mutex_unlock(&lock);
    struct discovery *discovery =
        start("ipc:///a,tcp://storage:7201,tcp://other:7301,tcp://9.9.9.9:1");
    assert_true(support_turn_until_count(loop, &changes, 1));
    unsigned words = 1;
    for (const char *at = told; *at != '\0'; at++) {
        words += *at == ' ';
    }
    assert_int_equal(words, DISCOVERY_ADDRESSES_MAX);
    assert_non_null(strstr(told, "ipc:///a tcp://10.0.0.100:7201 tcp://10.0.0.100:7301 "));
    assert_null(strstr(told, "9.9.9.9")); /* last in order */
    discovery_destroy(&discovery);
}

static void destroying_does_not_wait_for_the_resolver(void **state) {
    (void)state;
    set_answer(ERR_OK, true);
    RECORDS("10.0.0.1");
    for (unsigned i = 1; i <= 5; i++) {
        struct discovery *discovery = start("tcp://storage:1");
        assert_true(support_turn_until(loop, has_entered, &i));
        clock_fake_advance_us(DISCOVERY_INTERVAL_US);
        support_turn_for(loop, 1000);
        discovery_destroy(&discovery); /* returns though the resolver hangs */
    }
    unsigned wanted = 5;
    set_answer(ERR_OK, false);
    assert_true(
        support_turn_until(loop, rounds_reached, &wanted)); /* they finish, told to nobody */
    support_turn_for(loop, 2000);
    assert_int_equal(changes, 0);
}

static void getaddrinfo_is_the_default(void **state) {
    (void)state;
    discovery_set_resolver(NULL);
    /* inet_aton's short form: a name for us, and one that needs neither name server nor hosts file.
     */
    struct discovery *discovery = start("tcp://127.1:7101");
    assert_true(support_turn_until_count(loop, &changes, 1));
    assert_string_equal(told, "tcp://127.0.0.1:7101");
    discovery_destroy(&discovery);
}

static void creation_survives_lack_of_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct discovery *discovery = NULL;
        (void)mem_fault_set(nth, 1);
        enum err error = discovery_create(loop, "tcp://storage:1", on_change, &changes, &discovery);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(discovery);
    }
}

#define DISCOVERY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        DISCOVERY_TEST(static_lists_are_told_once_sorted),
        DISCOVERY_TEST(a_static_list_may_be_destroyed_before_it_is_told),
        DISCOVERY_TEST(malformed_specifications_are_refused),
        DISCOVERY_TEST(names_become_all_their_addresses),
        DISCOVERY_TEST(failures_keep_the_last_known_list),
        DISCOVERY_TEST(several_names_fail_apart),
        DISCOVERY_TEST(the_list_is_bounded),
        DISCOVERY_TEST(destroying_does_not_wait_for_the_resolver),
        DISCOVERY_TEST(getaddrinfo_is_the_default),
        DISCOVERY_TEST(creation_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
