/* json_in: jansson made strict. Jansson refuses bad UTF-8, lone surrogates, U+0000 and, told so,
 * duplicate keys and trailing bytes; it allows 2,048 levels by recursion, so the depth is checked
 * over the raw bytes first. Text lengths are bounded by the caller of each field; the body as a
 * whole was bounded when it came in. Values are never quoted in details: they may be secrets. */
#include "services/auth/json_in.h"

#include "proto/limits.h"
#include <jansson.h>
#include <string.h>

#define JSON_IN_INVALID 422 /* Source: RFC 9110 section 15.5.21 */

/* Counts brackets outside strings; broken JSON may give any answer, the parser refuses it later. */
static bool too_deep(const uint8_t *bytes, size_t count) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < count; i++) {
        if (in_string) {
            in_string = bytes[i] != '"';
            i += bytes[i] == '\\' ? 1 : 0;
        } else if (bytes[i] == '"') {
            in_string = true;
        } else if (bytes[i] == '{' || bytes[i] == '[') {
            if (++depth > LIMIT_JSON_DEPTH) {
                return true;
            }
        } else if ((bytes[i] == '}' || bytes[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

bool json_in_parse(const uint8_t *bytes, size_t count, json_t **object, struct problem *problem) {
    json_error_t error;
    if (too_deep(bytes, count)) {
        return problem_set(problem, REASON_MALFORMED, 0,
                           "The JSON is nested deeper than %d levels.", LIMIT_JSON_DEPTH);
    }
    json_t *root = count > 0
                       ? json_loadb((const char *)bytes, count, JSON_REJECT_DUPLICATES, &error)
                       : json_object();
    if (root == NULL) {
        if (count == 0 || json_error_code(&error) == json_error_out_of_memory) {
            return problem_set_err(problem, ERR_NO_MEMORY);
        }
        return problem_set(problem, REASON_MALFORMED, 0, "The body is not valid JSON (line %d).",
                           error.line);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return problem_set(problem, REASON_MALFORMED, 0, "The body must be a JSON object.");
    }
    *object = root;
    return true;
}

bool json_in_known(const json_t *object, const char *const *names, struct problem *problem) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value) {
        bool known = false;
        for (size_t i = 0; names[i] != NULL && !known; i++) {
            known = strcmp(names[i], key) == 0;
        }
        if (!known) {
            return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID,
                               "Unknown field \"%.64s\".", key);
        }
    }
    return true;
}

/* Finds the member; *value stays NULL when it is absent and may be. */
static bool find(const json_t *object, const char *name, enum json_in_need need,
                 const json_t **value, struct problem *problem) {
    *value = json_object_get(object, name);
    if (*value == NULL && need == JSON_IN_REQUIRED) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID, "\"%s\" is missing.", name);
    }
    return true;
}

bool json_in_text(const json_t *object, const char *name, enum json_in_need need, size_t bytes_max,
                  const char **text, struct problem *problem) {
    const json_t *value = NULL;
    if (!find(object, name, need, &value, problem)) {
        return false;
    }
    if (value == NULL) {
        return true;
    }
    if (!json_is_string(value)) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID, "\"%s\" must be a string.",
                           name);
    }
    if (json_string_length(value) > bytes_max) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID,
                           "\"%s\" is longer than %zu bytes.", name, bytes_max);
    }
    *text = json_string_value(value);
    return true;
}

bool json_in_u64(const json_t *object, const char *name, enum json_in_need need, uint64_t min,
                 uint64_t max, uint64_t *number, bool *present, struct problem *problem) {
    const json_t *value = NULL;
    if (!find(object, name, need, &value, problem)) {
        return false;
    }
    if (present != NULL) {
        *present = value != NULL;
    }
    if (value == NULL) {
        return true;
    }
    json_int_t read = json_is_integer(value) ? json_integer_value(value) : -1;
    if (read < 0 || (uint64_t)read < min || (uint64_t)read > max) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID,
                           "\"%s\" must be an integer from %llu to %llu.", name,
                           (unsigned long long)min, (unsigned long long)max);
    }
    *number = (uint64_t)read;
    return true;
}

bool json_in_bool(const json_t *object, const char *name, enum json_in_need need, bool *flag,
                  bool *present, struct problem *problem) {
    const json_t *value = NULL;
    if (!find(object, name, need, &value, problem)) {
        return false;
    }
    if (present != NULL) {
        *present = value != NULL;
    }
    if (value == NULL) {
        return true;
    }
    if (!json_is_boolean(value)) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID,
                           "\"%s\" must be true or false.", name);
    }
    *flag = json_is_true(value);
    return true;
}

bool json_in_object(const json_t *object, const char *name, enum json_in_need need,
                    const json_t **member, struct problem *problem) {
    const json_t *value = NULL;
    if (!find(object, name, need, &value, problem)) {
        return false;
    }
    if (value != NULL && !json_is_object(value)) {
        return problem_set(problem, REASON_MALFORMED, JSON_IN_INVALID, "\"%s\" must be an object.",
                           name);
    }
    *member = value;
    return true;
}
