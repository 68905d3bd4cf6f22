/* err: names and properties of the one error type, generated from err.def.
 *
 * The table is indexed by the stable number, so a lookup is one bounds check. The enum's names are
 * upper case and the wire's are lower case; writing both in err.def would let them drift apart, so
 * the lower-case forms are derived once, at the first use. A number outside the table comes from a
 * newer peer during a rolling update: it reads as "unknown", status 500, not retryable, because a
 * sender that cannot know the meaning must not repeat the request for ever. */
#include "common/err.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#define ERR_NAME_BYTES 24

struct err_row {
    const char *name;
    const char *text;
    int http_status;
    bool retryable;
};

static const struct err_row rows[] = {
#define ERR_ROW(name, number, text, http, retryable) [number] = {#name, text, http, retryable},
#include "common/err.def"
#undef ERR_ROW
};
#define ERR_COUNT (sizeof(rows) / sizeof(rows[0]))

static char lower_names[ERR_COUNT][ERR_NAME_BYTES];
static pthread_once_t lower_once = PTHREAD_ONCE_INIT;

static void make_lower_names(void) {
    for (size_t i = 0; i < ERR_COUNT; i++) {
        const char *name = rows[i].name;
        for (size_t j = 0; name != NULL && name[j] != '\0' && j + 1 < ERR_NAME_BYTES; j++) {
            lower_names[i][j] = (char)tolower((unsigned char)name[j]);
        }
    }
}

static const struct err_row *find(enum err error) {
    size_t number = (size_t)error;
    return number < ERR_COUNT && rows[number].name != NULL ? &rows[number] : NULL;
}

const char *err_name(enum err error) {
    const struct err_row *row = find(error);
    if (row == NULL) {
        return "unknown";
    }
    (void)pthread_once(&lower_once, make_lower_names); /* cannot fail with a valid control */
    return lower_names[row - rows];
}

const char *err_text(enum err error) {
    const struct err_row *row = find(error);
    return row != NULL ? row->text : "unknown error";
}

int err_http_status(enum err error) {
    const struct err_row *row = find(error);
    return row != NULL ? row->http_status : 500;
}

bool err_retryable(enum err error) {
    const struct err_row *row = find(error);
    return row != NULL && row->retryable;
}

enum err err_from_errno(int errno_value) {
    switch (errno_value) {
    case ENOMEM:
        return ERR_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}
