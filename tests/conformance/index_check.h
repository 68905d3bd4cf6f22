/* index_check: can an index serve this filter and this sort, so that the work of a command does not
 * grow with the collection? FerretDB, which the suite runs against, scans whatever it is asked;
 * MongoDB would answer the same, only ever more slowly, and no test would notice. So the rule of
 * indexing is applied to what was sent: equality fields first, then the sort, then a range. */
#ifndef PIPIT_TESTS_CONFORMANCE_INDEX_CHECK_H
#define PIPIT_TESTS_CONFORMANCE_INDEX_CHECK_H

#include <bson/bson.h>
#include <stdbool.h>
#include <stddef.h>

#define INDEX_KEYS_MAX 4
struct index_shape {
    const char *keys[INDEX_KEYS_MAX]; /* ascending; NULL after the last */
    bool unique;
};
struct index_query {
    const bson_t *filter; /* may be NULL: all documents */
    const bson_t *sort;   /* may be NULL or empty */
    bool bounded;         /* a limit, or a count without filter: reading from the start is fine */
};
/* The _id index is always there and not in `indexes`. False: reason says what no index serves. */
bool index_check(const struct index_query *query, const struct index_shape *indexes, size_t count,
                 char *reason, size_t reason_bytes);

#endif
