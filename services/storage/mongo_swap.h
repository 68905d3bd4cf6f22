/* mongo_swap: changing one document by comparing its revision: the only way in which the MongoDB
 * back end makes a change that depends on what it read. */
#ifndef PIPIT_STORAGE_MONGO_SWAP_H
#define PIPIT_STORAGE_MONGO_SWAP_H

#include "services/storage/mongo_db.h"

#define MONGO_REV "rev" /* the field; documents without it have revision 0 */

/* For other updates of a document that is also swapped: threads of this process take turns, so that
 * a server whose updates are not atomic (FerretDB) is safe behind one process. Swaps do so by
 * themselves. One lock at a time. Never fails. */
void mongo_swap_lock(const char *id);
void mongo_swap_unlock(const char *id);

/* Sets `fields` and revision rev + 1 in the document of this _id, provided its revision is still
 * `rev` and `guard` (further equalities; may be NULL) holds. *lost: it is not, or the document is
 * gone; nothing changed, read again. Errors as mongo_db.h. */
enum err mongo_swap(struct mongo_session *session, enum mongo_collection collection, const char *id,
                    uint64_t rev, const bson_t *guard, const bson_t *fields, bool *lost) MUST_CHECK;
/* The same for deleting it. */
enum err mongo_swap_delete(struct mongo_session *session, enum mongo_collection collection,
                           const char *id, uint64_t rev, const bson_t *guard,
                           bool *lost) MUST_CHECK;

#endif
