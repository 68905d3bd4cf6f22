/* conf: from defaults, INI file and environment to a filled settings struct.
 *
 * Each row of the table collects the text that wins and where it came from; only then are the texts
 * read into the struct, so a bad value in the file does not matter when the environment overrides
 * it and --print-config can name every origin. A setting nobody knows is an error, because a
 * misspelt limit that is silently ignored shows up on the day it was needed; the message names the
 * nearest known word. Several services share one file, so sections that belong to others are
 * skipped. Values of secrets are read from files, never printed, and wiped when the conf is
 * destroyed. */
#include "common/conf.h"

#include "common/conf_text.h"
#include "common/conf_value.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/redact.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONF_ENVIRONMENT_PREFIX "PIPIT_"
#define CONF_SECRET_BYTES_MAX (16u * 1024u)
#define CONF_NAME_BYTES 160u     /* PIPIT_SECTION_KEY */
#define CONF_PROBLEM_BYTES 1024u /* one line for the operator */

enum origin { ORIGIN_NONE, ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT };

struct value {
    char *text;   /* as written; of a secret the file's name */
    char *secret; /* the first line of that file */
    enum origin origin;
    unsigned line; /* ORIGIN_FILE */
};

struct conf {
    const struct conf_row *rows;
    size_t row_count;
    const char *const *foreign;
    char *file;          /* NULL = none */
    struct buf *problem; /* only during conf_load */
    struct value values[];
};

/* Replaces the problem's text. A buffer that cannot take it leaves the operator with the error's
 * name alone. */
__attribute__((format(printf, 2, 3))) static enum err refuse(struct conf *conf, const char *format,
                                                             ...) {
    char text[CONF_PROBLEM_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    buf_clear(conf->problem);
    if (length < 0 || buf_append_text(conf->problem, text) != ERR_OK) {
        return ERR_NO_MEMORY;
    }
    return ERR_INVALID;
}

static void environment_name(const struct conf_row *row, char name[CONF_NAME_BYTES]) {
    int length =
        snprintf(name, CONF_NAME_BYTES, CONF_ENVIRONMENT_PREFIX "%s_%s", row->section, row->key);
    CONTRACT(length > 0 && (size_t)length < CONF_NAME_BYTES);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '-' || *at == '.' ? '_' : (char)toupper((unsigned char)*at);
    }
}

/* "pipit.ini:12", "PIPIT_STORAGE_DRAIN" or "default of [storage] drain". */
static void describe_origin(const struct conf *conf, size_t index,
                            char text[CONF_PROBLEM_BYTES / 2]) {
    const struct value *value = &conf->values[index];
    const struct conf_row *row = &conf->rows[index];
    char name[CONF_NAME_BYTES];
    if (value->origin == ORIGIN_FILE) {
        (void)snprintf(text, CONF_PROBLEM_BYTES / 2, "%s:%u: [%s] %s", conf->file, value->line,
                       row->section, row->key);
    } else if (value->origin == ORIGIN_ENVIRONMENT) {
        environment_name(row, name);
        (void)snprintf(text, CONF_PROBLEM_BYTES / 2, "%s", name);
    } else {
        (void)snprintf(text, CONF_PROBLEM_BYTES / 2, "default of [%s] %s", row->section, row->key);
    }
}

static bool has_section(const struct conf *conf, const char *section) {
    for (size_t i = 0; i < conf->row_count; i++) {
        if (strcmp(conf->rows[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

/* A section with rows of ours is ours, even when others share it ([bus]): its keys are checked. */
static bool is_foreign(const struct conf *conf, const char *section) {
    for (size_t i = 0; conf->foreign != NULL && conf->foreign[i] != NULL; i++) {
        if (strcmp(conf->foreign[i], section) == 0 && !has_section(conf, section)) {
            return true;
        }
    }
    return false;
}

static enum err set_value(struct conf *conf, size_t index, const char *text, enum origin origin,
                          unsigned line) {
    char *copy = mem_strdup(text);
    if (copy == NULL) {
        return ERR_NO_MEMORY;
    }
    mem_free(conf->values[index].text);
    conf->values[index].text = copy;
    conf->values[index].origin = origin;
    conf->values[index].line = line;
    return ERR_OK;
}

static enum err take_defaults(struct conf *conf) {
    for (size_t i = 0; i < conf->row_count; i++) {
        if (conf->rows[i].fallback != NULL) {
            enum err error = set_value(conf, i, conf->rows[i].fallback, ORIGIN_DEFAULT, 0);
            if (error != ERR_OK) {
                return error;
            }
        }
    }
    return ERR_OK;
}

/* --- the file */

static enum err refuse_section(struct conf *conf, unsigned line, const char *section) {
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < conf->row_count; i++) {
        size_t distance = conf_text_distance(section, conf->rows[i].section);
        if (distance < best_distance) {
            best_distance = distance;
            best = conf->rows[i].section;
        }
    }
    for (size_t i = 0; conf->foreign != NULL && conf->foreign[i] != NULL; i++) {
        size_t distance = conf_text_distance(section, conf->foreign[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = conf->foreign[i];
        }
    }
    if (best != NULL && conf_text_near(section, best_distance)) {
        return refuse(conf, "%s:%u: unknown section [%.64s]; did you mean [%s]?", conf->file, line,
                      section, best);
    }
    return refuse(conf, "%s:%u: unknown section [%.64s]", conf->file, line, section);
}

static enum err refuse_key(struct conf *conf, unsigned line, const char *section, const char *key) {
    const struct conf_row *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < conf->row_count; i++) {
        const struct conf_row *row = &conf->rows[i];
        bool same_section = strcmp(row->section, section) == 0;
        size_t distance = conf_text_distance(key, row->key);
        bool elsewhere = !same_section && distance == 0; /* right key, wrong section */
        if ((same_section && distance < best_distance) || (elsewhere && best_distance > 0)) {
            best_distance = distance;
            best = row;
        }
    }
    if (best == NULL || !conf_text_near(key, best_distance)) {
        return refuse(conf, "%s:%u: unknown key [%s] %.64s", conf->file, line, section, key);
    }
    if (strcmp(best->section, section) != 0) {
        return refuse(conf, "%s:%u: unknown key [%s] %.64s; did you mean [%s] %s?", conf->file,
                      line, section, key, best->section, best->key);
    }
    return refuse(conf, "%s:%u: unknown key [%s] %.64s; did you mean %s?", conf->file, line,
                  section, key, best->key);
}

static enum err take_pair(struct conf *conf, unsigned line, const char *section, const char *key,
                          const char *text) {
    for (size_t i = 0; i < conf->row_count; i++) {
        if (strcmp(conf->rows[i].section, section) != 0 || strcmp(conf->rows[i].key, key) != 0) {
            continue;
        }
        if (conf->values[i].origin == ORIGIN_FILE) {
            return refuse(conf, "%s:%u: [%s] %s is already set in line %u", conf->file, line,
                          section, key, conf->values[i].line);
        }
        return set_value(conf, i, text, ORIGIN_FILE, line);
    }
    return is_foreign(conf, section) ? ERR_OK : refuse_key(conf, line, section, key);
}

static enum err take_line(struct conf *conf, unsigned line, char *text, const char **section) {
    char *name = NULL;
    char *value = NULL;
    switch (conf_text_line(text, &name, &value)) {
    case CONF_LINE_EMPTY:
        return ERR_OK;
    case CONF_LINE_SECTION:
        *section = name;
        return has_section(conf, name) || is_foreign(conf, name) ? ERR_OK
                                                                 : refuse_section(conf, line, name);
    case CONF_LINE_PAIR:
        if (*section == NULL) {
            return refuse(conf, "%s:%u: %.64s stands before the first [section]", conf->file, line,
                          name);
        }
        return take_pair(conf, line, *section, name, value);
    case CONF_LINE_BROKEN:
        break;
    }
    return refuse(conf, "%s:%u: neither [section] nor key = value", conf->file, line);
}

static enum err take_file(struct conf *conf) {
    char *text = NULL;
    enum err error = conf_text_read(conf->file, CONF_FILE_BYTES_MAX, &text);
    if (error == ERR_NO_MEMORY) {
        return error;
    }
    if (error != ERR_OK) {
        return refuse(conf, "%s: cannot read the configuration: %s", conf->file, err_text(error));
    }
    const char *section = NULL;
    char *rest = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text; /* byte order mark */
    for (unsigned line = 1; rest != NULL && error == ERR_OK; line++) {
        char *current = rest;
        rest = strchr(rest, '\n');
        if (rest != NULL) {
            *rest++ = '\0';
        }
        error = take_line(conf, line, current, &section);
    }
    mem_free(text);
    return error;
}

/* --- the environment */

static bool environment_is_foreign(const struct conf *conf, const char *name) {
    for (size_t i = 0; conf->foreign != NULL && conf->foreign[i] != NULL; i++) {
        const char *at = name + strlen(CONF_ENVIRONMENT_PREFIX);
        const char *word = conf->foreign[i];
        while (*word != '\0' && toupper((unsigned char)*word) == *at) {
            word++;
            at++;
        }
        if (*word == '\0' && *at == '_' && is_foreign(conf, conf->foreign[i])) {
            return true;
        }
    }
    return false;
}

static enum err refuse_variable(struct conf *conf, const char *name) {
    char best[CONF_NAME_BYTES] = "";
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < conf->row_count; i++) {
        char candidate[CONF_NAME_BYTES];
        environment_name(&conf->rows[i], candidate);
        size_t distance = conf_text_distance(name, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            (void)snprintf(best, sizeof(best), "%s", candidate);
        }
    }
    if (strstr(name, "_SERVICE_") != NULL || strstr(name, "_PORT") != NULL) {
        return refuse(conf,
                      "environment: unknown setting %.128s; if Kubernetes added it, set "
                      "enableServiceLinks: false",
                      name);
    }
    if (best_distance != SIZE_MAX && conf_text_near(name, best_distance)) {
        return refuse(conf, "environment: unknown setting %.128s; did you mean %s?", name, best);
    }
    return refuse(conf, "environment: unknown setting %.128s", name);
}

static enum err take_variable(struct conf *conf, const char *name, const char *text) {
    for (size_t i = 0; i < conf->row_count; i++) {
        char own[CONF_NAME_BYTES];
        environment_name(&conf->rows[i], own);
        if (strcmp(own, name) == 0) {
            return set_value(conf, i, text, ORIGIN_ENVIRONMENT, 0);
        }
    }
    return environment_is_foreign(conf, name) ? ERR_OK : refuse_variable(conf, name);
}

static enum err take_environment(struct conf *conf) {
    enum err error = ERR_OK;
    for (char **entry = environ; entry != NULL && *entry != NULL && error == ERR_OK; entry++) {
        const char *equals = strchr(*entry, '=');
        size_t prefix = strlen(CONF_ENVIRONMENT_PREFIX);
        if (equals == NULL || strncmp(*entry, CONF_ENVIRONMENT_PREFIX, prefix) != 0) {
            continue;
        }
        char name[CONF_NAME_BYTES];
        int length = snprintf(name, sizeof(name), "%.*s", (int)(equals - *entry), *entry);
        error = length > 0 && (size_t)length < sizeof(name)
                    ? take_variable(conf, name, equals + 1)
                    : refuse(conf, "environment: unknown setting %.128s", name);
    }
    return error;
}

/* --- from text to the struct */

static enum err read_secret(struct conf *conf, size_t index) {
    struct value *value = &conf->values[index];
    if (value->text[0] == '\0') { /* none: an empty secret */
        value->secret = mem_strdup("");
        return value->secret != NULL ? ERR_OK : ERR_NO_MEMORY;
    }
    char *text = NULL;
    enum err error = conf_text_read(value->text, CONF_SECRET_BYTES_MAX, &text);
    if (error == ERR_NO_MEMORY) {
        return error;
    }
    if (error != ERR_OK) {
        char origin[CONF_PROBLEM_BYTES / 2];
        describe_origin(conf, index, origin);
        return refuse(conf, "%s: cannot read %.200s: %s", origin, value->text, err_text(error));
    }
    text[strcspn(text, "\r\n")] = '\0';
    value->secret = mem_strdup(text);
    explicit_bzero(text, CONF_SECRET_BYTES_MAX);
    mem_free(text);
    return value->secret != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static enum err refuse_form(struct conf *conf, size_t index) {
    char origin[CONF_PROBLEM_BYTES / 2];
    describe_origin(conf, index, origin);
    return refuse(conf, "%s: \"%.64s\" is not %s", origin, conf->values[index].text,
                  conf_value_form(conf->rows[index].type));
}

static enum err read_number(struct conf *conf, size_t index, uint64_t *out) {
    const struct conf_row *row = &conf->rows[index];
    uint64_t least = 0;
    uint64_t most = UINT64_MAX;
    CONTRACT(row->unit_min == NULL ||
             conf_value_number(row->type, row->unit_min, &least) == ERR_OK);
    CONTRACT(row->unit_max == NULL || conf_value_number(row->type, row->unit_max, &most) == ERR_OK);
    uint64_t number = 0;
    if (conf_value_number(row->type, conf->values[index].text, &number) != ERR_OK) {
        return refuse_form(conf, index);
    }
    if (number < least || number > most) {
        char origin[CONF_PROBLEM_BYTES / 2];
        describe_origin(conf, index, origin);
        return refuse(conf, "%s: %.64s is out of range (%s to %s)", origin,
                      conf->values[index].text, row->unit_min != NULL ? row->unit_min : "0",
                      row->unit_max != NULL ? row->unit_max : "no limit");
    }
    *out = number;
    return ERR_OK;
}

static enum err apply(struct conf *conf, size_t index, void *settings) {
    const struct conf_row *row = &conf->rows[index];
    void *member = (char *)settings + row->offset;
    enum err error = ERR_OK;
    if (conf->values[index].text == NULL) {
        char name[CONF_NAME_BYTES];
        environment_name(row, name);
        return refuse(conf, "[%s] %s is required: set it in the configuration file or as %s",
                      row->section, row->key, name);
    }
    switch (row->type) {
    case CONF_TEXT:
        *(const char **)member = conf->values[index].text;
        break;
    case CONF_SECRET:
        error = read_secret(conf, index);
        *(const char **)member = conf->values[index].secret;
        break;
    case CONF_BOOL:
        error = conf_value_bool(conf->values[index].text, member);
        error = error == ERR_OK ? ERR_OK : refuse_form(conf, index);
        break;
    case CONF_UINT:
    case CONF_DURATION:
    case CONF_BYTES:
        error = read_number(conf, index, member);
        break;
    }
    return error;
}

enum err conf_load(const struct conf_row *rows, size_t row_count, const char *const *foreign,
                   const char *file, void *settings, struct conf **out, struct buf *problem) {
    struct conf *conf = mem_zalloc(1, sizeof(*conf) + row_count * sizeof(conf->values[0]));
    if (conf == NULL) {
        return ERR_NO_MEMORY;
    }
    conf->rows = rows;
    conf->row_count = row_count;
    conf->foreign = foreign;
    conf->problem = problem;
    enum err error = take_defaults(conf);
    if (error == ERR_OK && file != NULL) {
        conf->file = mem_strdup(file);
        error = conf->file != NULL ? take_file(conf) : ERR_NO_MEMORY;
    }
    if (error == ERR_OK) {
        error = take_environment(conf);
    }
    for (size_t i = 0; i < row_count && error == ERR_OK; i++) {
        error = apply(conf, i, settings);
    }
    conf->problem = NULL;
    if (error != ERR_OK) {
        conf_destroy(&conf);
        return error;
    }
    *out = conf;
    return ERR_OK;
}

void conf_destroy(struct conf **conf) {
    struct conf *old = *conf;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->row_count; i++) {
        mem_free(old->values[i].text);
        if (old->values[i].secret != NULL) {
            explicit_bzero(old->values[i].secret, strlen(old->values[i].secret));
            mem_free(old->values[i].secret);
        }
    }
    mem_free(old->file);
    mem_free(old);
    *conf = NULL;
}

/* --- output */

static enum err print_row(const struct conf *conf, size_t index, struct buf *out) {
    const struct conf_row *row = &conf->rows[index];
    const struct value *value = &conf->values[index];
    enum err error = ERR_OK;
    if (index == 0 || strcmp(conf->rows[index - 1].section, row->section) != 0) {
        error = buf_append_format(out, "%s[%s]\n", index == 0 ? "" : "\n", row->section);
    }
    if (error == ERR_OK) {
        error = buf_append_format(out, "%s = ", row->key);
    }
    if (error == ERR_OK) {
        error = redact_url(value->text, out); /* connection strings may hold a password */
    }
    if (error == ERR_OK) {
        error = buf_append_text(out, "  # ");
    }
    if (error != ERR_OK) {
        return error;
    }
    if (value->origin == ORIGIN_FILE) {
        return buf_append_format(out, "%s:%u\n", conf->file, value->line);
    }
    return buf_append_text(out,
                           value->origin == ORIGIN_ENVIRONMENT ? "environment\n" : "default\n");
}

enum err conf_print(const struct conf *conf, struct buf *out) {
    enum err error = ERR_OK;
    for (size_t i = 0; i < conf->row_count && error == ERR_OK; i++) {
        error = print_row(conf, i, out);
    }
    return error;
}

static enum err describe_row(const struct conf_row *row, struct buf *out) {
    char name[CONF_NAME_BYTES];
    environment_name(row, name);
    enum err error = buf_append_format(out, "| `[%s] %s` | `%s` | %s | ", row->section, row->key,
                                       name, conf_value_type_name(row->type));
    if (error == ERR_OK && row->fallback == NULL) {
        error = buf_append_text(out, "required | ");
    } else if (error == ERR_OK) {
        error = row->fallback[0] != '\0' ? buf_append_format(out, "`%s` | ", row->fallback)
                                         : buf_append_text(out, "empty | ");
    }
    if (error == ERR_OK && (row->unit_min != NULL || row->unit_max != NULL)) {
        error = buf_append_format(out, "%s to %s", row->unit_min != NULL ? row->unit_min : "0",
                                  row->unit_max != NULL ? row->unit_max : "any");
    }
    return error == ERR_OK ? buf_append_format(out, " | %s |\n", row->help) : error;
}

enum err conf_describe(const struct conf_row *rows, size_t row_count, struct buf *out) {
    enum err error =
        buf_append_text(out, "| Setting | Environment | Type | Default | Range | Meaning |\n"
                             "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < row_count && error == ERR_OK; i++) {
        error = describe_row(&rows[i], out);
    }
    return error;
}
