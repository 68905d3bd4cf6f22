/* test_frame_encode: the server's frames to the byte, as docs/reference names them; pages that end
 * where the frame is full; and buffers that stay as they were on failure. */
#include "proto/frame.h"

#include "common/mem.h"
#include "proto/json_writer.h"
#include "tests/unit/proto/support.h"
#include <stdio.h>

static const uint8_t id[ID_UUID_BYTES] = {0x01, 0x93, 0x3b, 0x4e, 0x7a, 0x10, 0x70, 0x00,
                                          0x80, 0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab};
#define ID "01933b4e-7a10-7000-8000-0123456789ab"
#define TS UINT64_C(1795262400123)
#define TS_TEXT "2026-11-21T12:00:00.123Z"

static struct frame_event event_of(enum frame_event_kind kind, const char *body) {
    return (struct frame_event){.kind = kind,
                                .conversation = "c_fam",
                                .seq = 88,
                                .id = id,
                                .sender = "u_bob",
                                .ts_ms = TS,
                                .target_seq = kind == FRAME_EVENT_MSG ? 0 : 80,
                                .body = slice_text(body)};
}

static void messages(void **state) {
    struct buf *out = *state;
    struct frame_event event = event_of(FRAME_EVENT_MSG, "{\"text\":\"晚饭?\"}");
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"msg\",\"d\":{\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
             "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT "\",\"body\":{\"text\":\"晚饭?\"}}}");
    event.device = "d_1";
    event.reply_seq = 7;
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"msg\",\"d\":{\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
             "\",\"from\":\"u_bob\",\"device\":\"d_1\",\"ts\":\"" TS_TEXT
             "\",\"body\":{\"text\":\"晚饭?\"},\"reply\":7}}");
}

static void events_that_point(void **state) {
    struct buf *out = *state;
    struct frame_event event = event_of(FRAME_EVENT_EDIT, "{\"text\":\"x\"}");
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    support_expect_text(
        out,
        "{\"t\":\"edit\",\"d\":{\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
        "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT "\",\"target\":80,\"body\":{\"text\":\"x\"}}}");
    event = event_of(FRAME_EVENT_RECALL, "{}");
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"recall\",\"d\":{\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
             "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT "\",\"target\":80}}");
    event = event_of(FRAME_EVENT_REACT, "{\"emoji\":\"👍\",\"removed\":true}");
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"react\",\"d\":{\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
             "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT
             "\",\"target\":80,\"emoji\":\"👍\",\"removed\":true}}");
}

static void reaction_bodies_round_trip(void **state) {
    struct buf *out = *state, body;
    buf_init(&body, 1000);
    assert_int_equal(frame_react_body(&body, "\"\\", false), ERR_OK);
    struct frame_event event = event_of(FRAME_EVENT_REACT, "");
    event.body = slice_make(buf_data(&body), buf_len(&body));
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    assert_non_null(
        memmem(buf_data(out), buf_len(out), "\"emoji\":\"\\\"\\\\\",\"removed\":false", 30));
    buf_clear(out);
    buf_finish(&body);
}

static void damaged_reactions_are_not_sent(void **state) {
    struct buf *out = *state;
    static const char *const bodies[] = {"",
                                         "{}",
                                         "[]",
                                         "{\"emoji\":\"x\"}",
                                         "{\"emoji\":1,\"removed\":true}",
                                         "{\"emoji\":\"x\",\"removed\":1}",
                                         "{\"emoji\":\"x\",\"removed\":true"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct frame_event event = event_of(FRAME_EVENT_REACT, bodies[i]);
        assert_int_equal(frame_encode_event(out, &event), ERR_CORRUPT);
        assert_int_equal(buf_len(out), 0);
    }
}

static void replies(void **state) {
    struct buf *out = *state;
    struct frame_ok_auth auth = {.user = "u_ann", .device = "d_1", .expires_ms = TS, .epoch = "e1"};
    assert_int_equal(frame_encode_ok_auth(out, 1, &auth), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"ok\",\"id\":1,\"d\":{\"user\":\"u_ann\",\"device\":\"d_1\",\"expires_at\":"
             "1795262400123,\"epoch\":\"e1\"}}");
    assert_int_equal(frame_encode_ok_stored(out, 3, "c_fam", 89, TS), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"ok\",\"id\":3,\"d\":{\"conversation\":\"c_fam\",\"seq\":89,\"ts\":\"" TS_TEXT
             "\"}}");
    assert_int_equal(frame_encode_ok_sync(out, 2, "e1"), ERR_OK);
    support_expect_text(out, "{\"t\":\"ok\",\"id\":2,\"d\":{\"epoch\":\"e1\"}}");
    assert_int_equal(frame_encode_ok_sync(out, 2, NULL), ERR_OK);
    support_expect_text(out, "{\"t\":\"ok\",\"id\":2,\"d\":{}}");
    static const char *const users[] = {"u_ann", "u_bob"};
    assert_int_equal(frame_encode_ok_online(out, 4, "c_fam", users, 2), ERR_OK);
    support_expect_text(out, "{\"t\":\"ok\",\"id\":4,\"d\":{\"conversation\":\"c_fam\",\"online\":["
                             "\"u_ann\",\"u_bob\"]}}");
    assert_int_equal(frame_encode_ok_online(out, 4, "c_fam", NULL, 0), ERR_OK);
    support_expect_text(out,
                        "{\"t\":\"ok\",\"id\":4,\"d\":{\"conversation\":\"c_fam\",\"online\":[]}}");
    assert_int_equal(frame_encode_ok(out, 9007199254740992u), ERR_OK);
    support_expect_text(out, "{\"t\":\"ok\",\"id\":9007199254740992,\"d\":{}}");
}

static void refusals(void **state) {
    struct buf *out = *state;
    assert_int_equal(frame_encode_err(out, 4, REASON_FORBIDDEN, "say \"why\"", 0), ERR_OK);
    support_expect_text(out,
                        "{\"t\":\"err\",\"id\":4,\"d\":{\"code\":\"forbidden\",\"retryable\":false,"
                        "\"msg\":\"say \\\"why\\\"\"}}");
    assert_int_equal(frame_encode_err(out, 0, REASON_RATE_LIMITED, NULL, 1500), ERR_OK);
    support_expect_text(
        out,
        "{\"t\":\"err\",\"d\":{\"code\":\"rate_limited\",\"retryable\":true,\"msg\":\"Too many "
        "requests; wait for the given time, then send the same id again\","
        "\"retry_ms\":1500}}");
    assert_int_equal(frame_encode_bye(out, REASON_DRAIN, 500, 4000), ERR_OK);
    support_expect_text(out, "{\"t\":\"bye\",\"d\":{\"code\":\"drain\",\"retry_ms\":[500,4000]}}");
    assert_int_equal(frame_encode_bye(out, REASON_DISABLED, 0, 0), ERR_OK);
    support_expect_text(out, "{\"t\":\"bye\",\"d\":{\"code\":\"disabled\"}}");
}

static void greetings_and_signals(void **state) {
    struct buf *out = *state;
    struct frame_hello hello = {.server = "pipit/0.1.0",
                                .heartbeat_s = 25,
                                .frame_bytes_max = 65536,
                                .text_bytes_max = 16384,
                                .rate = "30/10s",
                                .now_ms = TS};
    assert_int_equal(frame_encode_hello(out, &hello), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"hello\",\"d\":{\"proto\":1,\"server\":\"pipit/0.1.0\",\"hb\":25,\"limits\":{"
             "\"frame\":65536,\"text\":16384,\"rate\":\"30/10s\"},\"time\":\"" TS_TEXT "\"}}");
    assert_int_equal(frame_encode_mark(out, "c_fam", "u_bob", 88, 0), ERR_OK);
    support_expect_text(
        out,
        "{\"t\":\"mark\",\"d\":{\"conversation\":\"c_fam\",\"user\":\"u_bob\",\"delivered\":88}}");
    assert_int_equal(frame_encode_typing(out, "c_fam", "u_bob", true), ERR_OK);
    support_expect_text(
        out,
        "{\"t\":\"typing\",\"d\":{\"conversation\":\"c_fam\",\"user\":\"u_bob\",\"active\":true}}");
    assert_int_equal(frame_encode_presence(out, "u_bob", "away"), ERR_OK);
    support_expect_text(out, "{\"t\":\"presence\",\"d\":{\"user\":\"u_bob\",\"status\":\"away\"}}");
    assert_int_equal(frame_encode_ping(out), ERR_OK);
    support_expect_text(out, "{\"t\":\"ping\",\"d\":{}}");
    assert_int_equal(frame_encode_pong(out, 0), ERR_OK);
    support_expect_text(out, "{\"t\":\"pong\",\"d\":{}}");
    assert_int_equal(frame_encode_pong(out, 5), ERR_OK);
    support_expect_text(out, "{\"t\":\"pong\",\"id\":5,\"d\":{}}");
}

static void conversations_and_members(void **state) {
    struct buf *out = *state;
    struct frame_conversation conv = {
        .conversation = "c_fam", .title = "Family \"1\"", .members_version = 3, .head = 12};
    assert_int_equal(frame_encode_conv(out, &conv), ERR_OK);
    support_expect_text(
        out,
        "{\"t\":\"conv\",\"d\":{\"conversation\":\"c_fam\",\"kind\":\"group\",\"title\":\"Family "
        "\\\"1\\\"\",\"members_version\":3,\"head\":12}}");
    static const struct frame_member members[] = {{"u_ann", "owner", "active"},
                                                  {"u_bob", "member", "left"}};
    assert_int_equal(frame_encode_member(out, "c_fam", 4, "u_ann", members, 2), ERR_OK);
    support_expect_text(
        out, "{\"t\":\"member\",\"d\":{\"conversation\":\"c_fam\",\"members_version\":4,\"actor\":"
             "\"u_ann\",\"changed\":[{\"user\":\"u_ann\",\"role\":\"owner\",\"state\":\"active\"},"
             "{\"user\":\"u_bob\",\"role\":\"member\",\"state\":\"left\"}]}}");
    assert_int_equal(frame_encode_member(out, "c_fam", 4, "", NULL, 0), ERR_OK);
    support_expect_text(out, "{\"t\":\"member\",\"d\":{\"conversation\":\"c_fam\",\"members_"
                             "version\":4,\"changed\":[]}}");
}

static void small_pages(void **state) {
    struct buf *out = *state;
    struct frame_event events[2] = {event_of(FRAME_EVENT_MSG, "{}"),
                                    event_of(FRAME_EVENT_RECALL, "{}")};
    struct frame_page page = {
        .conversation = "c_fam", .events = events, .event_count = 2, .head = 90};
    size_t count = 0;
    assert_int_equal(frame_encode_page(out, 2, &page, LIMIT_FRAME_BYTES, &count), ERR_OK);
    assert_int_equal(count, 2);
    support_expect_text(
        out,
        "{\"t\":\"sync\",\"id\":2,\"d\":{\"conversation\":\"c_fam\",\"items\":[{\"t\":\"msg\","
        "\"conversation\":"
        "\"c_fam\",\"seq\":88,\"message\":\"" ID "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT
        "\",\"body\":{}},{\"t\":\"recall\",\"conversation\":\"c_fam\",\"seq\":88,\"message\":\"" ID
        "\",\"from\":\"u_bob\",\"ts\":\"" TS_TEXT
        "\",\"target\":80}],\"head\":90,\"more\":false}}");
    page.event_count = 0;
    page.has_more = true;
    assert_int_equal(frame_encode_page(out, 2, &page, LIMIT_FRAME_BYTES, &count), ERR_OK);
    assert_int_equal(count, 0);
    support_expect_text(
        out, "{\"t\":\"sync\",\"id\":2,\"d\":{\"conversation\":\"c_fam\",\"items\":[],\"head\":90,"
             "\"more\":true}}");
}

/* Is the buffer one JSON document with `items` of that many elements? */
static void expect_page(const struct buf *out, size_t items, bool more) {
    struct json_value root, d, value;
    struct json_iter iter;
    size_t count = 0;
    bool flag = false;
    assert_int_equal(json_parse(buf_data(out), buf_len(out), &root, NULL), ERR_OK);
    assert_true(json_find(&root, "d", &d) && json_find(&d, "more", &value));
    assert_int_equal(json_bool(&value, &flag), ERR_OK);
    assert_int_equal(flag, more);
    assert_true(json_find(&d, "items", &value));
    struct json_value element;
    for (json_iter_begin(&iter, &value); json_next_element(&iter, &element);) {
        count++;
    }
    assert_int_equal(count, items);
}

static void long_pages_are_cut(void **state) {
    struct buf *out = *state;
    char body[1200] = "{\"text\":\"";
    memset(body + 9, 'x', 1000);
    strcpy(body + 1009, "\"}");
    struct frame_event events[100];
    for (size_t i = 0; i < 100; i++) {
        events[i] = event_of(FRAME_EVENT_MSG, body);
    }
    struct frame_page page = {
        .conversation = "c_fam", .events = events, .event_count = 100, .head = UINT64_MAX};
    for (size_t limit = 1500; limit < 70000; limit += 777) {
        size_t count = 0;
        assert_int_equal(frame_encode_page(out, LIMIT_REQUEST_ID_MAX, &page, limit, &count),
                         ERR_OK);
        assert_true(count >= 1 && count < 100);
        assert_true(buf_len(out) <= limit);
        assert_true(buf_len(out) + 1400 > limit); /* not one too few */
        expect_page(out, count, true);
        buf_clear(out);
    }
    size_t count = 0; /* one event always fits */
    assert_int_equal(frame_encode_page(out, 1, &page, 100, &count), ERR_OK);
    assert_int_equal(count, 1);
    expect_page(out, 1, true);
    buf_clear(out);
}

static void failures_leave_the_buffer(void **state) {
    (void)state;
    struct buf out;
    struct frame_event event = event_of(FRAME_EVENT_MSG, "{\"text\":\"hello\"}");
    struct frame_page page = {.conversation = "c_fam", .events = &event, .event_count = 1};
    size_t count = 4711;
    buf_init(&out, 64);
    assert_int_equal(buf_append_text(&out, "kept"), ERR_OK);
    assert_int_equal(frame_encode_event(&out, &event), ERR_TOO_LARGE);
    assert_int_equal(frame_encode_page(&out, 1, &page, 65536, &count), ERR_TOO_LARGE);
    assert_int_equal(count, 4711);
    assert_int_equal(frame_encode_err(&out, 1, REASON_TIMEOUT, NULL, 0), ERR_TOO_LARGE);
    support_expect_text(&out, "kept");
    buf_finish(&out);
    buf_init(&out, 10000);
    (void)mem_fault_set(1, 1);
    assert_int_equal(frame_encode_event(&out, &event), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_int_equal(buf_len(&out), 0);
    buf_finish(&out);
}

static void encoding_into_a_warm_buffer_allocates_nothing(void **state) {
    struct buf *out = *state;
    struct frame_event event = event_of(FRAME_EVENT_MSG, "{\"text\":\"hello\"}");
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    buf_clear(out);
    (void)mem_fault_set(0, 0); /* resets the count */
    assert_int_equal(frame_encode_event(out, &event), ERR_OK);
    assert_int_equal(mem_fault_set(0, 0), 0);
    buf_clear(out);
}

static void kinds_have_names(void **state) {
    (void)state;
    assert_string_equal(frame_event_kind_name(FRAME_EVENT_MSG), "msg");
    assert_string_equal(frame_event_kind_name(FRAME_EVENT_REACT), "react");
    assert_string_equal(frame_event_kind_name((enum frame_event_kind)9), "unknown");
}

static int set_up(void **state) {
    static struct buf out;
    buf_init(&out, 1u << 20);
    *state = &out;
    return 0;
}

static int tear_down(void **state) {
    buf_finish(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(events_that_point),
        cmocka_unit_test(reaction_bodies_round_trip),
        cmocka_unit_test(damaged_reactions_are_not_sent),
        cmocka_unit_test(replies),
        cmocka_unit_test(refusals),
        cmocka_unit_test(greetings_and_signals),
        cmocka_unit_test(conversations_and_members),
        cmocka_unit_test(small_pages),
        cmocka_unit_test(long_pages_are_cut),
        cmocka_unit_test(failures_leave_the_buffer),
        cmocka_unit_test(encoding_into_a_warm_buffer_allocates_nothing),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
