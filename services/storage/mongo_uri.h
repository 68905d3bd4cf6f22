/* mongo_uri: the connection string: what we force, what we set unless it says otherwise, and how it
 * may be shown. */
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
/* Scheme, hosts and database; asterisks for user and password, nothing of the options. Errors as
 * buf_append. */
enum err mongo_uri_show(const char *text, struct buf *out) MUST_CHECK;

#endif
