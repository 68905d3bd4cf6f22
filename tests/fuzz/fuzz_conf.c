/* fuzz_conf: the input is an INI file. What is refused is explained in one line; what is accepted
 * lies within the table's bounds, and printed and read again it says the same. The notations of
 * values and the search for the nearest word get the same bytes. */
#include "common/conf.h"
#include "common/conf_text.h"
#include "common/conf_value.h"
#include "common/redact.h"
#include "tests/fuzz/fuzz_support.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBLEM_BYTES_MAX 8192

struct settings {
    const char *name;
    uint64_t workers, drain_us, cache_bytes;
    bool sync;
    const char *listen;
};

static const struct conf_row rows[] = {
    {"storage", "name", CONF_TEXT, offsetof(struct settings, name), "plain", NULL, NULL, "Name."},
    {"storage", "workers", CONF_UINT, offsetof(struct settings, workers), "4", "1", "64",
     "Threads."},
    {"storage", "drain", CONF_DURATION, offsetof(struct settings, drain_us), "10s", "0", "10m",
     "Drain."},
    {"storage", "cache", CONF_BYTES, offsetof(struct settings, cache_bytes), "16KiB", "4KiB",
     "1GiB", "Cache."},
    {"storage", "sync", CONF_BOOL, offsetof(struct settings, sync), "yes", NULL, NULL, "Sync."},
    {"bus", "listen", CONF_TEXT, offsetof(struct settings, listen), "tcp://127.0.0.1:7400", NULL,
     NULL, "Bus."},
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])
static const char *const foreign[] = {"auth", "storage", "bus", NULL};

/* Reads bytes as a configuration file, by way of a file that has no name. */
static enum err load(const void *bytes, size_t count, struct settings *settings, struct conf **conf,
                     struct buf *problem) {
    char path[64];
    int fd = memfd_create("pipit.ini", MFD_CLOEXEC);
    CONTRACT(fd >= 0 && (count == 0 || write(fd, bytes, count) == (ssize_t)count));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum err error = conf_load(rows, ROW_COUNT, foreign, path, settings, conf, problem);
    (void)close(fd);
    return error;
}

static void check_bounds(const struct settings *settings) {
    CONTRACT(settings->name != NULL && settings->listen != NULL);
    CONTRACT(settings->workers >= 1 && settings->workers <= 64);
    CONTRACT(settings->drain_us <= 600000000u);
    CONTRACT(settings->cache_bytes >= 4096 && settings->cache_bytes <= 1u << 30);
}

/* "name =;x" is a value that begins like a comment; printed behind a blank, it would be one. What
 * may hold a password is not printed at all. */
static bool printable(const char *value) {
    struct buf shown;
    buf_init(&shown, CONF_FILE_BYTES_MAX * 2);
    CONTRACT(redact_url(value, &shown) == ERR_OK);
    size_t bytes = strlen(value);
    bool whole =
        buf_len(&shown) == bytes && (bytes == 0 || memcmp(buf_data(&shown), value, bytes) == 0);
    buf_finish(&shown);
    return whole && value[0] != '#' && value[0] != ';';
}

static void check_printed(const struct conf *conf, const struct settings *settings) {
    struct buf printed, problem;
    struct conf *again = NULL;
    struct settings same;
    buf_init(&printed, 16u << 20);
    buf_init(&problem, PROBLEM_BYTES_MAX);
    CONTRACT(conf_print(conf, &printed) == ERR_OK);
    if (buf_len(&printed) <= CONF_FILE_BYTES_MAX) {
        CONTRACT(load(buf_data(&printed), buf_len(&printed), &same, &again, &problem) == ERR_OK);
        CONTRACT(strcmp(same.name, settings->name) == 0);
        CONTRACT(strcmp(same.listen, settings->listen) == 0);
        CONTRACT(same.workers == settings->workers && same.drain_us == settings->drain_us);
        CONTRACT(same.cache_bytes == settings->cache_bytes && same.sync == settings->sync);
        conf_destroy(&again);
    }
    buf_finish(&problem);
    buf_finish(&printed);
}

static void check_file(const uint8_t *data, size_t size) {
    struct settings settings;
    struct conf *conf = NULL;
    struct buf problem;
    buf_init(&problem, PROBLEM_BYTES_MAX);
    enum err error = load(data, size, &settings, &conf, &problem);
    if (error == ERR_OK) {
        check_bounds(&settings);
        if (printable(settings.name) && printable(settings.listen)) {
            check_printed(conf, &settings);
        }
        conf_destroy(&conf);
        CONTRACT(conf == NULL);
    } else {
        CONTRACT(conf == NULL && buf_len(&problem) > 0);
        CONTRACT(memchr(buf_data(&problem), '\n', buf_len(&problem)) == NULL);
    }
    buf_finish(&problem);
}

static void check_words(const char *text) {
    uint64_t number = 0;
    bool flag = false;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        size_t distance = conf_text_distance(text, rows[i].key);
        CONTRACT(distance == conf_text_distance(rows[i].key, text));
        CONTRACT(distance <= CONF_WORD_BYTES_MAX);
        CONTRACT(strcmp(text, rows[i].key) != 0 || distance == 0);
        (void)conf_text_near(text, distance);
    }
    if (conf_value_uint(text, &number) == ERR_OK) {
        CONTRACT(conf_value_bytes(text, &number) == ERR_OK); /* a size needs no unit */
    }
    if (conf_value_bool(text, &flag) == ERR_OK) {
        CONTRACT(conf_value_duration(text, &number) != ERR_OK || number == 0);
    }
    (void)conf_value_number(CONF_DURATION, text, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    char *text = malloc(size + 1);
    CONTRACT(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    check_file(bytes, size);
    check_words(text);
    free(text);
    free(bytes);
    return 0;
}
