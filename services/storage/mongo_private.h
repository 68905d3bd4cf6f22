/* mongo_private: what mongo_db.c and mongo_commands.c share. */
#ifndef PIPIT_STORAGE_MONGO_PRIVATE_H
#define PIPIT_STORAGE_MONGO_PRIVATE_H

#include "services/storage/mongo_db.h"
#include "services/storage/mongo_health.h"
#include <stdatomic.h>

#define MONGO_NAME_BYTES 64 /* of a database. Source: MongoDB's limit, 63 and a NUL */

/* What kind of server answered last. */
enum mongo_kind {
    MONGO_KIND_SINGLE, /* a standalone server, or another one of the protocol */
    MONGO_KIND_SET /* a replica set's primary or a mongos: read concern majority, large batches */
};

struct mongo_db {
    mongoc_uri_t *uri;
    mongoc_client_pool_t *pool;
    mongoc_client_t *own; /* the health thread's */
    char name[MONGO_NAME_BYTES];
    bson_t durable; /* {writeConcern: {w: majority, j: true, wtimeout}}, only read */
    mongoc_read_concern_t *majority, *local;
    int64_t
        server_ms_max; /* of a read, or of waiting for the majority: below the socket's time-out */
    atomic_int kind;
    enum err (*prepare)(struct mongo_session *session, void *user, struct buf *problem);
    void *user;
    struct mongo_health health;
};

enum mongo_command_kind { MONGO_READS, MONGO_WRITES };
/* Maps, tells the health, and logs what is neither expected nor told there. `what` is for the log.
 */
enum err mongo_failed(struct mongo_db *db, enum mongo_command_kind kind, const char *what,
                      const bson_error_t *error) MUST_CHECK;

#endif
