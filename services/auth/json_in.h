/* json_in: request bodies. Strict JSON, then fields by name: a field nobody knows is refused by
 * name, so a typing error in a script shows at once. Every function returns false with *problem set
 * (400 for what is no JSON, 422 for a field that does not fit). */
#ifndef PIPIT_AUTH_JSON_IN_H
#define PIPIT_AUTH_JSON_IN_H

#include "services/auth/problem.h"

/* jansson's; not included here because its names clash with those of proto/json_reader.h. */
struct json_t;

/* Parses bytes[count] into an object that the caller releases with json_decref. No bytes is the
 * empty object. Refused: anything but an object, duplicate keys, nesting beyond LIMIT_JSON_DEPTH,
 * invalid UTF-8, U+0000. */
bool json_in_parse(const uint8_t *bytes, size_t count, struct json_t **object,
                   struct problem *problem) MUST_CHECK;
/* All members of the object are listed in names (NULL-terminated). */
bool json_in_known(const struct json_t *object, const char *const *names,
                   struct problem *problem) MUST_CHECK;

enum json_in_need { JSON_IN_OPTIONAL, JSON_IN_REQUIRED };
/* A string of at most bytes_max bytes, borrowed from the object. Absent and optional: *text is
 * left alone. */
bool json_in_text(const struct json_t *object, const char *name, enum json_in_need need,
                  size_t bytes_max, const char **text, struct problem *problem) MUST_CHECK;
/* An integer within min..max. *present may be NULL. */
bool json_in_u64(const struct json_t *object, const char *name, enum json_in_need need,
                 uint64_t min, uint64_t max, uint64_t *number, bool *present,
                 struct problem *problem) MUST_CHECK;
bool json_in_bool(const struct json_t *object, const char *name, enum json_in_need need, bool *flag,
                  bool *present, struct problem *problem) MUST_CHECK;
/* An object, borrowed; NULL when absent and optional. */
bool json_in_object(const struct json_t *object, const char *name, enum json_in_need need,
                    const struct json_t **member, struct problem *problem) MUST_CHECK;

#endif
