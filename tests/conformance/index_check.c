/* index_check: reads a filter into conditions, field by field, and tries each index. An index
 * serves when
 *   - equality, or without a sort a list ($in), fixes its leading keys,
 *   - the sort's keys, those of one value left out, follow in order and in one direction,
 *   - the other conditions are ranges, of keys of the sort or of the one behind it;
 * or when equality and lists fix every key of a unique index: then there are no more documents than
 * places in the lists, and neither a sort in memory nor a further condition costs anything.
 * A filter without conditions needs a limit, and an index for its sort. $or is served when each of
 * its branches is, taken with the conditions beside it. */
#include "tests/conformance/index_check.h"

#include <stdio.h>
#include <string.h>

#define CONDITIONS_MAX 32
#define BRANCHES_MAX 8
#define FIELD_BYTES 64

enum kind { KIND_EQUAL, KIND_LIST, KIND_RANGE, KIND_OTHER };

struct condition {
    char field[FIELD_BYTES];
    enum kind kind;
};
struct conditions {
    size_t count;
    struct condition items[CONDITIONS_MAX];
    size_t branch_count;
    bson_t branches[BRANCHES_MAX]; /* of one $or; views of the filter */
    const char *refused;           /* something this check cannot judge */
};

/* --- reading the filter */

static const struct condition *condition_of(const struct conditions *conditions,
                                            const char *field) {
    for (size_t i = 0; i < conditions->count; i++) {
        if (strcmp(conditions->items[i].field, field) == 0) {
            return &conditions->items[i];
        }
    }
    return NULL;
}

/* Two conditions on one field: equality outweighs a list, a list a range. */
static void add(struct conditions *conditions, const char *field, enum kind kind) {
    struct condition *known = (struct condition *)condition_of(conditions, field);
    if (known != NULL) {
        known->kind = kind < known->kind ? kind : known->kind;
        return;
    }
    if (conditions->count == CONDITIONS_MAX || strlen(field) >= FIELD_BYTES) {
        conditions->refused = "too many conditions or too long a field";
        return;
    }
    struct condition *fresh = &conditions->items[conditions->count++];
    (void)snprintf(fresh->field, sizeof(fresh->field), "%s", field);
    fresh->kind = kind;
}

static enum kind kind_of(const char *operator) {
    static const struct {
        const char *name;
        enum kind kind;
    } known[] = {{"$eq", KIND_EQUAL},  {"$in", KIND_LIST},  {"$gt", KIND_RANGE},
                 {"$gte", KIND_RANGE}, {"$lt", KIND_RANGE}, {"$lte", KIND_RANGE}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, operator) == 0) {
            return known[i].kind;
        }
    }
    return KIND_OTHER;
}

/* Not to be copied afterwards: a bson_t points into itself. */
static bool view(const bson_iter_t *value, bson_t *out) {
    const uint8_t *bytes = NULL;
    uint32_t length = 0;
    if (BSON_ITER_HOLDS_DOCUMENT(value)) {
        bson_iter_document(value, &length, &bytes);
    }
    return bytes != NULL && bson_init_static(out, bytes, length);
}

static void read_filter(struct conditions *conditions, const bson_t *filter);

static void read_value(struct conditions *conditions, const char *field, const bson_iter_t *value) {
    bson_iter_t operator;
    if (BSON_ITER_HOLDS_REGEX(value)) {
        add(conditions, field, KIND_OTHER);
        return;
    }
    if (!BSON_ITER_HOLDS_DOCUMENT(value) || !bson_iter_recurse(value, &operator) ||
        !bson_iter_next(&operator) || bson_iter_key(&operator)[0] != '$') {
        add(conditions, field, KIND_EQUAL); /* a plain value or a whole document */
        return;
    }
    do {
        add(conditions, field, kind_of(bson_iter_key(&operator)));
    } while (bson_iter_next(&operator));
}

/* $and is the same as its parts beside each other; one $or is kept for later. */
static void read_logic(struct conditions *conditions, const char *operator,
                       const bson_iter_t * value) {
    bson_iter_t part;
    bool any = strcmp(operator, "$or") == 0;
    if ((!any && strcmp(operator, "$and") != 0) || !BSON_ITER_HOLDS_ARRAY(value) ||
        !bson_iter_recurse(value, &part) || (any && conditions->branch_count > 0)) {
        conditions->refused = "an operator that this check does not know";
        return;
    }
    while (bson_iter_next(&part)) {
        bson_t both;
        bson_t *inner = any ? &conditions->branches[conditions->branch_count] : &both;
        if (conditions->branch_count == BRANCHES_MAX || !view(&part, inner)) {
            conditions->refused = "more branches than this check knows";
            return;
        }
        if (any) {
            conditions->branch_count++;
        } else {
            read_filter(conditions, inner);
        }
    }
}

static void read_filter(struct conditions *conditions, const bson_t *filter) {
    bson_iter_t at;
    if (!bson_iter_init(&at, filter)) {
        conditions->refused = "not a document";
        return;
    }
    while (bson_iter_next(&at)) {
        const char *key = bson_iter_key(&at);
        if (key[0] == '$') {
            read_logic(conditions, key, &at);
        } else {
            read_value(conditions, key, &at);
        }
    }
}

/* --- trying an index */

struct sorting {
    size_t count;
    const char *fields[INDEX_KEYS_MAX];
    bool mixed; /* directions differ: no ascending index serves that */
};

static bool read_sort(const bson_t *sort, struct sorting *out) {
    bson_iter_t at;
    *out = (struct sorting){0};
    int64_t first = 0;
    if (sort == NULL || !bson_iter_init(&at, sort)) {
        return true;
    }
    while (bson_iter_next(&at)) {
        int64_t direction = bson_iter_as_int64(&at);
        if (out->count == INDEX_KEYS_MAX || (direction != 1 && direction != -1)) {
            return false;
        }
        first = first == 0 ? direction : first;
        out->mixed = out->mixed || direction != first;
        out->fields[out->count++] = bson_iter_key(&at);
    }
    return true;
}

static size_t key_count(const struct index_shape *index) {
    size_t count = 0;
    while (count < INDEX_KEYS_MAX && index->keys[count] != NULL) {
        count++;
    }
    return count;
}

static bool is_kind(const struct conditions *conditions, const char *field, enum kind kind) {
    const struct condition *condition = condition_of(conditions, field);
    return condition != NULL && condition->kind == kind;
}

/* A few documents at most: every key of a unique index is one value or a list of values. */
static bool fixes(const struct conditions *conditions, const struct index_shape *index) {
    size_t keys = key_count(index);
    for (size_t i = 0; i < keys; i++) {
        if (!is_kind(conditions, index->keys[i], KIND_EQUAL) &&
            !is_kind(conditions, index->keys[i], KIND_LIST)) {
            return false;
        }
    }
    return index->unique;
}

static size_t place_of(const struct index_shape *index, const char *field) {
    size_t keys = key_count(index);
    size_t place = 0;
    while (place < keys && strcmp(index->keys[place], field) != 0) {
        place++;
    }
    return place < keys ? place : INDEX_KEYS_MAX;
}

/* Every condition bounds the scan: those on the first `fixed` keys, and ranges up to key `at`. */
static bool covers(const struct conditions *conditions, const struct index_shape *index,
                   size_t fixed, size_t at) {
    for (size_t i = 0; i < conditions->count; i++) {
        size_t place = place_of(index, conditions->items[i].field);
        bool range = conditions->items[i].kind == KIND_RANGE;
        if (!(place < fixed || (range && place <= at))) {
            return false;
        }
    }
    return true;
}

/* Sort keys, those of one value left out, are the index's next keys. *at moves behind them. */
static bool orders(const struct conditions *conditions, const struct index_shape *index,
                   const struct sorting *sort, size_t *at) {
    size_t keys = key_count(index);
    if (sort->mixed) {
        return false;
    }
    for (size_t i = 0; i < sort->count; i++) {
        if (is_kind(conditions, sort->fields[i], KIND_EQUAL)) {
            continue;
        }
        if (*at == keys || strcmp(index->keys[*at], sort->fields[i]) != 0) {
            return false;
        }
        (*at)++;
    }
    return true;
}

static bool serves(const struct conditions *conditions, const struct index_shape *index,
                   const struct sorting *sort, bool bounded) {
    if (fixes(conditions, index)) {
        return true;
    }
    if (conditions->branch_count > 0) {
        return false;
    }
    size_t keys = key_count(index);
    size_t fixed = 0;
    while (fixed < keys &&
           (is_kind(conditions, index->keys[fixed], KIND_EQUAL) ||
            (sort->count == 0 && is_kind(conditions, index->keys[fixed], KIND_LIST)))) {
        fixed++;
    }
    size_t at = fixed;
    if (!orders(conditions, index, sort, &at)) {
        return false;
    }
    if (conditions->count == 0) {
        return bounded && (sort->count == 0 || at > 0);
    }
    bool narrow = fixed > 0 || is_kind(conditions, index->keys[0], KIND_RANGE);
    return narrow && covers(conditions, index, fixed, at);
}

/* --- the answer */

bool index_check(const struct index_query *query, const struct index_shape *indexes, size_t count,
                 char *reason, size_t reason_bytes) {
    static const struct index_shape id = {.keys = {"_id"}, .unique = true};
    struct conditions conditions = {0};
    struct sorting sort;
    if (query->filter != NULL) {
        read_filter(&conditions, query->filter);
    }
    if (!read_sort(query->sort, &sort)) {
        conditions.refused = "a sort that this check does not know";
    }
    if (conditions.refused != NULL) {
        (void)snprintf(reason, reason_bytes, "%s", conditions.refused);
        return false;
    }
    if (serves(&conditions, &id, &sort, query->bounded)) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (serves(&conditions, &indexes[i], &sort, query->bounded)) {
            return true;
        }
    }
    for (size_t i = 0; i < conditions.branch_count; i++) {
        bson_t *whole = bson_copy(&conditions.branches[i]);
        bson_t rest = BSON_INITIALIZER;
        bson_copy_to_excluding_noinit(query->filter, &rest, "$or", NULL);
        bson_concat(whole, &rest);
        struct index_query branch = {whole, query->sort, query->bounded};
        bool served = index_check(&branch, indexes, count, reason, reason_bytes);
        bson_destroy(&rest);
        bson_destroy(whole);
        if (!served) {
            return false;
        }
    }
    if (conditions.branch_count > 0) {
        return true;
    }
    (void)snprintf(reason, reason_bytes, "no index serves it");
    return false;
}
