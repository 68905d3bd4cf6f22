/* common_passwords: the list as a sorted array of 64-bit SipHashes with a key of this process: 8
 * bytes an entry whatever its length, so the usual lists of three thousand or three million lines
 * both fit. A false match has the chance of 2^-64 per entry and costs one person another choice. */
#include "services/auth/common_passwords.h"

#include "common/map.h"
#include "common/mem.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 1024 /* no password is longer; a longer line is skipped in pieces */

struct common_passwords {
    size_t count, held;
    uint64_t *hashes; /* ascending once loaded */
};

static uint64_t hash_folded(const char *text) {
    char folded[LINE_BYTES_MAX + 1];
    size_t length = strnlen(text, LINE_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        folded[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i]);
    }
    return map_hash(folded, length);
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static enum err add(struct common_passwords *list, const char *line) {
    if (list->count == list->held) {
        size_t held = list->held > 0 ? list->held * 2 : 4096;
        uint64_t *hashes = list->hashes != NULL ? mem_realloc(list->hashes, held * sizeof *hashes)
                                                : mem_alloc(held * sizeof *hashes);
        if (hashes == NULL) {
            return ERR_NO_MEMORY;
        }
        list->hashes = hashes;
        list->held = held;
    }
    list->hashes[list->count++] = hash_folded(line);
    return ERR_OK;
}

static enum err read_lines(struct common_passwords *list, FILE *file) {
    char line[LINE_BYTES_MAX + 1];
    size_t bytes = 0;
    enum err error = ERR_OK;
    while (error == ERR_OK && fgets(line, sizeof line, file) != NULL) {
        size_t length = strlen(line);
        bytes += length;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) {
            line[--length] = '\0';
        }
        if (bytes > COMMON_PASSWORDS_FILE_BYTES_MAX) {
            error = ERR_TOO_LARGE;
        } else if (length > 0 && strncmp(line, "#!comment", 9) != 0) {
            error = add(list, line);
        }
    }
    return error == ERR_OK && ferror(file) != 0 ? ERR_IO : error;
}

static enum err read_file(struct common_passwords *list, const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return err_from_errno(errno);
    }
    enum err error = read_lines(list, file);
    (void)fclose(file); /* only read from */
    if (error == ERR_OK && list->count > 0) {
        qsort(list->hashes, list->count, sizeof list->hashes[0], compare);
    }
    return error;
}

enum err common_passwords_load(const char *path, struct common_passwords **out) {
    struct common_passwords *list = mem_zalloc(1, sizeof *list);
    if (list == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = path[0] != '\0' ? read_file(list, path) : ERR_OK;
    if (error != ERR_OK) {
        common_passwords_destroy(&list);
        return error;
    }
    *out = list;
    return ERR_OK;
}

void common_passwords_destroy(struct common_passwords **list) {
    if (*list == NULL) {
        return;
    }
    mem_free((*list)->hashes);
    mem_free(*list);
    *list = NULL;
}

size_t common_passwords_count(const struct common_passwords *list) {
    return list->count;
}

bool common_passwords_have(const struct common_passwords *list, const char *password) {
    uint64_t hash = hash_folded(password);
    return list->count > 0 &&
           bsearch(&hash, list->hashes, list->count, sizeof hash, compare) != NULL;
}
