/* redact: how settings that may hold a password are shown. */
#ifndef PIPIT_COMMON_REDACT_H
#define PIPIT_COMMON_REDACT_H

#include "common/buf.h"

/* Appends the text, but of an URL ("scheme://...") with asterisks for user, password and options;
 * anything else as it is. Where it is not clear what belongs to a password, more is hidden. Errors
 * as buf_append; a part may have been appended then. */
enum err redact_url(const char *text, struct buf *out) MUST_CHECK;

#endif
