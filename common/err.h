/* err: the one error type of Pipit. Every fallible function returns `enum err` and is must-check;
 * errno, SQLite and nng codes are translated in the file that wraps them. The table is err.def. */
#ifndef PIPIT_COMMON_ERR_H
#define PIPIT_COMMON_ERR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
#define ERR_ROW(name, number, text, http, retryable) ERR_##name = (number),
#include "common/err.def"
#undef ERR_ROW
};

/* Stable lower-case name ("no_space") for logs, metrics labels and JSON codes; "unknown" for a
 * number that is not in the table (a newer peer's). Never NULL. Any thread. */
const char *err_name(enum err error);
/* One English sentence without a full stop. Never NULL. Any thread. */
const char *err_text(enum err error);
/* HTTP status for the error; 500 when unknown. */
int err_http_status(enum err error);
/* True when the same request may succeed later (the sender keeps its message id). */
bool err_retryable(enum err error);
/* Translates errno: ENOMEM, ENOSPC/EDQUOT, EACCES/EPERM, ENOENT, EEXIST, ETIMEDOUT; else ERR_IO. */
enum err err_from_errno(int errno_value);
/* A deliberate ignore of a must-check result, which GCC does not let (void) express; the reason
 * stands beside it in a comment. */
static inline void err_ignore(enum err error) {
    (void)error;
}

#endif
