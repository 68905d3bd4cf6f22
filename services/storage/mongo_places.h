/* mongo_places: where in the caller's list an id stands: answers of one command over many ids come
 * back in the server's order. */
#ifndef PIPIT_STORAGE_MONGO_PLACES_H
#define PIPIT_STORAGE_MONGO_PLACES_H

#include "common/err.h"
#include <stddef.h>

struct mongo_place {
    const char *text; /* borrowed */
    size_t place;     /* in the caller's list */
};
struct mongo_places {
    struct mongo_place *sorted;
    size_t count;
};
/* Sorts the texts, which must outlive the places. ERR_NO_MEMORY. count may be 0. */
enum err mongo_places_init(struct mongo_places *places, const char *const *texts,
                           size_t count) MUST_CHECK;
void mongo_places_finish(struct mongo_places *places);
/* The places of this text: the first is returned and *count stand beside each other; NULL and 0
 * when it is not in the list. */
const struct mongo_place *mongo_places_find(const struct mongo_places *places, const char *text,
                                            size_t *count);

#endif
