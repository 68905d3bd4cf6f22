/* mongo_places: a sorted copy of the list and binary search. A list may have 1024 ids (heads) and a
 * comparison of each with each would cost milliseconds; the same id may stand in it twice. */
#include "services/storage/mongo_places.h"

#include "common/mem.h"
#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right) {
    const struct mongo_place *a = left;
    const struct mongo_place *b = right;
    return strcmp(a->text, b->text);
}

enum err mongo_places_init(struct mongo_places *places, const char *const *texts, size_t count) {
    *places = (struct mongo_places){.count = count};
    if (count == 0) {
        return ERR_OK;
    }
    places->sorted = mem_alloc(count * sizeof(*places->sorted));
    if (places->sorted == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        places->sorted[i] = (struct mongo_place){.text = texts[i], .place = i};
    }
    qsort(places->sorted, count, sizeof(*places->sorted), compare);
    return ERR_OK;
}

void mongo_places_finish(struct mongo_places *places) {
    if (places->sorted != NULL) {
        mem_free(places->sorted);
    }
    *places = (struct mongo_places){.count = 0};
}

const struct mongo_place *mongo_places_find(const struct mongo_places *places, const char *text,
                                            size_t *count) {
    size_t low = 0;
    size_t high = places->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(places->sorted[middle].text, text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    size_t end = low;
    while (end < places->count && strcmp(places->sorted[end].text, text) == 0) {
        end++;
    }
    *count = end - low;
    return end > low ? &places->sorted[low] : NULL;
}
