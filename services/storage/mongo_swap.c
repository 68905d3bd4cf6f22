/* mongo_swap: compare and swap.
 *
 * A change reads its document, decides, and writes with a filter that names the revision it read.
 * Whoever comes second matches nothing, reads again and decides anew, so any number of storage
 * processes may change the same conversation or invite without a transaction. An update whose
 * answer was lost may have happened: the caller reports UNAVAILABLE, and the repeated request finds
 * its change done.
 *
 * The locks below are not needed for that: they make one process correct over a server whose
 * updates read and write in two steps (FerretDB, in tests). Hashed onto 64 of them, two documents
 * seldom share one; nobody holds two, so there is no order to get wrong. */
#include "services/storage/mongo_swap.h"

#include "common/contract.h"
#include <pthread.h>

#define STRIPES 64u

static pthread_mutex_t stripes[STRIPES];
static pthread_once_t stripes_once = PTHREAD_ONCE_INIT;

static void make_stripes(void) {
    for (size_t i = 0; i < STRIPES; i++) {
        CONTRACT(pthread_mutex_init(&stripes[i], NULL) == 0);
    }
}

/* FNV-1a: ids are short, and nobody gains by making two of them wait for each other. */
static pthread_mutex_t *stripe_of(const char *id) {
    uint32_t hash = 2166136261u;
    for (const char *byte = id; *byte != '\0'; byte++) {
        hash = (hash ^ (uint8_t)*byte) * 16777619u;
    }
    return &stripes[hash % STRIPES];
}

void mongo_swap_lock(const char *id) {
    CONTRACT(pthread_once(&stripes_once, make_stripes) == 0);
    CONTRACT(pthread_mutex_lock(stripe_of(id)) == 0);
}

void mongo_swap_unlock(const char *id) {
    CONTRACT(pthread_mutex_unlock(stripe_of(id)) == 0);
}

static void make_filter(bson_t *filter, const char *id, uint64_t rev, const bson_t *guard) {
    bson_init(filter);
    BSON_APPEND_UTF8(filter, "_id", id);
    if (rev == 0) {
        BSON_APPEND_NULL(filter, MONGO_REV); /* matches a missing field */
    } else {
        BSON_APPEND_INT64(filter, MONGO_REV, (int64_t)rev);
    }
    if (guard != NULL) {
        bson_concat(filter, guard);
    }
}

enum err mongo_swap(struct mongo_session *session, enum mongo_collection collection, const char *id,
                    uint64_t rev, const bson_t *guard, const bson_t *fields, bool *lost) {
    bson_t filter;
    bson_t update = BSON_INITIALIZER;
    bson_t set;
    make_filter(&filter, id, rev, guard);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    bson_concat(&set, fields);
    BSON_APPEND_INT64(&set, MONGO_REV, (int64_t)rev + 1);
    bson_append_document_end(&update, &set);
    struct mongo_update change = {.filter = &filter, .update = &update};
    size_t matched = 0;
    mongo_swap_lock(id);
    enum err error = mongo_update(session, collection, &change, 1, &matched);
    mongo_swap_unlock(id);
    *lost = error == ERR_OK && matched == 0;
    bson_destroy(&update);
    bson_destroy(&filter);
    return error;
}

enum err mongo_swap_delete(struct mongo_session *session, enum mongo_collection collection,
                           const char *id, uint64_t rev, const bson_t *guard, bool *lost) {
    bson_t filter;
    make_filter(&filter, id, rev, guard);
    size_t deleted = 0;
    mongo_swap_lock(id);
    enum err error = mongo_delete(session, collection, &filter, &deleted);
    mongo_swap_unlock(id);
    *lost = error == ERR_OK && deleted == 0;
    bson_destroy(&filter);
    return error;
}
