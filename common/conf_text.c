/* conf_text: the textual half of conf.
 *
 * The grammar is the least that people expect of an INI file: [section], key = value, comments.
 * What is neither is an error with its line, never skipped. A comment behind a value needs white
 * space before it, so the output of --print-config, whose comments name the origins, can be loaded
 * again, and a '#' inside a URL stays. The distance is Damerau's restricted one (optimal string
 * alignment): swapped neighbours are the commonest slip. */
#include "common/conf_text.h"

#include "common/mem.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum err conf_text_read(const char *file, size_t bytes_max, char **out) {
    FILE *stream = fopen(file, "re");
    if (stream == NULL) {
        return err_from_errno(errno);
    }
    char *text = mem_alloc(bytes_max + 2);
    if (text == NULL) {
        (void)fclose(stream); /* only read */
        return ERR_NO_MEMORY;
    }
    size_t count = fread(text, 1, bytes_max + 1, stream);
    enum err error = ERR_OK;
    if (ferror(stream) != 0) {
        error = ERR_IO;
    } else if (count > bytes_max) {
        error = ERR_TOO_LARGE;
    } else if (memchr(text, '\0', count) != NULL) {
        error = ERR_INVALID;
    }
    (void)fclose(stream); /* only read */
    if (error != ERR_OK) {
        mem_free(text);
        return error;
    }
    text[count] = '\0';
    *out = text;
    return ERR_OK;
}

static bool blank(char character) {
    return character == ' ' || character == '\t' || character == '\r';
}

static char *trim(char *text) {
    while (blank(*text)) {
        text++;
    }
    size_t length = strlen(text);
    while (length > 0 && blank(text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

static void cut_comment(char *line) {
    for (char *at = line; *at != '\0'; at++) {
        if ((*at == '#' || *at == ';') && (at == line || blank(at[-1]))) {
            *at = '\0';
            return;
        }
    }
}

enum conf_line conf_text_line(char *line, char **name, char **value) {
    cut_comment(line);
    char *text = trim(line);
    size_t length = strlen(text);
    if (length == 0) {
        return CONF_LINE_EMPTY;
    }
    if (text[0] == '[') {
        if (length < 3 || text[length - 1] != ']') {
            return CONF_LINE_BROKEN;
        }
        text[length - 1] = '\0';
        *name = trim(text + 1);
        return **name != '\0' ? CONF_LINE_SECTION : CONF_LINE_BROKEN;
    }
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return CONF_LINE_BROKEN;
    }
    *equals = '\0';
    *name = trim(text);
    *value = trim(equals + 1);
    return **name != '\0' ? CONF_LINE_PAIR : CONF_LINE_BROKEN;
}

static size_t smaller(size_t left, size_t right) {
    return left < right ? left : right;
}

size_t conf_text_distance(const char *left, const char *right) {
    size_t rows[3][CONF_WORD_BYTES_MAX + 1]; /* this row of the table and the two before it */
    size_t left_count = strnlen(left, CONF_WORD_BYTES_MAX);
    size_t right_count = strnlen(right, CONF_WORD_BYTES_MAX);
    for (size_t j = 0; j <= right_count; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= left_count; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= right_count; j++) {
            size_t best = above[j - 1] + (left[i - 1] == right[j - 1] ? 0u : 1u);
            best = smaller(best, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
                best = smaller(best, rows[(i - 2) % 3][j - 2] + 1);
            }
            row[j] = best;
        }
    }
    return rows[left_count % 3][right_count];
}

bool conf_text_near(const char *word, size_t distance) {
    size_t third = strnlen(word, CONF_WORD_BYTES_MAX) / 3;
    return distance <= (third > 2 ? third : 2);
}
