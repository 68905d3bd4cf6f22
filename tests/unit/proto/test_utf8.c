/* test_utf8: every code point both ways, the table of ill-formed sequences, and every text cut
 * everywhere. */
#include "proto/utf8.h"

#include "tests/unit/proto/support.h"

static bool valid(const char *text, size_t count) {
    uint8_t *copy = support_copy(text, count);
    bool result = utf8_valid(copy, count);
    free(copy);
    return result;
}

static void all_code_points_pass(void **state) {
    (void)state;
    for (uint32_t code_point = 0; code_point <= 0x10FFFF; code_point++) {
        uint8_t bytes[4];
        uint32_t decoded = 0;
        if (code_point >= 0xD800 && code_point <= 0xDFFF) {
            continue;
        }
        size_t count = utf8_encode(code_point, bytes);
        assert_true(utf8_valid(bytes, count));
        assert_int_equal(utf8_decode(bytes, count, &decoded), count);
        assert_int_equal(decoded, code_point);
        for (size_t cut = 0; cut < count; cut++) { /* every proper prefix is unfinished */
            assert_int_equal(utf8_valid(bytes, cut), cut == 0);
            assert_int_equal(utf8_decode(bytes, cut, &decoded), 0);
        }
    }
}

static void surrogates_are_refused(void **state) {
    (void)state;
    for (uint32_t code_point = 0xD800; code_point <= 0xDFFF; code_point++) {
        uint8_t bytes[4];
        assert_false(utf8_valid(bytes, utf8_encode(code_point, bytes)));
    }
}

static void ill_formed_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\x80",                 /* continuation alone */
        "\xBF",                 /* the last of them */
        "a\xC3",                /* cut */
        "\xC3(",                /* no continuation */
        "\xC0\xAF",             /* overlong "/" */
        "\xC1\xBF",             /* overlong DEL */
        "\xE0\x80\xAF",         /* overlong in three */
        "\xE0\x9F\xBF",         /* U+07FF in three */
        "\xF0\x80\x80\xAF",     /* overlong in four */
        "\xF0\x8F\xBF\xBF",     /* U+FFFF in four */
        "\xF4\x90\x80\x80",     /* U+110000 */
        "\xF5\x80\x80\x80",     /* beyond */
        "\xF8\x88\x80\x80\x80", /* five bytes */
        "\xFE",
        "\xFF",
        "\xED\xA0\x80\xED\xB0\x80", /* CESU-8 pair */
        "12345678\xE6\x97",         /* cut behind a full word */
        ("1234567\xFF"
         "12345678"),                   /* inside a word */
        "\xE4\xBD\xA0\xE5\xA5\xBD\xBD", /* one continuation too many */
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(valid(texts[i], strlen(texts[i])));
    }
}

static void text_passes(void **state) {
    (void)state;
    static const char text[] =
        "plain ascii, 门铃响了, \xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9, \x01\x7F";
    assert_true(valid(text, sizeof text)); /* with its NUL */
    assert_true(utf8_valid(NULL, 0));
}

static void pieces_agree_with_the_whole(void **state) {
    (void)state;
    static const char text[] =
        "ab\xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80 0123456789abcdef \xE2\x82\xAC";
    size_t count = sizeof text - 1;
    for (size_t one = 0; one <= count; one++) {
        for (size_t two = one; two <= count; two++) {
            struct utf8_state utf8 = {0};
            const uint8_t *bytes = (const uint8_t *)text;
            assert_true(utf8_feed(&utf8, bytes, one));
            assert_true(utf8_feed(&utf8, bytes + one, two - one));
            assert_int_equal(utf8_complete(&utf8), utf8_valid(bytes, two));
            assert_true(utf8_feed(&utf8, bytes + two, count - two));
            assert_true(utf8_complete(&utf8));
        }
    }
}

static void a_wrong_byte_fails_at_once(void **state) {
    (void)state;
    struct utf8_state utf8 = {0};
    assert_true(utf8_feed(&utf8, (const uint8_t *)"\xF4", 1));
    assert_false(utf8_feed(&utf8, (const uint8_t *)"\x90", 1)); /* U+110000 cannot come any more */
    utf8 = (struct utf8_state){0};
    assert_true(utf8_feed(&utf8, (const uint8_t *)"\xED", 1));
    assert_false(utf8_feed(&utf8, (const uint8_t *)"\xA0", 1));
}

static void random_bytes_agree_with_decoding(void **state) {
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[12];
        size_t count = support_random(&seed) % sizeof bytes;
        for (size_t i = 0; i < count; i++) { /* mostly lead and continuation bytes */
            uint64_t random = support_random(&seed);
            bytes[i] = (uint8_t)(random % 4 == 0 ? random >> 8 : 0x80 | random >> 8);
        }
        size_t at = 0, length = 1;
        uint32_t code_point;
        while (at < count && (length = utf8_decode(bytes + at, count - at, &code_point)) > 0) {
            at += length;
        }
        assert_int_equal(utf8_valid(bytes, count), at == count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_code_points_pass),
        cmocka_unit_test(surrogates_are_refused),
        cmocka_unit_test(ill_formed_is_refused),
        cmocka_unit_test(text_passes),
        cmocka_unit_test(pieces_agree_with_the_whole),
        cmocka_unit_test(a_wrong_byte_fails_at_once),
        cmocka_unit_test(random_bytes_agree_with_decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
