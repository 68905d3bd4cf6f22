/* mongo_uri: the connection string: what we force, and what we set unless it says otherwise. */
#ifndef PIPIT_STORAGE_MONGO_URI_H
#define PIPIT_STORAGE_MONGO_URI_H

#include "common/buf.h"
#include <mongoc/mongoc.h>

#define MONGO_DATABASE_DEFAULT "pipit"

bool mongo_uri_is(const char *text); /* mongodb:// or mongodb+srv:// */
/* ERR_INVALID: problem says what is wrong. Retries, read preference and pool size are ours;
 * time-outs are short unless the string names them. */
enum err mongo_uri_parse(const char *text, uint32_t clients_max, mongoc_uri_t **out,
                         struct buf *problem) MUST_CHECK;
/* The database of the path, or the default. Borrowed. */
const char *mongo_uri_database(const mongoc_uri_t *uri);
#endif
