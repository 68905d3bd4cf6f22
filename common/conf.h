/* conf: one table per service decides every setting: defaults < INI file < PIPIT_* environment.
 * Unknown keys and bad values stop the start with file and line. The table also prints
 * --print-config (with origins) and generates docs/reference/configuration.md. */
#ifndef PIPIT_COMMON_CONF_H
#define PIPIT_COMMON_CONF_H

#include "common/buf.h"
#include <stddef.h>
#include <stdint.h>

enum conf_type {
    CONF_TEXT,     /* const char *; owned by the conf */
    CONF_UINT,     /* uint64_t within min..max */
    CONF_BOOL,     /* bool: true false yes no on off 1 0 */
    CONF_DURATION, /* uint64_t microseconds: "500us" "20ms" "15s" "10m" "24h" "60d" */
    CONF_BYTES,    /* uint64_t bytes: "512" "16KiB" "64MiB" "2GiB" */
    CONF_SECRET    /* const char *; the setting names a file, the value is its first line; never
                      printed; the key ends in _file */
};
struct conf_row {
    const char *section; /* INI section: "storage" */
    const char *key;     /* "data_dir": environment PIPIT_STORAGE_DATA_DIR */
    enum conf_type type;
    size_t offset;        /* of the member in the service's settings struct */
    const char *fallback; /* the default as text; NULL = required */
    const char *unit_min; /* smallest value as text in the same notation, or NULL */
    const char *unit_max; /* largest, or NULL */
    const char *help;     /* one sentence: what it does, when to change it */
};
struct conf;

/* Fills `settings` from the rows. file NULL = none. Rows of sections that belong to other services
 * in a shared INI file are skipped when their section is listed in `foreign` (NULL-terminated) and
 * has no rows here, and environment variables PIPIT_<FOREIGN>_* likewise; PIPIT_* variables that
 * match no row and no foreign section are refused. On failure `problem` says in one line what and
 * where ("pipit.ini:12: unknown key [storage] dta_dir; did you mean data_dir?") and settings are
 * unspecified. Values live until conf_destroy. */
enum err conf_load(const struct conf_row *rows, size_t row_count, const char *const *foreign,
                   const char *file, void *settings, struct conf **out,
                   struct buf *problem) MUST_CHECK;
void conf_destroy(struct conf **conf);
/* "[section]\nkey = value  # default|file:line|environment" for each row. */
enum err conf_print(const struct conf *conf, struct buf *out) MUST_CHECK;
/* A Markdown table of the rows, for the generated reference page. */
enum err conf_describe(const struct conf_row *rows, size_t row_count, struct buf *out) MUST_CHECK;

#endif
