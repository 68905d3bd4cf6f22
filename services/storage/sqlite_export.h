/* sqlite_export: every row of an embedded store, one after another, for moving it elsewhere. Reads
 * through a connection that nobody writes on: the store is opened for this process alone. */
#ifndef PIPIT_STORAGE_SQLITE_EXPORT_H
#define PIPIT_STORAGE_SQLITE_EXPORT_H

#include "services/storage/store_sqlite.h"

struct export_token {
    ProtobufCBinaryData hash;
    uint64_t generation, expires_ms;
};
struct export_family {
    char *user, *device;
    uint64_t current;
    struct export_token *tokens; /* oldest generation first */
    size_t count;
};
struct export_block {
    char *user, *blocked;
    uint64_t since_ms;
};
struct export_conversation {
    Pipit__Conversation *proto; /* all members, former ones too, longest-standing first, with their
                                   cursors; head is filled */
    char *creator;
    uint64_t *member_changed_ms; /* beside the members */
    uint64_t changed_ms;
    uint64_t head_ts_ms; /* of the last message; 0 = none */
};
struct export_device_cursor {
    char *user, *device, *conversation; /* conversation "": the device is only remembered */
    uint64_t delivered_seq;
};

/* One call per row; anything but ERR_OK ends the export and is returned. The row and its texts live
 * until the call returns. */
struct export_sink {
    enum err (*user)(const Pipit__User *row, void *self);
    enum err (*device)(const Pipit__Device *row, void *self);
    enum err (*family)(const struct export_family *row, void *self);
    enum err (*invite)(const Pipit__Invite *row, void *self);
    enum err (*key)(const Pipit__SigningKey *row, void *self);
    enum err (*revocation)(const Pipit__Revocation *row, void *self);
    enum err (*block)(const struct export_block *row, void *self);
    enum err (*conversation)(const struct export_conversation *row, void *self);
    enum err (*device_cursor)(const struct export_device_cursor *row, void *self);
    enum err (*audit)(const Pipit__AuditEntry *row, void *self);
    void *self;
};

enum export_table {
    EXPORT_USERS,
    EXPORT_DEVICES,
    EXPORT_FAMILIES,
    EXPORT_INVITES,
    EXPORT_KEYS,
    EXPORT_REVOCATIONS,
    EXPORT_BLOCKS,
    EXPORT_CONVERSATIONS,
    EXPORT_DEVICE_CURSORS,
    EXPORT_AUDIT,
    EXPORT_TABLE_COUNT
};
const char *sqlite_export_name(enum export_table table);
/* Rows the export of the table yields. */
enum err sqlite_export_count(struct sqlite_db *db, enum export_table table,
                             uint64_t *count) MUST_CHECK;
/* Cursors inside the conversations that are not both 0, and conversations with messages. */
enum err sqlite_export_count_cursors(struct sqlite_db *db, uint64_t *cursors,
                                     uint64_t *heads) MUST_CHECK;
enum err sqlite_export_rows(struct sqlite_db *db, enum export_table table,
                            const struct export_sink *sink) MUST_CHECK;

/* A message and where it is in the file. */
struct export_message {
    uint64_t row;
    Pipit__StoredMessage *message; /* conversation and seq are filled */
    bool damaged;                  /* it is its own recall, under its id where that can be read */
};
/* Up to `limit` messages in the order of their rows, behind `after_row`, in the arena; stops when
 * bodies exceed bytes_max. ERR_OK with count 0: no more. (sqlite_history.c) */
enum err sqlite_export_messages(struct sqlite_db *db, uint64_t after_row, uint32_t limit,
                                size_t bytes_max, struct arena *arena,
                                struct export_message *messages, size_t *count) MUST_CHECK;

#endif
