/* conf_value: reads settings' values.
 *
 * A setting that means something else than its writer thought is worse than a refused start, so
 * each type has one notation with a visible unit ("15s", never "15") and everything else is
 * refused. The multiplication by the unit is checked: a value that does not fit 64 bits is an
 * error, not a small number. strtoull is not used because it accepts signs, leading space and other
 * bases. */
#include "common/conf_value.h"

#include "common/contract.h"
#include <string.h>
#include <strings.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"us", 1u},       {"ms", 1000u},      {"s", 1000000u},
    {"m", 60000000u}, {"h", 3600000000u}, {"d", 86400000000u},
};
static const struct unit byte_units[] = {
    {"", 1u}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};

/* Reads leading digits; *rest is behind them. */
static enum err read_digits(const char *text, uint64_t *value, const char **rest) {
    uint64_t sum = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*at - '0'), &sum)) {
            return ERR_INVALID;
        }
    }
    if (at == text) {
        return ERR_INVALID;
    }
    *value = sum;
    *rest = at;
    return ERR_OK;
}

static enum err read_with_unit(const char *text, const struct unit *units, size_t unit_count,
                               uint64_t *out) {
    uint64_t value = 0;
    const char *suffix = NULL;
    if (read_digits(text, &value, &suffix) != ERR_OK) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(suffix, units[i].suffix) == 0) {
            return __builtin_mul_overflow(value, units[i].factor, out) ? ERR_INVALID : ERR_OK;
        }
    }
    return ERR_INVALID;
}

enum err conf_value_uint(const char *text, uint64_t *out) {
    uint64_t value = 0;
    const char *rest = NULL;
    if (read_digits(text, &value, &rest) != ERR_OK || *rest != '\0') {
        return ERR_INVALID;
    }
    *out = value;
    return ERR_OK;
}

enum err conf_value_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

enum err conf_value_duration(const char *text, uint64_t *out) {
    if (strcmp(text, "0") == 0) {
        *out = 0;
        return ERR_OK;
    }
    uint64_t value = 0;
    enum err error = read_with_unit(text, duration_units,
                                    sizeof(duration_units) / sizeof(duration_units[0]), &value);
    if (error == ERR_OK) {
        *out = value;
    }
    return error;
}

enum err conf_value_bytes(const char *text, uint64_t *out) {
    uint64_t value = 0;
    enum err error =
        read_with_unit(text, byte_units, sizeof(byte_units) / sizeof(byte_units[0]), &value);
    if (error == ERR_OK) {
        *out = value;
    }
    return error;
}

enum err conf_value_number(enum conf_type type, const char *text, uint64_t *out) {
    switch (type) {
    case CONF_UINT:
        return conf_value_uint(text, out);
    case CONF_DURATION:
        return conf_value_duration(text, out);
    case CONF_BYTES:
        return conf_value_bytes(text, out);
    case CONF_TEXT:
    case CONF_BOOL:
    case CONF_SECRET:
        break;
    }
    contract_failed("conf_value_number needs a numeric type", __FILE__, __LINE__);
}

const char *conf_value_form(enum conf_type type) {
    switch (type) {
    case CONF_UINT:
        return "a whole number";
    case CONF_BOOL:
        return "a switch (true, false, yes, no, on, off, 1, 0)";
    case CONF_DURATION:
        return "a duration (500us, 20ms, 15s, 10m, 24h, 60d)";
    case CONF_BYTES:
        return "a size (512, 16KiB, 64MiB, 2GiB)";
    case CONF_TEXT:
        return "a text";
    case CONF_SECRET:
        return "a readable file";
    }
    return "a value";
}

const char *conf_value_type_name(enum conf_type type) {
    switch (type) {
    case CONF_UINT:
        return "number";
    case CONF_BOOL:
        return "switch";
    case CONF_DURATION:
        return "duration";
    case CONF_BYTES:
        return "size";
    case CONF_TEXT:
        return "text";
    case CONF_SECRET:
        return "secret file";
    }
    return "value";
}
