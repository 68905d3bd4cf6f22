/* test_conf_text: lines of an INI file, whole files, and the distance of words. */
#include "common/conf_text.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum conf_line read_line(const char *line, const char **name, const char **value) {
    static char copy[256];
    char *own_name = NULL;
    char *own_value = NULL;
    (void)snprintf(copy, sizeof(copy), "%s", line);
    enum conf_line kind = conf_text_line(copy, &own_name, &own_value);
    *name = own_name;
    *value = own_value;
    return kind;
}

static void lines_are_understood(void **state) {
    (void)state;
    static const struct {
        const char *line;
        enum conf_line kind;
        const char *name, *value;
    } samples[] = {
        {"", CONF_LINE_EMPTY, NULL, NULL},
        {" \t\r", CONF_LINE_EMPTY, NULL, NULL},
        {"# c", CONF_LINE_EMPTY, NULL, NULL},
        {"  ; c = d", CONF_LINE_EMPTY, NULL, NULL},
        {"[storage]", CONF_LINE_SECTION, "storage", NULL},
        {" [ bus ] # c\r", CONF_LINE_SECTION, "bus", NULL},
        {"a=b", CONF_LINE_PAIR, "a", "b"},
        {"\ta  =  b c  ; rest", CONF_LINE_PAIR, "a", "b c"},
        {"a = x#y;z # c", CONF_LINE_PAIR, "a", "x#y;z"},
        {"a = b = c", CONF_LINE_PAIR, "a", "b = c"},
        {"a =", CONF_LINE_PAIR, "a", ""},
        {"a = # nothing", CONF_LINE_PAIR, "a", ""},
        {"[]", CONF_LINE_BROKEN, NULL, NULL},
        {"[ ]", CONF_LINE_BROKEN, NULL, NULL},
        {"[a", CONF_LINE_BROKEN, NULL, NULL},
        {"[a] b", CONF_LINE_BROKEN, NULL, NULL},
        {"a", CONF_LINE_BROKEN, NULL, NULL},
        {"= b", CONF_LINE_BROKEN, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const char *name = NULL;
        const char *value = NULL;
        assert_int_equal(read_line(samples[i].line, &name, &value), samples[i].kind);
        if (samples[i].name != NULL) {
            assert_string_equal(name, samples[i].name);
        }
        if (samples[i].value != NULL) {
            assert_string_equal(value, samples[i].value);
        }
    }
}

static void files_are_bounded(void **state) {
    (void)state;
    char *text = NULL;
    const char *file = support_file("hello");
    assert_int_equal(conf_text_read(file, 5, &text), ERR_OK);
    assert_string_equal(text, "hello");
    mem_free(text);
    text = NULL;
    assert_int_equal(conf_text_read(file, 4, &text), ERR_TOO_LARGE);
    assert_int_equal(conf_text_read("/nonexistent/x", 5, &text), ERR_NOT_FOUND);
    assert_int_equal(conf_text_read("/", 5, &text), ERR_IO);
    (void)mem_fault_set(1, 1);
    assert_int_equal(conf_text_read(file, 5, &text), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    FILE *stream = fopen(file, "w");
    assert_int_equal(fwrite("a\0b", 1, 3, stream), 3);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(conf_text_read(file, 5, &text), ERR_INVALID);
    assert_null(text);
}

static void distances(void **state) {
    (void)state;
    assert_int_equal(conf_text_distance("", ""), 0);
    assert_int_equal(conf_text_distance("abc", ""), 3);
    assert_int_equal(conf_text_distance("", "abc"), 3);
    assert_int_equal(conf_text_distance("data_dir", "data_dir"), 0);
    assert_int_equal(conf_text_distance("dta_dir", "data_dir"), 1);
    assert_int_equal(conf_text_distance("data_dri", "data_dir"), 1); /* swapped neighbours */
    assert_int_equal(conf_text_distance("kitten", "sitting"), 3);
    assert_int_equal(conf_text_distance("ca", "abc"), 3); /* restricted: no edit between swaps */
    char left[201];
    char right[201];
    memset(left, 'a', 200);
    memset(right, 'b', 200);
    left[200] = '\0';
    right[200] = '\0';
    assert_int_equal(conf_text_distance(left, right), CONF_WORD_BYTES_MAX);
    assert_true(conf_text_near("log_level", 2));
    assert_true(conf_text_near("log_level", 3));
    assert_false(conf_text_near("log_level", 4));
    assert_false(conf_text_near("log", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_are_understood),
                                       cmocka_unit_test(files_are_bounded),
                                       cmocka_unit_test(distances)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
