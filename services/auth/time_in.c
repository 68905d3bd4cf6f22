/* time_in: the inverse of clock_format_rfc3339, written out because strptime reads locales and
 * white space. Days since 1970 by the civil-calendar formula: years begin in March there, so the
 * leap day is the last of its year. */
#include "services/auth/time_in.h"

#include <stddef.h>
#include <string.h>

static bool digits(const char **at, size_t count, uint32_t *number) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)((*at)[i] - '0');
    }
    *at += count;
    *number = value;
    return true;
}

static bool literal(const char **at, char expected) {
    if (**at != expected) {
        return false;
    }
    (*at)++;
    return true;
}

static bool date_exists(uint32_t year, uint32_t month, uint32_t day) {
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    return day <= lengths[month - 1] + (uint32_t)(leap && month == 2);
}

static uint64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day) {
    uint64_t y = month <= 2 ? year - 1 : year;
    uint64_t era = y / 400;
    uint64_t of_era = y - era * 400;
    uint64_t of_year = (153u * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool fraction(const char **at, uint32_t *ms) {
    uint32_t scale = 100;
    size_t count = strspn(*at, "0123456789");
    *ms = 0;
    for (size_t i = 0; i < count && i < 3; i++) {
        *ms += (uint32_t)((*at)[i] - '0') * scale;
        scale /= 10;
    }
    *at += count;
    return count >= 1 && count <= 9;
}

enum err time_in_parse(const char *text, uint64_t *wall_ms) {
    uint32_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, ms = 0;
    const char *at = text;
    if (!digits(&at, 4, &year) || !literal(&at, '-') || !digits(&at, 2, &month) ||
        !literal(&at, '-') || !digits(&at, 2, &day) || !literal(&at, 'T') ||
        !digits(&at, 2, &hour) || !literal(&at, ':') || !digits(&at, 2, &minute) ||
        !literal(&at, ':') || !digits(&at, 2, &second)) {
        return ERR_INVALID;
    }
    if (*at == '.' && (at++, !fraction(&at, &ms))) {
        return ERR_INVALID;
    }
    if (!literal(&at, 'Z') || *at != '\0' || !date_exists(year, month, day) || hour > 23 ||
        minute > 59 || second > 59) {
        return ERR_INVALID;
    }
    *wall_ms =
        (days_since_1970(year, month, day) * 86400 + hour * 3600u + minute * 60u + second) * 1000 +
        ms;
    return ERR_OK;
}
