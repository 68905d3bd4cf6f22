/* redact: hiding the credentials of URLs in printed settings, logs and problem lines.
 *
 * People write passwords with an unescaped '@', '/' or '?' in them. So the user's part ends at the
 * LAST '@' of the whole text, and when that stands behind the first '?', which may then belong to
 * the password or the '@' to an option, everything is hidden. Options are hidden, too: some hold
 * passwords of key files. */
#include "common/redact.h"

#include <string.h>

#define HIDDEN "***"

enum err redact_url(const char *text, struct buf *out) {
    const char *place = strstr(text, "://");
    if (place == NULL) {
        return buf_append_text(out, text);
    }
    place += 3;
    enum err error = buf_append(out, text, (size_t)(place - text));
    const char *at = strrchr(place, '@');
    const char *end = place + strcspn(place, "?");
    if (error == ERR_OK && at != NULL) {
        error = buf_append_text(out, HIDDEN);
        place = at;
    }
    if (error == ERR_OK && place < end) {
        error = buf_append(out, place, (size_t)(end - place));
    }
    if (error == ERR_OK && end[0] == '?' && place < end) {
        error = buf_append_text(out, "?" HIDDEN);
    }
    return error;
}
