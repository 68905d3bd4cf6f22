/* migrate: pipit-storage --migrate-from sqlite:DIR: moves an embedded store into the MongoDB of
 * [storage] store. */
#ifndef PIPIT_STORAGE_MIGRATE_H
#define PIPIT_STORAGE_MIGRATE_H

#include "common/service.h"
#include "services/storage/mongo_import.h"

extern const struct service_command migrate_command;

/* Does the target hold what the source holds? Counts of every table, the head of every
 * conversation, and a sample of messages in full. ERR_CONFLICT: problem says where they differ.
 * (migrate_verify.c) */
struct migrate_check {
    uint64_t users, conversations, messages; /* found in both */
    uint64_t compared;                       /* messages in full */
};
enum err migrate_verify(struct sqlite_db *source, struct mongo_import *import,
                        struct migrate_check *check, struct buf *problem) MUST_CHECK;

#endif
