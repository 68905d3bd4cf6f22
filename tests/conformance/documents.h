/* documents: changes to MongoDB's documents behind the store's back, as a crash or another program
 * would leave them. */
#ifndef PIPIT_TESTS_CONFORMANCE_DOCUMENTS_H
#define PIPIT_TESTS_CONFORMANCE_DOCUMENTS_H

#include "services/storage/mongo_db.h"
#include "tests/conformance/support.h"

/* Applies the change, which it frees, to the document with that _id or makes it so; fails the test
 * unless it is stored. */
void document_plant(const struct fixture *fixture, enum mongo_collection collection, const char *id,
                    bson_t *change);
/* Deletes the document with that _id; fails the test when there is none. */
void document_uproot(const struct fixture *fixture, enum mongo_collection collection,
                     const char *id);
/* Deletes what matches the filter, which it frees; fails the test unless that is one document. */
void document_uproot_by(const struct fixture *fixture, enum mongo_collection collection,
                        bson_t *filter);

#endif
