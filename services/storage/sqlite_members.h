/* sqlite_members: member rows of the SQLite back end, shared by its files about conversations. */
#ifndef PIPIT_STORAGE_SQLITE_MEMBERS_H
#define PIPIT_STORAGE_SQLITE_MEMBERS_H

#include "services/storage/store_sqlite.h"

/* Members of a conversation, longest-standing first; with_left: those who left, too. */
enum err sqlite_members_read(struct sqlite_db *db, uint64_t conversation, bool with_left,
                             struct arena *arena, Pipit__Member ***members,
                             size_t *count) MUST_CHECK;
/* Inserts or replaces one row. joined_version 0 keeps the row's. */
enum err sqlite_member_write(struct sqlite_db *db, uint64_t conversation,
                             const Pipit__Member *member, uint64_t joined_version,
                             uint64_t now_ms) MUST_CHECK;
/* What to publish about a changed conversation. `changed` is borrowed. */
enum err sqlite_members_announce(const Pipit__Conversation *conversation,
                                 Pipit__Member **changed_members, size_t count, const char *actor,
                                 bool title_changed, struct arena *arena,
                                 Pipit__MembersChanged **changed) MUST_CHECK;
/* A whole conversation with active and blocked members; ERR_NOT_FOUND. (sqlite_conversations.c) */
enum err sqlite_conversation_read(struct sqlite_db *db, const char *id, struct arena *arena,
                                  Pipit__Conversation **out) MUST_CHECK;
/* True when one of them blocks the other. (sqlite_blocks.c) */
enum err sqlite_blocked_between(struct sqlite_db *db, const char *user, const char *other,
                                bool *blocked) MUST_CHECK;

#endif
