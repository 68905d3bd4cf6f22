/* test_frame_decode: every frame a client may send, every rule that refuses one, and hostile text.
 */
#include "proto/frame.h"

#include "proto/utf8.h"
#include "tests/unit/proto/support.h"
#include <stdio.h>

#define ID "01933b4e-7a10-7000-8000-0123456789ab"

static const char *const valid_frames[] = {
    "{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"eyJ.x-_.y\",\"device\":\"d_1\",\"name\":\"Ann's "
    "phone\"}}",
    "{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"t\"}}",
    "{\"t\":\"send\",\"id\":3,\"d\":{\"conversation\":\"c_fam\",\"message\":\"" ID
    "\",\"body\":{\"text\":\"七点\"},\"reply\":88}}",
    "{\"d\":{\"body\":{},\"message\":\"" ID
    "\",\"to\":\"u_bob\"},\"id\":9007199254740992,\"t\":\"send\"}",
    "{\"t\":\"edit\",\"id\":4,\"d\":{\"conversation\":\"c_fam\",\"seq\":7,\"message\":\"" ID
    "\",\"body\":{\"text\":\"x\"}}}",
    "{\"t\":\"recall\",\"id\":5,\"d\":{\"conversation\":\"c_fam\",\"seq\":7,\"message\":\"" ID
    "\"}}",
    "{\"t\":\"react\",\"id\":6,\"d\":{\"conversation\":\"c_fam\",\"seq\":7,\"message\":\"" ID
    "\",\"emoji\":\"👍\",\"remove\":true}}",
    "{\"t\":\"sync\",\"id\":2,\"d\":{\"c_fam\":86,\"epoch\":\"e1\",\"c_dm-x\":0}}",
    "{\"t\":\"sync\",\"id\":2,\"d\":{}}",
    "{\"t\":\"mark\",\"d\":{\"conversation\":\"c_fam\",\"delivered\":88,\"read\":80}}",
    "{\"t\":\"mark\",\"id\":8,\"d\":{\"conversation\":\"c_fam\",\"read\":0}}",
    "{\"t\":\"typing\",\"d\":{\"conversation\":\"c_fam\"}}",
    "{\"t\":\"typing\",\"d\":{\"conversation\":\"c_fam\",\"active\":false}}",
    "{\"t\":\"presence\",\"d\":{\"status\":\"away\"}}",
    "{\"t\":\"presence\",\"id\":1,\"d\":{\"conversation\":\"c_fam\"}}",
    "{\"t\":\"ping\"}",
    "{\"t\":\"pong\",\"d\":{}}",
    "{\"t\":\"ping\",\"id\":1,\"d\":{\"meta\":{\"traceparent\":"
    "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}}",
};
#define VALID_COUNT (sizeof valid_frames / sizeof valid_frames[0])

static enum reason decode(const char *text, struct client_frame *frame,
                          struct frame_problem *problem) {
    return frame_decode((const uint8_t *)text, strlen(text), frame, problem);
}

static struct client_frame accept(const char *text) {
    struct client_frame frame;
    struct frame_problem problem;
    assert_int_equal(decode(text, &frame, &problem), REASON_OK);
    return frame;
}

static struct frame_problem refuse(const char *text, enum reason reason) {
    struct client_frame frame;
    struct frame_problem problem;
    assert_int_equal(decode(text, &frame, &problem), reason);
    assert_true(strlen(problem.text) > 0);
    return problem;
}

static void auth_is_read(void **state) {
    (void)state;
    struct client_frame frame = accept(valid_frames[0]);
    assert_int_equal(frame.type, FRAME_AUTH);
    assert_true(frame.has_id && frame.id == 1);
    support_expect_slice(frame.auth.token, "eyJ.x-_.y");
    assert_string_equal(frame.auth.device, "d_1");
    assert_string_equal(frame.auth.name, "Ann's phone");
    frame = accept(valid_frames[1]);
    assert_string_equal(frame.auth.device, "");
}

static void send_is_read(void **state) {
    (void)state;
    static const uint8_t id[] = {0x01, 0x93, 0x3b, 0x4e, 0x7a, 0x10, 0x70, 0x00,
                                 0x80, 0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab};
    struct client_frame frame = accept(valid_frames[2]);
    assert_int_equal(frame.type, FRAME_SEND);
    assert_string_equal(frame.message.conversation, "c_fam");
    assert_string_equal(frame.message.to, "");
    assert_memory_equal(frame.message.message, id, sizeof id);
    support_expect_slice(frame.message.body, "{\"text\":\"七点\"}");
    assert_int_equal(frame.message.reply, 88);
    frame = accept(valid_frames[3]); /* members in another order, direct message */
    assert_string_equal(frame.message.to, "u_bob");
    assert_string_equal(frame.message.conversation, "");
    assert_true(frame.id == LIMIT_REQUEST_ID_MAX);
    assert_int_equal(frame.message.reply, 0);
    frame = accept("{\"t\":\"send\",\"id\":1,\"d\":{\"to\":\"bob\",\"message\":"
                   "\"01933b4e-7a10-7000-8000-0123456789ab\",\"body\":{}}}");
    assert_string_equal(frame.message.to, "u_bob"); /* a name will do */
}

static void body_passes_verbatim(void **state) {
    (void)state;
    struct client_frame frame =
        accept("{\"t\":\"send\",\"id\":1,\"d\":{\"conversation\":\"c_a\",\"message\":\"" ID
               "\",\"body\": { \"z\" : [ 1.50 , \"\\u0041\\n}\" ],\"text\":\"}\"} }}");
    support_expect_slice(frame.message.body,
                         "{ \"z\" : [ 1.50 , \"\\u0041\\n}\" ],\"text\":\"}\"}");
}

static void pointing_frames_are_read(void **state) {
    (void)state;
    struct client_frame frame = accept(valid_frames[4]);
    assert_int_equal(frame.type, FRAME_EDIT);
    assert_int_equal(frame.message.seq, 7);
    support_expect_slice(frame.message.body, "{\"text\":\"x\"}");
    frame = accept(valid_frames[5]);
    assert_int_equal(frame.type, FRAME_RECALL);
    frame = accept(valid_frames[6]);
    assert_int_equal(frame.type, FRAME_REACT);
    assert_string_equal(frame.message.emoji, "👍");
    assert_true(frame.message.remove);
}

static void sync_is_walked(void **state) {
    (void)state;
    struct client_frame frame = accept(valid_frames[7]);
    struct frame_sync_iter iter = {0};
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t seq;
    assert_int_equal(frame.sync.conversation_count, 2);
    assert_string_equal(frame.sync.epoch, "e1");
    assert_true(frame_sync_next(&frame.sync, &iter, conversation, &seq));
    assert_string_equal(conversation, "c_fam");
    assert_int_equal(seq, 86);
    assert_true(frame_sync_next(&frame.sync, &iter, conversation, &seq));
    assert_string_equal(conversation, "c_dm-x");
    assert_int_equal(seq, 0);
    assert_false(frame_sync_next(&frame.sync, &iter, conversation, &seq));
    assert_false(frame_sync_next(&frame.sync, &iter, conversation, &seq));
    frame = accept("{\"t\":\"sync\",\"id\":1}");
    iter = (struct frame_sync_iter){0};
    assert_false(frame_sync_next(&frame.sync, &iter, conversation, &seq));
}

static char *sync_of(size_t conversations) {
    char *text = malloc(64 + conversations * 24), *at = text;
    assert_non_null(text);
    at += sprintf(at, "{\"t\":\"sync\",\"id\":1,\"d\":{\"epoch\":\"\"");
    for (size_t i = 0; i < conversations; i++) {
        at += sprintf(at, ",\"c_%zu\":%zu", i, i);
    }
    strcpy(at, "}}");
    return text;
}

static void sync_is_bounded(void **state) {
    (void)state;
    char *most = sync_of(LIMIT_SYNC_CONVERSATIONS), *more = sync_of(LIMIT_SYNC_CONVERSATIONS + 1);
    struct client_frame frame = accept(most);
    assert_int_equal(frame.sync.conversation_count, LIMIT_SYNC_CONVERSATIONS);
    struct frame_problem problem = refuse(more, REASON_TOO_LARGE);
    assert_false(problem.fatal);
    free(most);
    free(more);
}

static void ephemeral_frames_are_read(void **state) {
    (void)state;
    struct client_frame frame = accept(valid_frames[9]);
    assert_int_equal(frame.type, FRAME_MARK);
    assert_false(frame.has_id);
    assert_int_equal(frame.mark.delivered, 88);
    assert_int_equal(frame.mark.read, 80);
    frame = accept(valid_frames[11]);
    assert_true(frame.typing.active);
    frame = accept(valid_frames[12]);
    assert_false(frame.typing.active);
    frame = accept(valid_frames[13]);
    assert_string_equal(frame.presence.status, "away");
    frame = accept(valid_frames[14]);
    assert_string_equal(frame.presence.conversation, "c_fam");
    assert_string_equal(frame.presence.status, "");
    frame = accept(valid_frames[17]);
    assert_int_equal(strlen(frame.traceparent), LIMIT_TRACEPARENT_BYTES);
}

static void no_frame_at_all_is_fatal(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "[]",
                                        "1",
                                        "\"x\"",
                                        "{",
                                        "{}",
                                        "{\"t\":1}",
                                        "{\"id\":1,\"d\":{}}",
                                        "{\"t\":\"ping\",\"t\":\"ping\"}",
                                        "{\"t\":\"ping\"} x",
                                        "\xFF"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(refuse(texts[i], REASON_MALFORMED).fatal);
    }
    char *deep = malloc(20010);
    memset(deep, '[', 20000);
    deep[20000] = '\0';
    assert_true(refuse(deep, REASON_TOO_LARGE).fatal);
    free(deep);
}

static void answerable_mistakes_name_the_member(void **state) {
    (void)state;
#define SEND(d) "{\"t\":\"send\",\"id\":7,\"d\":{" d "}}"
#define BASE "\"conversation\":\"c_a\",\"message\":\"" ID "\",\"body\":{}"
    static const struct {
        const char *text, *named;
        enum reason reason;
    } cases[] = {
        {"{\"t\":\"shout\",\"id\":7}", "shout", REASON_UNSUPPORTED},
        {"{\"t\":\"msg\",\"id\":7}", "msg", REASON_UNSUPPORTED},
        {"{\"t\":\"ping\",\"id\":7,\"x\":1}", "\"x\"", REASON_MALFORMED},
        {"{\"t\":\"ping\",\"id\":7,\"d\":[]}", "\"d\"", REASON_MALFORMED},
        {"{\"t\":\"ping\",\"id\":7,\"d\":{\"x\":1}}", "\"x\" in ping", REASON_MALFORMED},
        {SEND(BASE ",\"replay\":1"), "\"replay\"", REASON_MALFORMED},
        {SEND(BASE ",\"to\":\"u_b\""), "\"to\"", REASON_MALFORMED},
        {SEND("\"message\":\"" ID "\",\"body\":{}"), "\"conversation\"", REASON_MALFORMED},
        {SEND("\"conversation\":\"c_a\",\"body\":{}"), "\"message\" is missing", REASON_MALFORMED},
        {SEND("\"conversation\":\"c_a\",\"message\":\"" ID "\""), "\"body\" is missing",
         REASON_MALFORMED},
        {SEND("\"conversation\":\"fam\""), "\"conversation\"", REASON_MALFORMED},
        {SEND("\"conversation\":7"), "\"conversation\"", REASON_MALFORMED},
        {SEND("\"to\":\"Bob\""), "\"to\"", REASON_MALFORMED},
        {SEND("\"message\":\"01933b4e-7a10-4000-8000-0123456789ab\""), "UUID version 7",
         REASON_INVALID_ID},
        {SEND("\"message\":\"x\""), "\"message\"", REASON_INVALID_ID},
        {SEND("\"message\":7"), "\"message\"", REASON_MALFORMED},
        {SEND("\"body\":\"text\""), "\"body\"", REASON_MALFORMED},
        {SEND("\"body\":[]"), "\"body\"", REASON_MALFORMED},
        {SEND("\"body\":{\"text\":7}"), "\"body\"", REASON_MALFORMED},
        {SEND(BASE ",\"reply\":0"), "\"reply\"", REASON_MALFORMED},
        {SEND(BASE ",\"reply\":9007199254740992"), "\"reply\"", REASON_MALFORMED},
        {SEND(BASE ",\"reply\":-1"), "\"reply\"", REASON_MALFORMED},
        {SEND(BASE ",\"reply\":1.5"), "\"reply\"", REASON_MALFORMED},
        {SEND(BASE ",\"meta\":1"), "\"meta\"", REASON_MALFORMED},
        {SEND(BASE ",\"meta\":{\"x\":1}"), "\"meta\"", REASON_MALFORMED},
        {SEND(BASE ",\"meta\":{\"traceparent\":\"00-1\"}"), "\"meta\"", REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7}", "\"token\" is missing", REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7,\"d\":{\"token\":\"\"}}", "\"token\"", REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7,\"d\":{\"token\":\"a b\"}}", "\"token\"", REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7,\"d\":{\"token\":\"a\\u0041\"}}", "\"token\"", REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7,\"d\":{\"token\":\"a\",\"device\":\"x\"}}", "\"device\"",
         REASON_MALFORMED},
        {"{\"t\":\"auth\",\"id\":7,\"d\":{\"token\":\"a\",\"name\":\"\\n\"}}", "\"name\"",
         REASON_MALFORMED},
        {"{\"t\":\"react\",\"id\":7,\"d\":{\"emoji\":\"\"}}", "\"emoji\"", REASON_MALFORMED},
        {"{\"t\":\"react\",\"id\":7,\"d\":{\"remove\":1}}", "\"remove\"", REASON_MALFORMED},
        {"{\"t\":\"edit\",\"id\":7,\"d\":{\"seq\":0}}", "\"seq\"", REASON_MALFORMED},
        {"{\"t\":\"recall\",\"id\":7,\"d\":{\"body\":{}}}", "\"body\" in recall", REASON_MALFORMED},
        {"{\"t\":\"sync\",\"id\":7,\"d\":{\"fam\":1}}", "\"fam\"", REASON_MALFORMED},
        {"{\"t\":\"sync\",\"id\":7,\"d\":{\"c_fam\":\"1\"}}", "\"c_fam\"", REASON_MALFORMED},
        {"{\"t\":\"sync\",\"id\":7,\"d\":{\"\\u0063_fam\":1}}", "\"c_fam\"", REASON_MALFORMED},
        {"{\"t\":\"sync\",\"id\":7,\"d\":{\"epoch\":1}}", "\"epoch\"", REASON_MALFORMED},
        {"{\"t\":\"mark\",\"id\":7,\"d\":{\"conversation\":\"c_a\"}}", "\"delivered\"",
         REASON_MALFORMED},
        {"{\"t\":\"mark\",\"id\":7,\"d\":{\"read\":1}}", "\"conversation\" is missing",
         REASON_MALFORMED},
        {"{\"t\":\"typing\",\"id\":7}", "\"conversation\"", REASON_MALFORMED},
        {"{\"t\":\"presence\",\"id\":7,\"d\":{}}", "\"status\"", REASON_MALFORMED},
        {"{\"t\":\"presence\",\"id\":7,\"d\":{\"status\":\"busy\"}}", "\"status\"",
         REASON_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct frame_problem problem = refuse(cases[i].text, cases[i].reason);
        assert_false(problem.fatal);
        assert_int_equal(problem.id, 7);
        assert_non_null(strstr(problem.text, cases[i].named));
    }
}

static void ids_are_checked(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"t\":\"ping\",\"id\":0}",
                                        "{\"t\":\"ping\",\"id\":9007199254740993}",
                                        "{\"t\":\"ping\",\"id\":\"1\"}",
                                        "{\"t\":\"ping\",\"id\":null}",
                                        "{\"t\":\"sync\",\"d\":{}}",
                                        "{\"t\":\"auth\",\"d\":{\"token\":\"a\"}}",
                                        "{\"t\":\"presence\",\"d\":{\"conversation\":\"c_a\"}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct frame_problem problem = refuse(texts[i], REASON_MALFORMED);
        assert_false(problem.fatal);
        assert_int_equal(problem.id, 0);
        assert_non_null(strstr(problem.text, "\"id\""));
    }
}

/* A send whose body has a text of `count` bytes, or a filler of that size. */
static char *send_with(const char *member, size_t count) {
    char *text = malloc(count + 256);
    assert_non_null(text);
    char *at =
        text + sprintf(text,
                       SEND("\"conversation\":\"c_a\",\"message\":\"" ID "\",\"body\":{\"%s\":\""),
                       member);
    at -= 2; /* the braces of SEND belong behind */
    memset(at, 'x', count);
    strcpy(at + count, "\"}}}");
    return text;
}

static void sizes_are_limited_to_the_byte(void **state) {
    (void)state;
    static const struct {
        const char *member;
        size_t count;
        enum reason reason;
    } cases[] = {
        {"text", LIMIT_TEXT_BYTES, REASON_OK},
        {"text", LIMIT_TEXT_BYTES + 1, REASON_TOO_LARGE},
        {"data", LIMIT_BODY_BYTES - 11, REASON_OK}, /* {"data":""} around it */
        {"data", LIMIT_BODY_BYTES - 10, REASON_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = send_with(cases[i].member, cases[i].count);
        struct client_frame frame;
        struct frame_problem problem;
        assert_int_equal(decode(text, &frame, &problem), cases[i].reason);
        if (cases[i].reason != REASON_OK) {
            assert_false(problem.fatal);
            assert_int_equal(problem.id, 7);
            assert_string_equal(problem.text, "member \"body\" is too large");
        }
        free(text);
    }
}

static void escaped_text_counts_unescaped(void **state) {
    (void)state;
    char *text = malloc(7 * 5000 + 256), *at = text;
    at += sprintf(at, "{\"t\":\"send\",\"id\":7,\"d\":{\"conversation\":\"c_a\",\"message\":\"" ID
                      "\",\"body\":{\"text\":\"");
    for (int i = 0; i < 5000; i++) {
        at = stpcpy(at, "\\u0041");
    }
    strcpy(at, "\"}}}");
    (void)accept(text); /* 30,000 bytes on the wire, 5,000 of text */
    free(text);
}

static void whole_frame_is_limited(void **state) {
    (void)state;
    size_t count = LIMIT_FRAME_BYTES + 1;
    char *text = malloc(count + 1);
    memset(text, ' ', count);
    memcpy(text, "{\"t\":\"ping\"}", 12);
    text[count] = '\0';
    assert_true(refuse(text, REASON_TOO_LARGE).fatal);
    text[count - 1] = '\0';
    (void)accept(text);
    free(text);
}

static void problem_text_stays_valid(void **state) {
    (void)state;
    char text[1024], *at = text;
    at += sprintf(at, "{\"t\":\"ping\",\"id\":1,\"d\":{\"");
    for (int i = 0; i < 60; i++) {
        at = stpcpy(at, "日");
    }
    strcpy(at, "\":1}}");
    struct frame_problem problem = refuse(text, REASON_MALFORMED);
    assert_true(utf8_valid((const uint8_t *)problem.text, strlen(problem.text)));
    assert_non_null(strstr(problem.text, "日日日"));
    problem = refuse("{\"t\":\"a\\u0000b\",\"id\":1}", REASON_UNSUPPORTED);
    assert_string_equal(problem.text, "unknown type \"?\"");
}

static void prefixes_fail_and_stay_inside(void **state) {
    (void)state;
    for (size_t i = 0; i < VALID_COUNT; i++) {
        size_t count = strlen(valid_frames[i]);
        for (size_t cut = 0; cut < count; cut++) {
            struct client_frame frame;
            struct frame_problem problem;
            uint8_t *copy = support_copy(valid_frames[i], cut);
            assert_int_equal(frame_decode(copy, cut, &frame, &problem), REASON_MALFORMED);
            assert_true(problem.fatal);
            free(copy);
        }
        (void)accept(valid_frames[i]);
    }
}

static void mutations_stay_inside(void **state) {
    (void)state;
    uint64_t seed = 99;
    size_t accepted = 0, refused = 0;
    for (int round = 0; round < 30000; round++) {
        const char *text = valid_frames[support_random(&seed) % VALID_COUNT];
        size_t count = strlen(text);
        uint8_t *copy = support_copy(text, count);
        static const char likely[] = "\"{}[]:,\\u0123abc_\x80\xC3";
        copy[support_random(&seed) % count] =
            (uint8_t)(round % 2 ? likely[support_random(&seed) % (sizeof likely - 1)]
                                : (char)support_random(&seed));
        struct client_frame frame;
        struct frame_problem problem;
        enum reason reason = frame_decode(copy, count, &frame, &problem);
        *(reason == REASON_OK ? &accepted : &refused) += 1;
        free(copy);
    }
    assert_true(accepted > 1000 && refused > 1000);
}

static void window_is_a_day(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    uint64_t now = UINT64_C(1795262400000);
    id_uuid7_make(now, id);
    uint64_t made = id_uuid7_wall_ms(id);
    assert_true(frame_id_in_window(id, made));
    assert_true(frame_id_in_window(id, made + LIMIT_ID_WINDOW_MS));
    assert_false(frame_id_in_window(id, made + LIMIT_ID_WINDOW_MS + 1));
    assert_true(frame_id_in_window(id, made - LIMIT_ID_WINDOW_MS));
    assert_false(frame_id_in_window(id, made - LIMIT_ID_WINDOW_MS - 1));
}

static void types_have_names(void **state) {
    (void)state;
    assert_string_equal(frame_type_name(FRAME_AUTH), "auth");
    assert_string_equal(frame_type_name(FRAME_PONG), "pong");
    assert_string_equal(frame_type_name((enum frame_type)99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auth_is_read),
        cmocka_unit_test(send_is_read),
        cmocka_unit_test(body_passes_verbatim),
        cmocka_unit_test(pointing_frames_are_read),
        cmocka_unit_test(sync_is_walked),
        cmocka_unit_test(sync_is_bounded),
        cmocka_unit_test(ephemeral_frames_are_read),
        cmocka_unit_test(no_frame_at_all_is_fatal),
        cmocka_unit_test(answerable_mistakes_name_the_member),
        cmocka_unit_test(ids_are_checked),
        cmocka_unit_test(sizes_are_limited_to_the_byte),
        cmocka_unit_test(escaped_text_counts_unescaped),
        cmocka_unit_test(whole_frame_is_limited),
        cmocka_unit_test(problem_text_stays_valid),
        cmocka_unit_test(prefixes_fail_and_stay_inside),
        cmocka_unit_test(mutations_stay_inside),
        cmocka_unit_test(window_is_a_day),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
