/* test_mongo_filter: composed ids, their ranges, and texts that must not reach a server. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_filter.h"

static void expect_json(const bson_t *document, const char *expected) {
    char *json = bson_as_relaxed_extended_json(document, NULL);
    assert_string_equal(json, expected);
    bson_free(json);
}

static void ids_are_joined(void **state) {
    (void)state;
    char out[MONGO_JOINED_BYTES];
    char longest[STORE_ID_BYTES_MAX + 1];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_string_equal(mongo_join(out, "u_ann", "d_1", NULL), "u_ann\x1f"
                                                               "d_1");
    assert_string_equal(mongo_join(out, "u_ann", "d_1", ""), "u_ann\x1f"
                                                             "d_1\x1f");
    assert_int_equal(strlen(mongo_join(out, longest, longest, longest)),
                     3 * STORE_ID_BYTES_MAX + 2);
}

/* What begins with another name of the same beginning is not in the range. */
static void a_range_is_one_users(void **state) {
    (void)state;
    bson_t filter;
    mongo_range_filter(&filter, "u_ann", NULL);
    expect_json(&filter, "{ \"_id\" : { \"$gte\" : \"u_ann\\u001f\", \"$lt\" : \"u_ann \" } }");
    bson_destroy(&filter);
    mongo_range_filter(&filter, "u_ann", "d_1");
    expect_json(&filter, "{ \"_id\" : { \"$gte\" : \"u_ann\\u001fd_1\\u001f\", "
                         "\"$lt\" : \"u_ann\\u001fd_1 \" } }");
    bson_destroy(&filter);
    char inside[MONGO_JOINED_BYTES];
    assert_true(strcmp(mongo_join(inside, "u_ann", "", NULL), "u_ann\x1f") >= 0);
    assert_true(strcmp(mongo_join(inside, "u_ann", "\x7f\x7f", NULL), "u_ann ") < 0);
    assert_true(strcmp(mongo_join(inside, "u_anna", "d_1", NULL), "u_ann ") > 0);
    assert_true(strcmp(mongo_join(inside, "u_an", "d_1", NULL), "u_ann\x1f") < 0);
}

static void what_is_no_utf8_matches_nothing(void **state) {
    (void)state;
    static const char *const texts[] = {"a", "\xff", "b", "\xc3"};
    bson_t filter = BSON_INITIALIZER;
    mongo_append_in(&filter, "_id", texts, 4);
    expect_json(&filter, "{ \"_id\" : { \"$in\" : [ \"a\", \"b\" ] } }");
    bson_destroy(&filter);
    bson_init(&filter);
    mongo_append_in(&filter, "_id", texts, 0);
    expect_json(&filter, "{ \"_id\" : { \"$in\" : [  ] } }");
    bson_destroy(&filter);
}

static void ids_are_checked(void **state) {
    (void)state;
    char longest[STORE_ID_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_false(mongo_id_valid(longest));
    longest[STORE_ID_BYTES_MAX] = '\0';
    assert_true(mongo_id_valid(longest));
    assert_false(mongo_id_valid(""));
    assert_false(mongo_id_valid("u_\x1f"));
    assert_false(mongo_id_valid("\xf0\x9f"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_joined),
        cmocka_unit_test(a_range_is_one_users),
        cmocka_unit_test(what_is_no_utf8_matches_nothing),
        cmocka_unit_test(ids_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
