/* test_mongo_health: who declares the way down and the way up, with a database that answers as the
 * test says. Every wait ends with an event. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_health.h"
#include <stdatomic.h>

#define PATIENCE_MS 60000u

struct fake {
    struct mongo_health health;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    enum err answers[3]; /* by question */
    unsigned count[3];
};

static enum err probe(void *user, enum mongo_question question,
                      char reason[MONGO_HEALTH_REASON_BYTES]) {
    struct fake *fake = user;
    (void)pthread_mutex_lock(&fake->lock);
    fake->count[question]++;
    enum err answer = fake->answers[question];
    (void)pthread_cond_broadcast(&fake->asked);
    (void)pthread_mutex_unlock(&fake->lock);
    (void)strcpy(reason, answer == ERR_OK ? "" : "as told");
    return answer;
}

static void set(struct fake *fake, enum mongo_question question, enum err answer) {
    (void)pthread_mutex_lock(&fake->lock);
    fake->answers[question] = answer;
    (void)pthread_mutex_unlock(&fake->lock);
}

/* Until the question was asked `more` times from now on. */
static void wait_asked(struct fake *fake, enum mongo_question question, unsigned more) {
    (void)pthread_mutex_lock(&fake->lock);
    unsigned until = fake->count[question] + more;
    while (fake->count[question] < until) {
        (void)pthread_cond_wait(&fake->asked, &fake->lock);
    }
    (void)pthread_mutex_unlock(&fake->lock);
}

static void start(struct fake *fake, enum err ask) {
    *fake = (struct fake){.answers = {ask, ERR_OK, ERR_OK}};
    (void)pthread_mutex_init(&fake->lock, NULL);
    (void)pthread_cond_init(&fake->asked, NULL);
    assert_int_equal(mongo_health_start(&fake->health, probe, fake), ERR_OK);
}

static void stop(struct fake *fake) {
    mongo_health_stop(&fake->health);
    (void)pthread_cond_destroy(&fake->asked);
    (void)pthread_mutex_destroy(&fake->lock);
}

static void wait_up(struct fake *fake) {
    char reason[MONGO_HEALTH_REASON_BYTES];
    assert_true(mongo_health_wait(&fake->health, PATIENCE_MS, reason));
}

static void up_after_it_was_prepared(void **state) {
    (void)state;
    struct fake fake;
    start(&fake, ERR_OK);
    assert_true(mongo_health_admits(&fake.health)); /* waits for the first answer */
    assert_int_equal(mongo_health_now(&fake.health), ERR_OK);
    assert_int_equal(fake.count[MONGO_PREPARE], 1);
    assert_int_equal(fake.count[MONGO_STORE], 0);
    wait_asked(&fake, MONGO_ASK, 1); /* goes on asking, prepares no more */
    assert_int_equal(fake.count[MONGO_PREPARE], 1);
    stop(&fake);
}

static void down_from_the_start(void **state) {
    (void)state;
    struct fake fake;
    char reason[MONGO_HEALTH_REASON_BYTES];
    start(&fake, ERR_UNAVAILABLE);
    assert_false(mongo_health_admits(&fake.health));
    assert_int_equal(mongo_health_now(&fake.health), ERR_UNAVAILABLE);
    assert_false(mongo_health_wait(&fake.health, 1, reason));
    assert_string_equal(reason, "as told");
    set(&fake, MONGO_ASK, ERR_OK);
    wait_up(&fake);
    assert_true(mongo_health_admits(&fake.health));
    stop(&fake);
}

static void not_up_before_it_is_prepared(void **state) {
    (void)state;
    struct fake fake;
    start(&fake, ERR_UNAVAILABLE);
    set(&fake, MONGO_PREPARE, ERR_UNSUPPORTED);
    set(&fake, MONGO_ASK, ERR_OK);
    wait_asked(&fake, MONGO_PREPARE, 2); /* the first one's answer was applied */
    assert_false(mongo_health_admits(&fake.health));
    set(&fake, MONGO_PREPARE, ERR_OK);
    wait_up(&fake);
    stop(&fake);
}

static void a_call_declares_it_down_and_the_thread_up(void **state) {
    (void)state;
    struct fake fake;
    start(&fake, ERR_OK);
    wait_up(&fake);
    set(&fake, MONGO_ASK, ERR_UNAVAILABLE);
    mongo_health_report(&fake.health, MONGO_TROUBLE_NONE, ERR_EXISTS, "");
    mongo_health_report(&fake.health, MONGO_TROUBLE_UNREACHABLE, ERR_UNAVAILABLE, "reset");
    assert_false(mongo_health_admits(&fake.health));
    assert_int_equal(mongo_health_now(&fake.health), ERR_UNAVAILABLE);
    wait_asked(&fake, MONGO_ASK, 2);
    assert_false(mongo_health_admits(&fake.health));
    unsigned prepared = fake.count[MONGO_PREPARE];
    set(&fake, MONGO_ASK, ERR_OK);
    wait_up(&fake);
    assert_true(fake.count[MONGO_PREPARE] > prepared); /* it may hold other data now */
    assert_int_equal(fake.count[MONGO_STORE], 0);
    stop(&fake);
}

static void writes_wait_until_one_is_stored(void **state) {
    (void)state;
    struct fake fake;
    start(&fake, ERR_OK);
    wait_up(&fake);
    set(&fake, MONGO_STORE, ERR_NO_SPACE);
    mongo_health_report(&fake.health, MONGO_TROUBLE_WRITES, ERR_NO_SPACE, "disk full");
    assert_int_equal(mongo_health_now(&fake.health), ERR_NO_SPACE);
    assert_true(mongo_health_admits(&fake.health)); /* reading goes on */
    wait_asked(&fake, MONGO_STORE, 2);
    assert_int_equal(mongo_health_now(&fake.health), ERR_NO_SPACE);
    set(&fake, MONGO_STORE, ERR_OK);
    wait_asked(&fake, MONGO_STORE, 1);
    wait_asked(&fake, MONGO_ASK, 1); /* that answer was applied before this question */
    assert_int_equal(mongo_health_now(&fake.health), ERR_OK);
    stop(&fake);
}

static void an_outage_in_a_write_needs_a_write_to_end(void **state) {
    (void)state;
    struct fake fake;
    start(&fake, ERR_OK);
    wait_up(&fake);
    set(&fake, MONGO_STORE, ERR_UNAVAILABLE);
    mongo_health_report(&fake.health, MONGO_TROUBLE_UNREACHABLE, ERR_UNAVAILABLE, "time-out");
    mongo_health_report(&fake.health, MONGO_TROUBLE_WRITES, ERR_UNAVAILABLE, "time-out");
    wait_asked(&fake, MONGO_STORE, 1);
    wait_up(&fake); /* it answers */
    assert_int_equal(mongo_health_now(&fake.health), ERR_UNAVAILABLE);
    set(&fake, MONGO_STORE, ERR_OK);
    wait_asked(&fake, MONGO_STORE, 1);
    wait_asked(&fake, MONGO_ASK, 1);
    assert_int_equal(mongo_health_now(&fake.health), ERR_OK);
    stop(&fake);
}

static void stopping_is_quick_in_every_state(void **state) {
    (void)state;
    static const enum err answers[] = {ERR_OK, ERR_UNAVAILABLE};
    for (size_t i = 0; i < 2; i++) {
        for (unsigned round = 0; round < 20; round++) {
            struct fake fake;
            start(&fake, answers[i]);
            stop(&fake);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_after_it_was_prepared),
        cmocka_unit_test(down_from_the_start),
        cmocka_unit_test(not_up_before_it_is_prepared),
        cmocka_unit_test(a_call_declares_it_down_and_the_thread_up),
        cmocka_unit_test(writes_wait_until_one_is_stored),
        cmocka_unit_test(an_outage_in_a_write_needs_a_write_to_end),
        cmocka_unit_test(stopping_is_quick_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
