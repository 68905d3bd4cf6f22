/* test_id: UUIDv7 order and form, hostile texts, base32 against the RFC's vectors. */
#include "common/id.h"
#include "tests/unit/common/support_process.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void ids_have_time_version_and_variant(void **state) {
    (void)state;
    const uint64_t times[] = {0, 1, 1700000000123, (1ull << 48) - 1};
    for (size_t i = 0; i < 4; i++) {
        uint8_t uuid[ID_UUID_BYTES];
        id_uuid7_make(times[i], uuid);
        assert_int_equal(id_uuid7_wall_ms(uuid), times[i]);
        assert_int_equal(uuid[6] >> 4, 7);
        assert_int_equal(uuid[8] >> 6, 2);
    }
}

static void ids_of_one_millisecond_ascend(void **state) {
    (void)state;
    uint8_t before[ID_UUID_BYTES];
    uint8_t uuid[ID_UUID_BYTES];
    id_uuid7_make(1700000000000, before);
    for (int i = 0; i < 20000; i++) { /* rand_a is used up several times */
        id_uuid7_make(1700000000000, uuid);
        assert_true(memcmp(before, uuid, sizeof(uuid)) < 0);
        memcpy(before, uuid, sizeof(uuid));
    }
    uint64_t ahead_ms = id_uuid7_wall_ms(uuid) - 1700000000000;
    assert_true(ahead_ms >= 4 && ahead_ms <= 10);
    id_uuid7_make(1700000000001, uuid); /* within the borrowed time */
    assert_true(memcmp(before, uuid, sizeof(uuid)) < 0);
    id_uuid7_make(1600000000000, uuid); /* a stepped clock is believed */
    assert_int_equal(id_uuid7_wall_ms(uuid), 1600000000000);
}

enum { PER_THREAD = 5000 };
static uint8_t made[4][PER_THREAD][ID_UUID_BYTES];

static void *make_many(void *argument) {
    uint8_t(*own)[ID_UUID_BYTES] = argument;
    for (size_t i = 0; i < PER_THREAD; i++) {
        id_uuid7_make(1700000000000, own[i]);
    }
    return NULL;
}

static int compare(const void *left, const void *right) {
    return memcmp(left, right, ID_UUID_BYTES);
}

static void threads_never_collide(void **state) {
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, made[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    qsort(made, (size_t)4 * PER_THREAD, ID_UUID_BYTES, compare);
    const uint8_t *all = &made[0][0][0];
    for (size_t i = 1; i < (size_t)4 * PER_THREAD; i++) {
        assert_true(compare(all + (i - 1) * ID_UUID_BYTES, all + i * ID_UUID_BYTES) != 0);
    }
}

static void texts_round_trip(void **state) {
    (void)state;
    uint8_t uuid[ID_UUID_BYTES];
    uint8_t again[ID_UUID_BYTES];
    char text[ID_UUID_TEXT_BYTES];
    /* Source: RFC 9562 appendix A.6. */
    const char *example = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
    assert_int_equal(id_uuid7_parse(example, 36, uuid), ERR_OK);
    assert_int_equal(id_uuid7_wall_ms(uuid), 1645557742000);
    id_uuid_format(uuid, text);
    assert_string_equal(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    for (int i = 0; i < 1000; i++) {
        id_uuid7_make(1700000000000 + (uint64_t)i, uuid);
        id_uuid_format(uuid, text);
        assert_int_equal(id_uuid7_parse(text, 36, again), ERR_OK);
        assert_memory_equal(uuid, again, sizeof(uuid));
    }
}

static void hostile_texts_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
                                        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
                                        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}",
                                        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
                                        "017f22e2-79b0-7cc3-78c4-dc0c0c07398f",
                                        "017f22e2-79b0-7cc3-d8c4-dc0c0c07398f",
                                        "017f22e279b0-7cc3-98c4-dc0c0c07398f-",
                                        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
                                        "017f22e2 79b0-7cc3-98c4-dc0c0c07398f",
                                        "017f22e2-79b0-7cc3-98c4-dc0c0c07 98f",
                                        "+17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
                                        "------------------------------------",
                                        "00000000-0000-0000-0000-000000000000"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint8_t uuid[ID_UUID_BYTES];
        memset(uuid, 0xaa, sizeof(uuid));
        assert_int_equal(id_uuid7_parse(texts[i], strlen(texts[i]), uuid), ERR_INVALID);
        assert_int_equal(uuid[0], 0xaa); /* untouched */
    }
}

static void base32_is_the_rfcs(void **state) {
    (void)state;
    /* Source: RFC 4648 section 10, lower case and unpadded. */
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "my"},
                                             {"fo", "mzxq"},
                                             {"foo", "mzxw6"},
                                             {"foob", "mzxw6yq"},
                                             {"fooba", "mzxw6ytb"},
                                             {"foobar", "mzxw6ytboi"}};
    for (size_t i = 0; i < 7; i++) {
        char text[32];
        size_t count = strlen(vectors[i][0]);
        memset(text, 'X', sizeof(text));
        id_base32((const uint8_t *)vectors[i][0], count, text);
        assert_string_equal(text, vectors[i][1]);
        assert_int_equal(strlen(text), (count * 8 + 4) / 5);
    }
}

static void random_texts_differ(void **state) {
    (void)state;
    char first[20];
    char second[20];
    id_random_text("d_", first, sizeof(first));
    id_random_text("d_", second, sizeof(second));
    assert_int_equal(strlen(first), 18);
    assert_memory_equal(first, "d_", 2);
    assert_string_not_equal(first, second);
    assert_int_equal(strspn(first + 2, "abcdefghijklmnopqrstuvwxyz234567"), 16);
    assert_true(id_random_u64() != id_random_u64());
}

static void text_without_room(void) {
    char text[18];
    id_random_text("d_", text, sizeof(text));
}

static void room_is_a_contract(void **state) {
    (void)state;
    assert_true(support_aborts(text_without_room));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_have_time_version_and_variant),
                                       cmocka_unit_test(ids_of_one_millisecond_ascend),
                                       cmocka_unit_test(threads_never_collide),
                                       cmocka_unit_test(texts_round_trip),
                                       cmocka_unit_test(hostile_texts_are_refused),
                                       cmocka_unit_test(base32_is_the_rfcs),
                                       cmocka_unit_test(random_texts_differ),
                                       cmocka_unit_test(room_is_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
