/* test_mongo_fields: what is missing or of another type reads as nothing. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_db.h"

static void numbers(void **state) {
    (void)state;
    bson_t *doc =
        BCON_NEW("a", BCON_INT64(INT64_MAX), "b", BCON_INT32(7), "c", BCON_DOUBLE(3.0), "d",
                 BCON_UTF8("9"), "e", BCON_INT64(-1), "f", BCON_DOUBLE(-2.0), "g",
                 BCON_DOUBLE(1e300), "h", BCON_BOOL(true), "i", "{", "j", BCON_INT64(1), "}");
    assert_int_equal(mongo_u64(doc, "a"), INT64_MAX);
    assert_int_equal(mongo_u64(doc, "b"), 7);
    assert_int_equal(mongo_u64(doc, "c"), 3);
    assert_int_equal(mongo_u64(doc, "d"), 0);
    assert_int_equal(mongo_u64(doc, "e"), UINT64_MAX); /* a hash with its highest bit */
    assert_int_equal(mongo_u64(doc, "f"), 0);
    assert_int_equal(mongo_u64(doc, "g"), 0);
    assert_int_equal(mongo_u64(doc, "h"), 0);
    assert_int_equal(mongo_u64(doc, "i.j"), 0); /* dotted keys are not followed */
    assert_int_equal(mongo_u64(doc, "missing"), 0);
    assert_true(mongo_bool(doc, "h"));
    assert_false(mongo_bool(doc, "b"));
    assert_false(mongo_bool(doc, "missing"));
    bson_t inner;
    assert_true(mongo_document(doc, "i", &inner));
    assert_int_equal(mongo_u64(&inner, "j"), 1);
    assert_false(mongo_document(doc, "a", &inner));
    assert_false(mongo_document(doc, "missing", &inner));
    bson_destroy(doc);
}

static void texts_and_bytes(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024, 65536);
    bson_t *doc = BCON_NEW("t", BCON_UTF8("gr\xc3\xbc\xc3\x9f"), "n", BCON_INT32(1), "b",
                           BCON_BIN(BSON_SUBTYPE_UUID, (const uint8_t *)"0123456789abcdef", 16));
    assert_string_equal(mongo_text(doc, "t", &arena), "gr\xc3\xbc\xc3\x9f");
    assert_string_equal(mongo_text(doc, "n", &arena), "");
    assert_string_equal(mongo_text(doc, "missing", &arena), "");
    assert_string_equal(mongo_peek(doc, "t"), "gr\xc3\xbc\xc3\x9f");
    ProtobufCBinaryData bytes;
    assert_int_equal(mongo_bytes(doc, "b", &arena, &bytes), ERR_OK);
    assert_int_equal(bytes.len, 16);
    assert_memory_equal(bytes.data, "0123456789abcdef", 16);
    assert_int_equal(mongo_bytes(doc, "t", &arena, &bytes), ERR_OK);
    assert_int_equal(bytes.len, 0);
    assert_int_equal(mongo_bytes(doc, "missing", &arena, &bytes), ERR_OK);
    assert_int_equal(bytes.len, 0);
    bson_destroy(doc);
    arena_finish(&arena);
}

static void no_memory(void **state) {
    (void)state;
    struct arena full;
    arena_init(&full, 64, 64);
    while (arena_alloc(&full, 16) != NULL) {
    }
    bson_t *doc = BCON_NEW("t", BCON_UTF8("text"), "b",
                           BCON_BIN(BSON_SUBTYPE_BINARY, (const uint8_t *)"x", 1));
    ProtobufCBinaryData bytes = {7, NULL};
    assert_null(mongo_text(doc, "t", &full));
    assert_int_equal(mongo_bytes(doc, "b", &full, &bytes), ERR_NO_MEMORY);
    assert_int_equal(bytes.len, 7);
    bson_destroy(doc);
    arena_finish(&full);
}

static enum err add(const bson_t *item, void *user) {
    uint64_t *sum = user;
    *sum += mongo_u64(item, "n");
    return *sum > 100 ? ERR_FULL : ERR_OK;
}

static void arrays(void **state) {
    (void)state;
    uint64_t sum = 0;
    bson_t *doc = BCON_NEW("a", "[", "{", "n", BCON_INT32(1), "}", BCON_INT32(50), "{", "n",
                           BCON_INT32(2), "}", "]", "b", "[", "{", "n", BCON_INT32(100), "}", "{",
                           "n", BCON_INT32(4), "}", "]", "c", BCON_INT32(1));
    assert_int_equal(mongo_each(doc, "a", add, &sum), ERR_OK);
    assert_int_equal(sum, 3); /* what is no document is left out */
    assert_int_equal(mongo_each(doc, "b", add, &sum), ERR_FULL);
    assert_int_equal(sum, 103); /* stopped there */
    assert_int_equal(mongo_each(doc, "c", add, &sum), ERR_OK);
    assert_int_equal(mongo_each(doc, "missing", add, &sum), ERR_OK);
    assert_int_equal(sum, 103);
    bson_destroy(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(texts_and_bytes),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
