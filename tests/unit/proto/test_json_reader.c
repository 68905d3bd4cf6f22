/* test_json_reader: what is JSON and what is not (after the cases of RFC 8259 and JSONTestSuite's
 * families), limits to the byte, every prefix of a rich document, and the walk over what passed. */
#include "proto/json_reader.h"

#include "proto/limits.h"
#include "tests/unit/proto/support.h"
#include <stdio.h>

static enum err parse(const char *text, size_t count) {
    uint8_t *copy = support_copy(text, count);
    struct json_value root;
    struct json_problem problem = {0};
    enum err error = json_parse(copy, count, &root, &problem);
    if (error != ERR_OK) {
        assert_non_null(problem.text);
        assert_true(strlen(problem.text) > 0);
        assert_true(problem.offset <= count);
    } else {
        assert_true(root.raw.count <= count);
    }
    free(copy);
    return error;
}

static struct json_value root_of(const char *text) {
    struct json_value root;
    assert_int_equal(json_parse((const uint8_t *)text, strlen(text), &root, NULL), ERR_OK);
    return root;
}

static void valid_documents_pass(void **state) {
    (void)state;
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1.5",
        "1e5",
        "1E+5",
        "1e-5",
        "0.0",
        "0e0",
        "123456789012345678",
        "1e307",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        " [ ] ",
        "\t{\r\n}\n",
        "[1,2,[3,{}]]",
        "[[],{},\"\",0]",
        "{\"a\":1}",
        "{ \"a\" : [ 1 , { \"b\" : null } ] }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\\u00e9\\u65E5\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "\"\xE6\x97\xA5\"",
        "\"\x7F\"",
        "{\"\":0}",
        "{\"a\":{\"a\":{\"a\":0}},\"b\":{\"a\":0}}",
        "[{\"a\":0},{\"a\":0}]",
        "\"12345678\\n12345678\"",
        "[\"1234567\",\"12345678\",\"123456789\"]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(parse(texts[i], strlen(texts[i])), ERR_OK);
    }
}

static void malformed_documents_fail(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "tru",
        "fals",
        "undefined",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e1",
        "0x10",
        "1_000",
        "--1",
        "1 2",
        "1,",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\U0041\"",
        "\"\\ud83d\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ude00\"",
        "\"\\ude00\\ud83d\"",
        "\"\\ud83dx\"",
        "\"a\nb\"",
        "\"\t\"",
        "\"\x1F\"",
        "'a'",
        "a",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{,}",
        "{\"a\":1}}",
        "[]]",
        "[][]",
        "{}x",
        "// c\n1",
        "/**/1",
        "\xEF\xBB\xBF"
        "1",
        "\"\xFF\"",
        "\"\xED\xA0\x80\"",
        "\"\xC0\x80\"",
        "\"\xE6\x97\"",
        "[\"\xE6\"]",
        "\x0C"
        "1",
        "\xC2\xA0"
        "1",
        "[1]\x00",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u0061\":1,\"\\u0061\":2}",
        "{\"b\":{\"x\":1,\"y\":2,\"x\":3}}",
        "{\"\":1,\"\":1}",
        "{\"a\\u0000\":1}",
        "{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t count = strlen(texts[i]);
        if (strcmp(texts[i], "[1]") == 0) {
            count++; /* with its NUL behind */
        }
        assert_int_equal(parse(texts[i], count), ERR_INVALID);
    }
}

/* Repeats head, then middle, then tail. */
static char *nested(size_t depth, const char *open, const char *close, const char *inside) {
    char *text = malloc(depth * (strlen(open) + strlen(close)) + strlen(inside) + 1);
    assert_non_null(text);
    char *at = text;
    for (size_t i = 0; i < depth; i++) {
        at = stpcpy(at, open);
    }
    at = stpcpy(at, inside);
    for (size_t i = 0; i < depth; i++) {
        at = stpcpy(at, close);
    }
    return text;
}

static void depth_is_limited(void **state) {
    (void)state;
    static const struct {
        size_t depth;
        enum err error;
    } cases[] = {
        {LIMIT_JSON_DEPTH, ERR_OK}, {LIMIT_JSON_DEPTH + 1, ERR_TOO_LARGE}, {10000, ERR_TOO_LARGE}};
    for (size_t i = 0; i < 3; i++) {
        char *arrays = nested(cases[i].depth, "[", "]", "");
        char *objects = nested(cases[i].depth, "{\"a\":", "}", "1");
        assert_int_equal(parse(arrays, strlen(arrays)), cases[i].error);
        assert_int_equal(parse(objects, strlen(objects)), cases[i].error);
        free(arrays);
        free(objects);
    }
}

/* {"k0":0,"k1":0,...} with `last` as one more member. */
static char *object_of(size_t members, const char *last) {
    char *text = malloc(members * 24 + strlen(last) + 8);
    assert_non_null(text);
    char *at = text;
    *at++ = '{';
    for (size_t i = 0; i < members; i++) {
        at += sprintf(at, "%s\"k%zu\":%zu", i > 0 ? "," : "", i, i);
    }
    at += sprintf(at, "%s}", last);
    return text;
}

static void members_are_limited(void **state) {
    (void)state;
    char *most = object_of(LIMIT_JSON_MEMBERS, "");
    char *more = object_of(LIMIT_JSON_MEMBERS + 1, "");
    assert_int_equal(parse(most, strlen(most)), ERR_OK);
    assert_int_equal(parse(more, strlen(more)), ERR_TOO_LARGE);
    free(more);
    /* Objects side by side do not add up; objects within each other do. */
    char *list = malloc(4 * strlen(most) + 16);
    sprintf(list, "[%s,%s,%s]", most, most, most);
    assert_int_equal(parse(list, strlen(list)), ERR_OK);
    char *inner = object_of(LIMIT_JSON_MEMBERS, "");
    most[strlen(most) - 1] = '\0'; /* the last member's value becomes an object */
    char *colon = strrchr(most, ':');
    colon[1] = '\0';
    sprintf(list, "%s%s}", most, inner);
    assert_int_equal(parse(list, strlen(list)), ERR_OK); /* 512 + 512 = LIMIT_JSON_OPEN_MEMBERS */
    char *innermost = strrchr(inner, ':');
    innermost[1] = '\0';
    char *deeper = malloc(2 * strlen(list) + 64);
    sprintf(deeper, "%s%s{\"x\":1}}}", most, inner);
    assert_int_equal(parse(deeper, strlen(deeper)), ERR_TOO_LARGE);
    free(deeper);
    free(inner);
    free(list);
    free(most);
}

static void duplicates_are_found_in_large_objects(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 9, 10, 100, 511};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char last[64];
        for (size_t twin = 0; twin < sizes[i]; twin += 1 + sizes[i] / 7) {
            sprintf(last, ",\"k%zu\":1", twin);
            char *plain = object_of(sizes[i], last);
            assert_int_equal(parse(plain, strlen(plain)), ERR_INVALID);
            free(plain);
            sprintf(last, ",\"\\u006b%zu\":1", twin); /* k, escaped */
            char *escaped = object_of(sizes[i], last);
            assert_int_equal(parse(escaped, strlen(escaped)), ERR_INVALID);
            free(escaped);
        }
        char *fine = object_of(sizes[i], ",\"other\":1");
        assert_int_equal(parse(fine, strlen(fine)), ERR_OK);
        free(fine);
    }
}

static void keys_are_limited(void **state) {
    (void)state;
    char text[8 * LIMIT_JSON_KEY_BYTES], name[LIMIT_JSON_KEY_BYTES + 2];
    memset(name, 'k', sizeof name);
    name[LIMIT_JSON_KEY_BYTES] = '\0';
    sprintf(text, "{\"%s\":1}", name);
    assert_int_equal(parse(text, strlen(text)), ERR_OK);
    sprintf(text, "{\"%sk\":1}", name);
    assert_int_equal(parse(text, strlen(text)), ERR_TOO_LARGE);
    char *at = stpcpy(text, "{\"");
    for (size_t i = 0; i < LIMIT_JSON_KEY_BYTES; i++) {
        at = stpcpy(at, "\\u006b");
    }
    char *key_end = at;
    strcpy(at, "\":1}");
    assert_int_equal(parse(text, strlen(text)), ERR_OK);
    strcpy(key_end, "\\u006b\":1}");
    assert_int_equal(parse(text, strlen(text)), ERR_TOO_LARGE);
}

static void numbers_are_limited(void **state) {
    (void)state;
    char digits[LIMIT_JSON_NUMBER_BYTES + 2];
    memset(digits, '1', sizeof digits);
    assert_int_equal(parse(digits, LIMIT_JSON_NUMBER_BYTES), ERR_OK);
    assert_int_equal(parse(digits, LIMIT_JSON_NUMBER_BYTES + 1), ERR_TOO_LARGE);
    assert_int_equal(parse("9e307", 5), ERR_OK);
    assert_int_equal(parse("1e308", 5), ERR_TOO_LARGE);
    assert_int_equal(parse("0.1e308", 7), ERR_OK);
    assert_int_equal(parse("-1e309", 6), ERR_TOO_LARGE);
    assert_int_equal(parse("1e99999999999999999999", 22), ERR_TOO_LARGE);
    assert_int_equal(parse("1e-99999999999999999999", 23), ERR_OK);
}

static const char rich[] =
    "{\"t\":\"send\", \"id\":12,\"x\":[1,-2.5e3,{\"deep\":[true,false,null]}],"
    "\"esc\":\"a\\\"b\\\\\\u00e9\\ud83d\\ude00\",\"日\":\"本\",\"e\":{},\"l\":[]}";

static void prefixes_fail_and_stay_inside(void **state) {
    (void)state;
    size_t count = sizeof rich - 1;
    assert_int_equal(parse(rich, count), ERR_OK);
    for (size_t cut = 0; cut < count; cut++) {
        assert_int_equal(parse(rich, cut), ERR_INVALID);
    }
}

static void mutations_stay_inside(void **state) {
    (void)state;
    size_t count = sizeof rich - 1, accepted = 0;
    char copy[sizeof rich];
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, rich, sizeof rich);
        for (int change = 0; change < 1 + round % 3; change++) {
            copy[support_random(&seed) % count] = (char)support_random(&seed);
        }
        struct json_value root;
        uint8_t *block = support_copy(copy, count);
        if (json_parse(block, count, &root, NULL) == ERR_OK && root.kind == JSON_OBJECT) {
            struct json_iter iter;
            struct json_member member;
            accepted++;
            for (json_iter_begin(&iter, &root); json_next_member(&iter, &member);) {
                assert_true(member.value.raw.bytes >= block);
                assert_true(member.value.raw.bytes + member.value.raw.count <= block + count);
            }
        }
        free(block);
    }
    assert_true(accepted > 100); /* the walk was really tried */
}

static void walk_gives_members_in_order(void **state) {
    (void)state;
    struct json_value root = root_of(rich), value;
    struct json_iter iter;
    struct json_member member;
    static const char *const keys[] = {"t", "id", "x", "esc", "日", "e", "l"};
    static const char *const raws[] = {"\"send\"",
                                       "12",
                                       "[1,-2.5e3,{\"deep\":[true,false,null]}]",
                                       "\"a\\\"b\\\\\\u00e9\\ud83d\\ude00\"",
                                       "\"本\"",
                                       "{}",
                                       "[]"};
    static const enum json_kind kinds[] = {JSON_STRING, JSON_NUMBER, JSON_ARRAY, JSON_STRING,
                                           JSON_STRING, JSON_OBJECT, JSON_ARRAY};
    size_t count = 0;
    for (json_iter_begin(&iter, &root); json_next_member(&iter, &member); count++) {
        assert_true(json_string_is(&member.key, keys[count]));
        support_expect_slice(member.value.raw, raws[count]);
        assert_int_equal(member.value.kind, kinds[count]);
    }
    assert_int_equal(count, 7);
    assert_true(json_find(&root, "x", &value));
    json_iter_begin(&iter, &value);
    assert_true(json_next_element(&iter, &value));
    assert_true(json_next_element(&iter, &value));
    support_expect_slice(value.raw, "-2.5e3");
    assert_true(json_next_element(&iter, &value));
    assert_int_equal(value.kind, JSON_OBJECT);
    assert_false(json_next_element(&iter, &value));
    assert_false(json_find(&root, "deep", &value)); /* of an inner object */
}

static void empty_containers_have_nothing(void **state) {
    (void)state;
    struct json_value object = root_of(" { } "), array = root_of("[\n]");
    struct json_iter iter;
    struct json_member member;
    struct json_value element;
    json_iter_begin(&iter, &object);
    assert_false(json_next_member(&iter, &member));
    json_iter_begin(&iter, &array);
    assert_false(json_next_element(&iter, &element));
}

static void strings_are_unescaped(void **state) {
    (void)state;
    struct json_value value =
        root_of("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u65e5\\uD83D\\uDE00z\"");
    static const char expected[] = "\"\\/\b\f\n\r\tAé日\xF0\x9F\x98\x80z";
    char text[64];
    assert_true(value.escaped);
    assert_int_equal(json_string_bytes(&value), strlen(expected));
    assert_int_equal(json_string_copy(&value, text, sizeof text), ERR_OK);
    assert_string_equal(text, expected);
    assert_true(json_string_is(&value, expected));
    assert_false(json_string_is(&value, "x"));
    struct slice slice;
    assert_int_equal(json_string_slice(&value, &slice), ERR_INVALID);
}

static void copies_keep_their_bounds(void **state) {
    (void)state;
    static const char *const texts[] = {"\"12345\"", "\"1234\\u0035\""};
    for (size_t i = 0; i < 2; i++) {
        struct json_value value = root_of(texts[i]);
        char *exact = malloc(6), *tight = malloc(5);
        assert_int_equal(json_string_copy(&value, exact, 6), ERR_OK);
        assert_string_equal(exact, "12345");
        memset(tight, '!', 5);
        assert_int_equal(json_string_copy(&value, tight, 5), ERR_TOO_LARGE);
        assert_memory_equal(tight, "!!!!!", 5);
        free(exact);
        free(tight);
    }
    struct json_value nul = root_of("\"a\\u0000b\""), fake = root_of("\"a\\\\u0000\"");
    char text[16];
    assert_int_equal(json_string_copy(&nul, text, sizeof text), ERR_INVALID);
    assert_int_equal(json_string_copy(&fake, text, sizeof text), ERR_OK);
    assert_string_equal(text, "a\\u0000");
    struct json_value number = root_of("1");
    assert_int_equal(json_string_copy(&number, text, sizeof text), ERR_INVALID);
}

static void integers_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum err error;
        uint64_t number;
    } cases[] = {
        {"0", ERR_OK, 0},
        {"9007199254740991", ERR_OK, UINT64_C(9007199254740991)},
        {"18446744073709551615", ERR_OK, UINT64_MAX},
        {"18446744073709551616", ERR_TOO_LARGE, 0},
        {"99999999999999999999999", ERR_TOO_LARGE, 0},
        {"-1", ERR_INVALID, 0},
        {"-0", ERR_INVALID, 0},
        {"1.0", ERR_INVALID, 0},
        {"1e3", ERR_INVALID, 0},
        {"\"1\"", ERR_INVALID, 0},
        {"true", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value value = root_of(cases[i].text);
        uint64_t number = 4711;
        assert_int_equal(json_u64(&value, UINT64_MAX, &number), cases[i].error);
        assert_true(number == (cases[i].error == ERR_OK ? cases[i].number : 4711));
    }
    struct json_value ten = root_of("10");
    uint64_t number;
    assert_int_equal(json_u64(&ten, 9, &number), ERR_TOO_LARGE);
    assert_int_equal(json_u64(&ten, 10, &number), ERR_OK);
}

static void flags_are_read(void **state) {
    (void)state;
    struct json_value yes = root_of("true"), no = root_of("false"), null = root_of("null");
    bool flag = false;
    assert_int_equal(json_bool(&yes, &flag), ERR_OK);
    assert_true(flag);
    assert_int_equal(json_bool(&no, &flag), ERR_OK);
    assert_false(flag);
    assert_int_equal(json_bool(&null, &flag), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_pass),
        cmocka_unit_test(malformed_documents_fail),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(members_are_limited),
        cmocka_unit_test(duplicates_are_found_in_large_objects),
        cmocka_unit_test(keys_are_limited),
        cmocka_unit_test(numbers_are_limited),
        cmocka_unit_test(prefixes_fail_and_stay_inside),
        cmocka_unit_test(mutations_stay_inside),
        cmocka_unit_test(walk_gives_members_in_order),
        cmocka_unit_test(empty_containers_have_nothing),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(copies_keep_their_bounds),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(flags_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
