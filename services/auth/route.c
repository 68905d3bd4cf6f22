/* route: a linear walk over some fifty templates, segment by segment; a request costs a few hundred
 * byte comparisons, nothing beside the storage call that follows. A literal segment wins over a
 * parameter because the table lists it first ("/v1/me/..." has no rival today). */
#include "services/auth/route.h"

#include <string.h>

/* The next segment of *at, without its slash; false at the end or when the path is malformed. */
static bool next_segment(const char **at, const char **segment, size_t *bytes) {
    if (**at != '/') {
        return false;
    }
    *segment = *at + 1;
    *bytes = strcspn(*segment, "/");
    *at = *segment + *bytes;
    return true;
}

static bool path_matches(const char *pattern, const char *path, struct route_match *match) {
    size_t params = 0;
    while (*pattern != '\0') {
        const char *want = NULL;
        const char *have = NULL;
        size_t want_bytes = 0;
        size_t have_bytes = 0;
        if (!next_segment(&pattern, &want, &want_bytes) ||
            !next_segment(&path, &have, &have_bytes)) {
            return false;
        }
        if (want[0] != '{') {
            if (want_bytes != have_bytes || memcmp(want, have, want_bytes) != 0) {
                return false;
            }
        } else if (have_bytes == 0 || have_bytes >= ROUTE_PARAM_BYTES ||
                   params == ROUTE_PARAMS_MAX) {
            return false;
        } else {
            memcpy(match->params[params], have, have_bytes);
            match->params[params][have_bytes] = '\0';
            params++;
        }
    }
    return *path == '\0';
}

enum err route_find(const char *method, const char *path, struct route_match *match,
                    char allow[ROUTE_ALLOW_BYTES]) {
    size_t used = 0;
    allow[0] = '\0';
    for (size_t i = 0; i < route_count; i++) {
        if (!path_matches(routes[i].path, path, match)) {
            continue;
        }
        if (strcmp(routes[i].method, method) == 0) {
            match->index = i;
            return ERR_OK;
        }
        size_t length = strlen(routes[i].method);
        if (used + length + 3 <= ROUTE_ALLOW_BYTES) {
            if (used > 0) {
                memcpy(allow + used, ", ", 2);
                used += 2;
            }
            memcpy(allow + used, routes[i].method, length + 1);
            used += length;
        }
    }
    return used > 0 ? ERR_UNSUPPORTED : ERR_NOT_FOUND;
}

enum err route_describe(struct buf *out) {
    static const char *const access[] = {"public", "user", "admin"};
    for (size_t i = 0; i < route_count; i++) {
        enum err error = buf_append_format(out, "%s %s %s\n", routes[i].method, routes[i].path,
                                           access[routes[i].access]);
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}
