/* test_json_writer: text to the byte, escapes that read back, growth across reservations, and a
 * buffer that is as before after every failure. */
#include "proto/json_writer.h"

#include "common/mem.h"
#include "proto/json_reader.h"
#include "tests/unit/proto/support.h"

static void document_is_written(void **state) {
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 10000);
    json_write_begin(&writer, &out, 8);
    json_write_open(&writer);
    json_write_key_text(&writer, "a", "x\"y\\z\n\t\b\f\r\x01\x1F\x7F日");
    json_write_key(&writer, "list");
    json_write_open_array(&writer);
    json_write_u64(&writer, 0);
    json_write_u64(&writer, UINT64_MAX);
    json_write_i64(&writer, -1);
    json_write_i64(&writer, INT64_MIN);
    json_write_i64(&writer, 5);
    json_write_null(&writer);
    json_write_open_array(&writer);
    json_write_close_array(&writer);
    json_write_open(&writer);
    json_write_close(&writer);
    json_write_close_array(&writer);
    json_write_key_bool(&writer, "yes", true);
    json_write_key_bool(&writer, "no", false);
    json_write_key(&writer, "raw");
    json_write_raw(&writer, "{\"k\":[1]}", 9);
    json_write_key_time(&writer, "ts", 1795262400123);
    json_write_key_u64(&writer, "n", 42);
    json_write_close(&writer);
    assert_int_equal(json_write_end(&writer), ERR_OK);
    support_expect_text(
        &out, "{\"a\":\"x\\\"y\\\\z\\n\\t\\b\\f\\r\\u0001\\u001f\x7F日\",\"list\":[0,"
              "18446744073709551615,-1,-9223372036854775808,5,null,[],{}],\"yes\":true,"
              "\"no\":false,\"raw\":{\"k\":[1]},\"ts\":\"2026-11-21T12:00:00.123Z\",\"n\":42}");
    buf_finish(&out);
}

static void strings_read_back(void **state) {
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 10000);
    for (unsigned byte = 1; byte < 0x80; byte++) {
        char text[] = {'<', (char)byte, '>', '\0'}, back[8];
        struct json_value root;
        json_write_begin(&writer, &out, 4);
        json_write_text(&writer, text);
        assert_int_equal(json_write_end(&writer), ERR_OK);
        assert_int_equal(json_parse(buf_data(&out), buf_len(&out), &root, NULL), ERR_OK);
        assert_int_equal(json_string_copy(&root, back, sizeof back), ERR_OK);
        assert_string_equal(back, text);
        buf_clear(&out);
    }
    json_write_begin(&writer, &out, 4);
    json_write_string(&writer, "\0", 1);
    assert_int_equal(json_write_end(&writer), ERR_OK);
    support_expect_text(&out, "\"\\u0000\"");
    buf_finish(&out);
}

static void appends_behind_what_is_there(void **state) {
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 100000);
    assert_int_equal(buf_append_text(&out, "drop,keep,"), ERR_OK);
    buf_consume(&out, 5);
    json_write_begin(&writer, &out, 1);
    json_write_open_array(&writer);
    for (unsigned i = 0; i < 2000; i++) {
        json_write_u64(&writer, i % 10);
    }
    json_write_close_array(&writer);
    assert_int_equal(json_write_bytes(&writer), 4001);
    assert_int_equal(json_write_end(&writer), ERR_OK);
    assert_int_equal(buf_len(&out), 5 + 4001);
    assert_memory_equal(buf_data(&out), "keep,[0,1,2,", 12);
    assert_memory_equal(buf_data(&out) + 4003, ",9]", 3);
    buf_finish(&out);
}

static void cut_goes_back(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 300, 5000}; /* in the chunk, and with chunks between */
    for (size_t i = 0; i < 3; i++) {
        struct buf out;
        struct json_writer writer;
        char *filler = malloc(sizes[i]);
        memset(filler, 'x', sizes[i]);
        buf_init(&out, 100000);
        json_write_begin(&writer, &out, 10);
        json_write_open_array(&writer);
        json_write_u64(&writer, 1);
        size_t before = json_write_bytes(&writer);
        bool comma = writer.comma;
        json_write_string(&writer, filler, sizes[i]);
        json_write_cut(&writer, before, comma);
        json_write_u64(&writer, 2);
        json_write_close_array(&writer);
        assert_int_equal(json_write_end(&writer), ERR_OK);
        support_expect_text(&out, "[1,2]");
        buf_finish(&out);
        free(filler);
    }
}

static enum err write_much(struct buf *out) {
    struct json_writer writer;
    json_write_begin(&writer, out, 16);
    json_write_open_array(&writer);
    for (unsigned i = 0; i < 400; i++) {
        json_write_text(&writer, "0123456789");
    }
    json_write_close_array(&writer);
    return json_write_end(&writer);
}

static void failure_leaves_the_buffer(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 1000); /* less than the document needs */
    assert_int_equal(buf_append_text(&out, "before"), ERR_OK);
    assert_int_equal(write_much(&out), ERR_TOO_LARGE);
    assert_int_equal(buf_append_text(&out, "+after"), ERR_OK);
    support_expect_text(&out, "before+after");
    buf_finish(&out);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    bool is_done = false;
    unsigned failures = 0;
    for (uint64_t nth = 1; !is_done; nth++) {
        struct buf out;
        buf_init(&out, 100000);
        (void)mem_fault_set(nth, 1);
        enum err error = write_much(&out);
        (void)mem_fault_set(0, 0);
        is_done = error == ERR_OK;
        if (!is_done) {
            failures++;
            assert_int_equal(error, ERR_NO_MEMORY);
            assert_int_equal(buf_len(&out), 0);
            assert_int_equal(write_much(&out), ERR_OK); /* it works again */
        }
        assert_int_equal(buf_len(&out), 2 + 400 * 13 - 1);
        buf_finish(&out);
    }
    assert_true(failures >= 2);
}

static void the_cap_is_used_to_the_byte(void **state) {
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 12);
    json_write_begin(&writer, &out, 4);
    json_write_text(&writer, "0123456789");
    assert_int_equal(json_write_end(&writer), ERR_OK);
    support_expect_text(&out, "\"0123456789\"");
    json_write_begin(&writer, &out, 4);
    json_write_text(&writer, "0123456789a");
    assert_int_equal(json_write_end(&writer), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&out), 0);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(document_is_written),          cmocka_unit_test(strings_read_back),
        cmocka_unit_test(appends_behind_what_is_there), cmocka_unit_test(cut_goes_back),
        cmocka_unit_test(failure_leaves_the_buffer),    cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_cap_is_used_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
