/* test_reason: the table keeps its promises for every row: distinct codes, close codes of the right
 * class, MQTT codes that the packet allows, and a reason for every internal error. */
#include "proto/reason.h"

#include "tests/unit/proto/support.h"

static const enum reason reasons[] = {
#define REASON_ROW(name, number, code, counter, ws, mqtt5, mqtt5_ack, mqtt3, http, retryable,      \
                   text)                                                                           \
    REASON_##name,
#include "proto/reason.def"
#undef REASON_ROW
};
#define REASON_COUNT (sizeof reasons / sizeof reasons[0])

static void numbers_and_codes_are_distinct(void **state) {
    (void)state;
    for (size_t i = 0; i < REASON_COUNT; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(reasons[i], reasons[j]);
            assert_string_not_equal(reason_code(reasons[i]), reason_code(reasons[j]));
            assert_string_not_equal(reason_text(reasons[i]), reason_text(reasons[j]));
        }
    }
}

static void texts_have_their_form(void **state) {
    (void)state;
    for (size_t i = 0; i < REASON_COUNT; i++) {
        const char *code = reason_code(reasons[i]), *text = reason_text(reasons[i]);
        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(code));
        assert_true(strlen(text) > 0 && strlen(text) < 110);
        assert_true(text[0] >= 'A' && text[0] <= 'Z');
        assert_int_not_equal(text[strlen(text) - 1], '.');
    }
}

static void counters_are_few(void **state) {
    (void)state;
    static const char *const groups[] = {"ok",    "auth",  "client", "denied",
                                         "input", "limit", "server"};
    for (size_t i = 0; i < REASON_COUNT; i++) {
        bool is_known = false;
        for (size_t j = 0; j < sizeof groups / sizeof groups[0]; j++) {
            is_known = is_known || strcmp(groups[j], reason_counter(reasons[i])) == 0;
        }
        assert_true(is_known);
    }
}

/* RFC 6455 section 7.4: 1000-1003, 1007-1011, IANA 1012-1014; ours from 4000 by class. */
static void close_codes_may_be_sent(void **state) {
    (void)state;
    for (size_t i = 0; i < REASON_COUNT; i++) {
        unsigned code = reason_ws_close(reasons[i]);
        assert_true((code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1013) ||
                    (code >= 4000 && code <= 4299));
    }
    assert_int_equal(reason_ws_close(REASON_DRAIN), 1012);
    assert_int_equal(reason_ws_close(REASON_OVERLOAD), 1013);
    assert_int_equal(reason_ws_close(REASON_SLOW_READER), 4001);
    assert_int_equal(reason_ws_close(REASON_BAD_TOKEN), 4201);
    assert_int_equal(reason_ws_close(REASON_DISABLED), 4202);
    assert_int_equal(reason_ws_close(REASON_PROTOCOL_TOO_OLD), 4203);
}

static void classes_follow_from_codes(void **state) {
    (void)state;
    assert_int_equal(reason_class(REASON_DRAIN), REASON_CLASS_RECONNECT);
    assert_int_equal(reason_class(REASON_SLOW_READER), REASON_CLASS_RECONNECT);
    assert_int_equal(reason_class(REASON_TOKEN_EXPIRED), REASON_CLASS_LOGIN);
    assert_int_equal(reason_class(REASON_TOKEN_REVOKED), REASON_CLASS_LOGIN);
    assert_int_equal(reason_class(REASON_NOT_AUTHENTICATED), REASON_CLASS_LOGIN);
    assert_int_equal(reason_class(REASON_BAD_TOKEN), REASON_CLASS_STOP);
    assert_int_equal(reason_class(REASON_SESSION_TAKEN_OVER), REASON_CLASS_STOP);
    assert_int_equal(reason_class(REASON_MALFORMED), REASON_CLASS_STOP);
    for (size_t i = 0; i < REASON_COUNT; i++) {
        if (reason_retryable(reasons[i])) { /* whoever may try again may connect again */
            assert_int_equal(reason_class(reasons[i]), REASON_CLASS_RECONNECT);
        }
    }
}

static bool is_among(uint8_t code, const uint8_t *codes, size_t count) {
    return memchr(codes, code, count) != NULL;
}

static void mqtt5_codes_fit_their_packet(void **state) {
    (void)state;
    static const uint8_t connack[] = {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86,
                                      0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
                                      0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F};
    static const uint8_t disconnect[] = {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E,
                                         0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A,
                                         0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2};
    static const uint8_t puback[] = {0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t suback[] = {0x00, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2};
    for (size_t i = 0; i < REASON_COUNT; i++) {
        enum reason reason = reasons[i];
        assert_true(is_among(reason_mqtt5(reason, REASON_IN_CONNACK), connack, sizeof connack));
        assert_true(
            is_among(reason_mqtt5(reason, REASON_IN_DISCONNECT), disconnect, sizeof disconnect));
        assert_true(is_among(reason_mqtt5(reason, REASON_IN_PUBACK), puback, sizeof puback));
        assert_true(is_among(reason_mqtt5(reason, REASON_IN_SUBACK), suback, sizeof suback));
        assert_true(reason_mqtt3_connack(reason) <= 5);
        assert_int_equal(reason_mqtt3_connack(reason) == 0, reason == REASON_OK);
        for (int packet = REASON_IN_CONNACK; packet <= REASON_IN_SUBACK; packet++) {
            assert_int_equal(reason_mqtt5(reason, (enum reason_packet)packet) == 0,
                             reason == REASON_OK);
        }
    }
}

static void mqtt5_codes_are_the_specific_ones(void **state) {
    (void)state;
    assert_int_equal(reason_mqtt5(REASON_DRAIN, REASON_IN_DISCONNECT), 0x9C);
    assert_int_equal(reason_mqtt5(REASON_SESSION_TAKEN_OVER, REASON_IN_DISCONNECT), 0x8E);
    assert_int_equal(reason_mqtt5(REASON_IDLE_TIMEOUT, REASON_IN_DISCONNECT), 0x8D);
    assert_int_equal(reason_mqtt5(REASON_IDLE_TIMEOUT, REASON_IN_CONNACK), 0x80);
    assert_int_equal(reason_mqtt5(REASON_BAD_TOKEN, REASON_IN_CONNACK), 0x86);
    assert_int_equal(reason_mqtt5(REASON_BAD_TOKEN, REASON_IN_DISCONNECT), 0x87);
    assert_int_equal(reason_mqtt5(REASON_UNAVAILABLE, REASON_IN_CONNACK), 0x88);
    assert_int_equal(reason_mqtt5(REASON_NOT_MEMBER, REASON_IN_PUBACK), 0x87);
    assert_int_equal(reason_mqtt5(REASON_NOT_FOUND, REASON_IN_PUBACK), 0x90);
    assert_int_equal(reason_mqtt5(REASON_RATE_LIMITED, REASON_IN_PUBACK), 0x97);
    assert_int_equal(reason_mqtt5(REASON_RATE_LIMITED, REASON_IN_DISCONNECT), 0x96);
    assert_int_equal(reason_mqtt5(REASON_BAD_UTF8, REASON_IN_PUBACK), 0x99);
    assert_int_equal(reason_mqtt5(REASON_RECEIVE_MAXIMUM_EXCEEDED, REASON_IN_DISCONNECT), 0x93);
    assert_int_equal(reason_mqtt5(REASON_FILTER_INVALID, REASON_IN_SUBACK), 0x8F);
    assert_int_equal(reason_mqtt5(REASON_PACKET_ID_IN_USE, REASON_IN_PUBACK), 0x91);
    assert_int_equal(reason_mqtt3_connack(REASON_PROTOCOL_TOO_OLD), 1);
    assert_int_equal(reason_mqtt3_connack(REASON_CLIENT_ID_INVALID), 2);
    assert_int_equal(reason_mqtt3_connack(REASON_BAD_TOKEN), 4);
}

static void http_statuses_match(void **state) {
    (void)state;
    for (size_t i = 0; i < REASON_COUNT; i++) {
        int status = reason_http_status(reasons[i]);
        assert_true(reasons[i] == REASON_OK ? status == 200 : status >= 400 && status < 600);
    }
    assert_int_equal(reason_http_status(REASON_RATE_LIMITED), 429);
    assert_int_equal(reason_http_status(REASON_STORAGE_FULL), 507);
}

static void every_error_has_a_reason(void **state) {
    (void)state;
    static const enum err errors[] = {
#define ERR_ROW(name, number, text, http, retryable) ERR_##name,
#include "common/err.def"
#undef ERR_ROW
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        enum reason reason = reason_from_err(errors[i]);
        assert_int_equal(reason == REASON_OK, errors[i] == ERR_OK);
        if (err_retryable(errors[i])) { /* a sender that may try again is told so */
            assert_true(reason_retryable(reason));
        }
    }
    assert_int_equal(reason_from_err(ERR_NOT_MEMBER), REASON_NOT_MEMBER);
    assert_int_equal(reason_from_err((enum err)9999), REASON_SERVER_ERROR);
}

static void unknown_numbers_are_server_errors(void **state) {
    (void)state;
    assert_int_equal(reason_from_number(REASON_BLOCKED), REASON_BLOCKED);
    assert_int_equal(reason_from_number(REASON_COUNT), REASON_SERVER_ERROR);
    assert_int_equal(reason_from_number(UINT32_MAX), REASON_SERVER_ERROR);
    assert_string_equal(reason_code((enum reason)4711), "server_error");
    assert_int_equal(reason_mqtt5((enum reason)4711, REASON_IN_PUBACK), 0x80);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_codes_are_distinct),
        cmocka_unit_test(texts_have_their_form),
        cmocka_unit_test(counters_are_few),
        cmocka_unit_test(close_codes_may_be_sent),
        cmocka_unit_test(classes_follow_from_codes),
        cmocka_unit_test(mqtt5_codes_fit_their_packet),
        cmocka_unit_test(mqtt5_codes_are_the_specific_ones),
        cmocka_unit_test(http_statuses_match),
        cmocka_unit_test(every_error_has_a_reason),
        cmocka_unit_test(unknown_numbers_are_server_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
