/* test_names: the alphabet and bounds of every name, and ids that both sides of a conversation
 * derive. */
#include "proto/names.h"

#include "tests/unit/proto/support.h"
#include <stdio.h>

#define A32 "abcdefghijklmnopqrstuvwxyz012345"
#define A40 A32 "67890123"

typedef bool (*check_fn)(const char *text, size_t count);

static void expect_all(check_fn check, bool expected, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint8_t *copy = support_copy(texts[i], strlen(texts[i]));
        assert_int_equal(check((const char *)copy, strlen(texts[i])), expected);
        free(copy);
    }
}
#define EXPECT(check, expected, ...)                                                               \
    do {                                                                                           \
        static const char *const texts[] = {__VA_ARGS__};                                          \
        expect_all(check, expected, texts, sizeof texts / sizeof texts[0]);                        \
    } while (0)

static void user_names(void **state) {
    (void)state;
    EXPECT(names_user_name_valid, true, "a", "ann", "0", "a.b-c_d", "u", "uu_x", "u.b", A32);
    EXPECT(names_user_name_valid, false, "", "Ann", ".a", "-a", "_a", "a b", "a/b", "#", "+", "a#",
           "ä", "u_bob", "u_", "$a", A32 "6", "a\n", "a\x7F");
    assert_false(names_user_name_valid("a\0b", 3));
}

static void user_ids(void **state) {
    (void)state;
    EXPECT(names_user_id_valid, true, "u_a", "u_ann", "u_" A32);
    EXPECT(names_user_id_valid, false, "", "u", "u_", "ann", "c_ann", "u_u_ann", "u_Ann",
           "u_" A32 "6", "U_ann");
}

static void conversation_ids(void **state) {
    (void)state;
    EXPECT(names_conversation_id_valid, true, "c_a", "c_fam", "c_-", "c__", "c_c_x", "c_dm-x",
           "c_" A40);
    EXPECT(names_conversation_id_valid, false, "", "c", "c_", "fam", "u_fam", "c_Fam", "c_a.b",
           "c_a/b", "c_a b", "c_" A40 "4", "c_#", "c_日");
    EXPECT(names_group_id_valid, true, "c_fam", "c_dm", "c_dmx-");
    EXPECT(names_group_id_valid, false, "c_dm-", "c_dm-x", "c_", "c_dm-aaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_true(names_is_direct("c_dm-x", 6));
    assert_false(names_is_direct("c_dm", 4));
}

static void device_ids(void **state) {
    (void)state;
    EXPECT(names_device_id_valid, true, "d_a", "d_K3-x_Y", "d_" A32 "67890");
    EXPECT(names_device_id_valid, false, "", "d_", "a", "d_ä", "d_a.b", "d_a b", "d_" A32 "678901");
}

static void emojis(void **state) {
    (void)state;
    EXPECT(names_emoji_valid, true, "👍", "❤️", "👨‍👩‍👧‍👦", "+1",
           ":party:", A32 A32);
    EXPECT(names_emoji_valid, false, "", "a b", "\n", "👍\n", "\xFF", "\xF0\x9F\x91", "\xC2\x85",
           "\xE3\x80\x80",
           "\xE2\x80\xAE"
           "a",
           A32 A32 "a");
}

static void labels(void **state) {
    (void)state;
    assert_true(names_label_valid("Ann's phone", 11, 64));
    assert_true(names_label_valid("日本", 6, 6));
    assert_false(names_label_valid("日本", 6, 5));
    assert_false(names_label_valid("", 0, 64));
    assert_false(names_label_valid("  ", 2, 64));
    assert_false(names_label_valid("\xE3\x80\x80 ", 4, 64));
    assert_false(names_label_valid("a\tb", 3, 64));
    assert_false(names_label_valid("a\xE2\x80\xA8"
                                   "b",
                                   5, 64)); /* line separator */
    assert_false(names_label_valid("\xED\xA0\x80", 3, 64));
}

static void ids_are_accepted_short_and_long(void **state) {
    (void)state;
    char user[LIMIT_USER_ID_BYTES + 1], conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    assert_int_equal(names_user_id("bob", 3, user), ERR_OK);
    assert_string_equal(user, "u_bob");
    assert_int_equal(names_user_id("u_bob", 5, user), ERR_INVALID);
    assert_int_equal(names_user_id_accept("ann", 3, user), ERR_OK);
    assert_string_equal(user, "u_ann");
    assert_int_equal(names_user_id_accept("u_ann", 5, user), ERR_OK);
    assert_string_equal(user, "u_ann");
    assert_int_equal(names_user_id_accept(A32, 32, user), ERR_OK);
    assert_int_equal(names_user_id_accept("u_", 2, user), ERR_INVALID);
    assert_int_equal(names_user_id_accept("+", 1, user), ERR_INVALID);
    assert_int_equal(names_conversation_id_accept("family", 6, conversation), ERR_OK);
    assert_string_equal(conversation, "c_family");
    assert_int_equal(names_conversation_id_accept("c_family", 8, conversation), ERR_OK);
    assert_string_equal(conversation, "c_family");
    assert_int_equal(names_conversation_id_accept(A40, 40, conversation), ERR_OK);
    assert_int_equal(strlen(conversation), LIMIT_CONVERSATION_ID_BYTES);
    assert_int_equal(names_conversation_id_accept(A40 "4", 41, conversation), ERR_INVALID);
    assert_int_equal(names_conversation_id_accept("c_", 2, conversation), ERR_INVALID);
    assert_int_equal(names_conversation_id_accept("", 0, conversation), ERR_INVALID);
    assert_int_equal(names_conversation_id_accept("Fam", 3, conversation), ERR_INVALID);
}

static void direct_ids_agree(void **state) {
    (void)state;
    char one[LIMIT_CONVERSATION_ID_BYTES + 1], two[LIMIT_CONVERSATION_ID_BYTES + 1];
    assert_int_equal(names_direct_conversation("u_ann", "u_bob", one), ERR_OK);
    assert_int_equal(names_direct_conversation("u_bob", "u_ann", two), ERR_OK);
    assert_string_equal(one, two);
    /* printf 'u_ann\nu_bob' | sha256sum, first 16 bytes in base32: other clients must agree. */
    assert_string_equal(one, "c_dm-36feeesqjvfniodrtsq4ckreea");
    assert_true(names_conversation_id_valid(one, strlen(one)));
    assert_false(names_group_id_valid(one, strlen(one)));
    assert_int_equal(names_direct_conversation("u_ann", "u_ann", two),
                     ERR_OK); /* notes to oneself */
    assert_string_not_equal(one, two);
    assert_int_equal(names_direct_conversation("u_an", "nu_bob", two), ERR_INVALID);
    assert_int_equal(names_direct_conversation("u_" A32, "u_" A32, two), ERR_OK);
}

static void direct_ids_differ(void **state) {
    (void)state;
    char ids[40][LIMIT_CONVERSATION_ID_BYTES + 1], name[16];
    for (size_t i = 0; i < 40; i++) {
        sprintf(name, "u_p%zu", i);
        assert_int_equal(names_direct_conversation("u_ann", name, ids[i]), ERR_OK);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(ids[i], ids[j]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_names),
        cmocka_unit_test(user_ids),
        cmocka_unit_test(conversation_ids),
        cmocka_unit_test(device_ids),
        cmocka_unit_test(emojis),
        cmocka_unit_test(labels),
        cmocka_unit_test(ids_are_accepted_short_and_long),
        cmocka_unit_test(direct_ids_agree),
        cmocka_unit_test(direct_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
