/* mongo_heads: what this process knows to be stored durably: conversation -> seq up to which its
 * log is complete. An append then reads nothing before it inserts. An entry is a lower bound, since
 * other instances append too, and conversations never disappear, so nothing here goes stale in a
 * harmful way. Bounded; the least recently used entry makes room. Any thread. */
#ifndef PIPIT_STORAGE_MONGO_HEADS_H
#define PIPIT_STORAGE_MONGO_HEADS_H

#include "common/list.h"
#include "common/map.h"
#include <pthread.h>

#define MONGO_HEADS_CACHED 65536u /* about 200 bytes each */

struct mongo_heads {
    pthread_mutex_t lock;
    struct map by_id;
    struct list by_use; /* most recent first */
    size_t count_max;
};

/* ERR_NO_MEMORY: nothing to finish. */
enum err mongo_heads_init(struct mongo_heads *heads, size_t count_max) MUST_CHECK;
void mongo_heads_finish(struct mongo_heads *heads);
/* False: nothing is known, not even whether the conversation exists. */
bool mongo_heads_find(struct mongo_heads *heads, const char *id, uint64_t *head);
/* The conversation exists and seqs 1..head are stored (0: exists). Never lowers. A failed
 * allocation only forgets. */
void mongo_heads_learn(struct mongo_heads *heads, const char *id, uint64_t head);
/* Forgets this one: it was found to be wrong. */
void mongo_heads_forget(struct mongo_heads *heads, const char *id);
/* Forgets everything: the database may be another one now (restored from a backup). */
void mongo_heads_clear(struct mongo_heads *heads);

#endif
