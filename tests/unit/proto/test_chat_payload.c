/* test_chat_payload: one line of text talks, JSON with a body says more, other JSON is text. */
#include "proto/chat_payload.h"

#include "common/mem.h"
#include "proto/limits.h"
#include "tests/unit/proto/support.h"
#include <stdio.h>

#define ID "01933b4e-7a10-7000-8000-0123456789ab"

static enum reason decode(struct buf *scratch, const char *text, size_t count,
                          struct chat_payload *chat, uint8_t **copy) {
    *copy = support_copy(text, count);
    return chat_payload_decode(*copy, count, scratch, chat);
}

static void expect_body(struct buf *scratch, const char *payload, const char *body) {
    struct chat_payload chat;
    uint8_t *copy;
    assert_int_equal(decode(scratch, payload, strlen(payload), &chat, &copy), REASON_OK);
    support_expect_slice(chat.body, body);
    assert_false(chat.has_message);
    assert_int_equal(chat.reply, 0);
    free(copy);
}

static void expect_refused(struct buf *scratch, const char *payload, size_t count,
                           enum reason reason) {
    struct chat_payload chat = {.reply = 4711};
    uint8_t *copy;
    assert_int_equal(decode(scratch, payload, count, &chat, &copy), reason);
    assert_int_equal(chat.reply, 4711);
    free(copy);
}

static void text_becomes_a_body(void **state) {
    expect_body(*state, "门铃响了", "{\"text\":\"门铃响了\"}");
    expect_body(*state, "say \"hi\"\n", "{\"text\":\"say \\\"hi\\\"\\n\"}");
    expect_body(*state, " ", "{\"text\":\" \"}");
    expect_body(*state, "/lights off", "{\"text\":\"/lights off\"}");
}

static void other_json_is_text(void **state) {
    expect_body(*state, "{\"temperature\":21}", "{\"text\":\"{\\\"temperature\\\":21}\"}");
    expect_body(*state, "{\"body\":\"x\"}", "{\"text\":\"{\\\"body\\\":\\\"x\\\"}\"}");
    expect_body(*state, "[1]", "{\"text\":\"[1]\"}");
    expect_body(*state, "{not json", "{\"text\":\"{not json\"}");
    expect_body(*state, "{\"body\":{}} x", "{\"text\":\"{\\\"body\\\":{}} x\"}");
    expect_body(*state, "21.5", "{\"text\":\"21.5\"}");
}

static void structured_payloads(void **state) {
    struct chat_payload chat;
    uint8_t *copy;
    static const char text[] =
        " {\"reply\":7,\"body\":{\"text\":\"x\",\"k\":1},\"message\":\"" ID "\"}";
    assert_int_equal(decode(*state, text, sizeof text - 1, &chat, &copy), REASON_OK);
    support_expect_slice(chat.body, "{\"text\":\"x\",\"k\":1}");
    assert_true(chat.has_message);
    assert_int_equal(chat.message[0], 0x01);
    assert_int_equal(chat.message[15], 0xab);
    assert_int_equal(chat.reply, 7);
    free(copy);
    expect_body(*state, "{\"body\":{}}", "{}");
}

static void mistakes_in_structured_payloads(void **state) {
    static const struct {
        const char *text;
        enum reason reason;
    } cases[] = {
        {"{\"body\":{},\"message\":\"x\"}", REASON_INVALID_ID},
        {"{\"body\":{},\"message\":1}", REASON_MALFORMED},
        {"{\"body\":{},\"reply\":0}", REASON_MALFORMED},
        {"{\"body\":{},\"reply\":\"1\"}", REASON_MALFORMED},
        {"{\"body\":{},\"conversation\":\"c_a\"}", REASON_MALFORMED},
        {"{\"body\":{\"text\":1}}", REASON_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(*state, cases[i].text, strlen(cases[i].text), cases[i].reason);
    }
}

static void bad_text_is_refused(void **state) {
    expect_refused(*state, "", 0, REASON_MALFORMED);
    expect_refused(*state, "\xFF", 1, REASON_BAD_UTF8);
    expect_refused(*state, "a\0b", 3, REASON_BAD_UTF8);
    expect_refused(*state, "\xE6\x97", 2, REASON_BAD_UTF8);
}

static void sizes_are_limited_to_the_byte(void **state) {
    size_t most = LIMIT_TEXT_BYTES;
    char *text = malloc(LIMIT_FRAME_BYTES * 2);
    struct chat_payload chat;
    uint8_t *copy;
    memset(text, 'x', LIMIT_FRAME_BYTES * 2);
    assert_int_equal(decode(*state, text, most, &chat, &copy), REASON_OK);
    assert_int_equal(chat.body.count, most + 11);
    free(copy);
    expect_refused(*state, text, most + 1, REASON_TOO_LARGE);
    memset(text, 1, most); /* every byte becomes six */
    expect_refused(*state, text, most, REASON_TOO_LARGE);
    memset(text, ' ', LIMIT_FRAME_BYTES * 2);
    memcpy(text, "{\"body\":{}}", 11);
    assert_int_equal(decode(*state, text, LIMIT_FRAME_BYTES, &chat, &copy), REASON_OK);
    free(copy);
    expect_refused(*state, text, LIMIT_FRAME_BYTES + 1, REASON_TOO_LARGE);
    int head = sprintf(text, "{\"body\":{\"d\":\"");
    memset(text + head, 'x', LIMIT_BODY_BYTES);
    strcpy(text + head + LIMIT_BODY_BYTES, "\"}}");
    expect_refused(*state, text, strlen(text), REASON_TOO_LARGE);
    free(text);
}

static void short_memory_is_overload(void **state) {
    (void)state;
    struct buf scratch;
    buf_init(&scratch, 100000);
    (void)mem_fault_set(1, 1);
    expect_refused(&scratch, "hello", 5, REASON_OVERLOAD);
    (void)mem_fault_set(0, 0);
    expect_body(&scratch, "hello", "{\"text\":\"hello\"}");
    buf_finish(&scratch);
}

static int set_up(void **state) {
    static struct buf scratch;
    buf_init(&scratch, 7 * LIMIT_TEXT_BYTES);
    *state = &scratch;
    return 0;
}

static int tear_down(void **state) {
    buf_finish(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_a_body),
        cmocka_unit_test(other_json_is_text),
        cmocka_unit_test(structured_payloads),
        cmocka_unit_test(mistakes_in_structured_payloads),
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(sizes_are_limited_to_the_byte),
        cmocka_unit_test(short_memory_is_overload),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
