/* janitor: never early, at most one tick late, whatever the distance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/contract.h"
#include "services/connection/janitor.h"

struct thing {
    struct janitor_entry entry;
    uint64_t due_us, seen_us;
    unsigned looks;
    bool once_more;
};
static struct loop *loop;
static struct janitor janitor;
static struct thing *to_forget;

static void on_due(struct janitor_entry *entry, uint64_t now_us) {
    struct thing *thing = CONTAINER_OF(entry, struct thing, entry);
    thing->looks++;
    if (to_forget != NULL && to_forget != thing) {
        janitor_forget(&janitor, &to_forget->entry);
        to_forget = NULL;
    }
    if (now_us >= thing->due_us) {
        thing->seen_us = now_us;
        if (thing->once_more) {
            thing->due_us = now_us + 1000000;
            thing->once_more = false;
        } else {
            return;
        }
    }
    janitor_watch(&janitor, entry, thing->due_us);
}

static int set_up(void **state) {
    (void)state;
    clock_fake_on(123456789, 1);
    assert_int_equal(loop_create(8, &loop), ERR_OK);
    janitor_start(&janitor, loop, on_due);
    to_forget = NULL;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    janitor_stop(&janitor);
    loop_destroy(&loop);
    clock_fake_off();
    return 0;
}

static void advance(uint64_t us, uint64_t step_us) {
    while (us > 0) {
        uint64_t step = us < step_us ? us : step_us;
        clock_fake_advance_us(step);
        us -= step;
        assert_int_equal(loop_turn(loop, 0), ERR_OK);
    }
}

static void test_never_early_at_most_a_tick_late(void **state) {
    (void)state;
    static const uint64_t distances[] = {
        0, 1, 250000, 251000, 999999, 10000000, 63000000, 64000000, 65000000, 200000000, 900000000};
    for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++) {
        struct thing thing = {.due_us = loop_now_us(loop) + distances[i]};
        janitor_watch(&janitor, &thing.entry, thing.due_us);
        advance(distances[i] + 3 * JANITOR_TICK_US, JANITOR_TICK_US / 5);
        assert_true(thing.seen_us >= thing.due_us);
        assert_true(thing.seen_us <= thing.due_us + JANITOR_TICK_US + JANITOR_TICK_US / 5);
        assert_false(list_node_linked(&thing.entry.node));
        assert_true(thing.looks <= 1 + distances[i] / 60000000 + 1);
    }
}

static void test_an_earlier_look_wins(void **state) {
    (void)state;
    uint64_t now_us = loop_now_us(loop);
    struct thing thing = {.due_us = now_us + 1000000};
    janitor_watch(&janitor, &thing.entry, now_us + 30000000);
    janitor_watch(&janitor, &thing.entry, now_us + 1000000);
    janitor_watch(&janitor, &thing.entry, now_us + 20000000); /* stays early */
    advance(1500000, 50000);
    assert_int_equal(thing.looks, 1);
    assert_true(thing.seen_us > 0);
}

static void test_watching_again_from_the_callback(void **state) {
    (void)state;
    struct thing thing = {.due_us = loop_now_us(loop), .once_more = true};
    janitor_watch(&janitor, &thing.entry, thing.due_us);
    advance(500000, 50000);
    assert_int_equal(thing.looks, 1);
    advance(1500000, 50000);
    assert_true(thing.looks >= 2);
    assert_false(list_node_linked(&thing.entry.node));
}

static void test_a_callback_may_forget_others_of_its_slot(void **state) {
    (void)state;
    struct thing one = {.due_us = loop_now_us(loop)}, two = {.due_us = loop_now_us(loop)};
    to_forget = &two;
    janitor_watch(&janitor, &one.entry, one.due_us);
    janitor_watch(&janitor, &two.entry, two.due_us);
    advance(1000000, 50000);
    assert_int_equal(one.looks, 1);
    assert_int_equal(two.looks, 0);
    janitor_forget(&janitor, &two.entry); /* no-op */
}

static void test_after_a_long_sleep_everything_is_looked_at_once(void **state) {
    (void)state;
    struct thing things[50] = {0};
    for (size_t i = 0; i < 50; i++) {
        things[i].due_us = loop_now_us(loop) + i * 1000000;
        janitor_watch(&janitor, &things[i].entry, things[i].due_us);
    }
    clock_fake_advance_us(3600000000ull);
    assert_int_equal(loop_turn(loop, 0), ERR_OK);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(things[i].looks, 1);
        assert_true(things[i].seen_us > 0);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_never_early_at_most_a_tick_late),
        T(test_an_earlier_look_wins),
        T(test_watching_again_from_the_callback),
        T(test_a_callback_may_forget_others_of_its_slot),
        T(test_after_a_long_sleep_everything_is_looked_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
