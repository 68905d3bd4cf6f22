/* support: fixtures of the conformance suite. Everything goes through store.h; the back end is
 * chosen by PIPIT_TEST_STORE, an URL in which %s stands for a fresh name per test
 * ("mongodb://127.0.0.1:27017/%s": a database that is dropped afterwards). Default: SQLite in a
 * temporary directory that is removed afterwards. */
#ifndef PIPIT_TESTS_CONFORMANCE_SUPPORT_H
#define PIPIT_TESTS_CONFORMANCE_SUPPORT_H

#include "services/storage/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMBERS_MAX 7 /* small, so that its limit can be met */

struct fixture {
    struct store *store;
    struct arena arena;
    char url[512];
    uint64_t now_ms; /* a test moves it on */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_reopen(struct fixture *fixture);
/* Another store over the same data: a second instance. */
enum err fixture_open(const struct fixture *fixture, struct store **store,
                      struct buf *problem) MUST_CHECK;
struct mongo_db;
struct mongo_session;
/* MongoDB: a look behind the store's back, which is not judged (commands.h). */
bool fixture_is_mongodb(const struct fixture *fixture);
void fixture_session(const struct fixture *fixture, struct mongo_db **db,
                     struct mongo_session *session);
void fixture_session_end(struct mongo_db **db, struct mongo_session *session);
#define STORE_TEST(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

/* --- accounts and conversations: assert success. */
void user_make(struct fixture *fixture, const char *name); /* "ann" -> account u_ann */
void user_disable(struct fixture *fixture, const char *id, bool disabled);
/* Group c_<..> with the creator first and NULL last: group_make(f, "c_x", "u_ann", "u_bob", NULL).
 */
void group_make(struct fixture *fixture, const char *id, const char *creator, ...)
    __attribute__((sentinel));
/* The direct conversation of two users; returns its id (arena). */
char *direct_make(struct fixture *fixture, const char *user, const char *other);
enum err direct_try(struct fixture *fixture, const char *user, const char *other, char **id,
                    Pipit__ConversationReply **reply, Pipit__MembersChanged **changed);
Pipit__Conversation *conversation_load(struct fixture *fixture, const char *id);
const Pipit__Member *member_of(const Pipit__Conversation *conversation, const char *user);

/* --- messages */
Pipit__StoredMessage *message_make(struct fixture *fixture, const char *sender, const void *body,
                                   size_t body_bytes);
/* Appends one run; the call itself must succeed. */
Pipit__AppendResult *append_run(struct fixture *fixture, const char *conversation,
                                uint64_t first_seq, Pipit__StoredMessage **messages, size_t count);
/* `count` small messages of the sender behind the head; returns the new head. */
uint64_t append_texts(struct fixture *fixture, const char *conversation, const char *sender,
                      size_t count);
/* Pages: error out, reply returned. */
Pipit__HistoryReply *history_page(struct fixture *fixture, Pipit__HistoryRequest request,
                                  enum err *error);
/* All messages from seq 1 as a service. */
Pipit__HistoryReply *history_all(struct fixture *fixture, const char *conversation);

/* --- membership: one user or NULL */
struct change {
    const char *conversation, *actor;
    Pipit__MemberAction action;
    const char *user, *second_user;
    Pipit__MemberRole role;
    bool muted;
    const char *title;
};
enum err change_try(struct fixture *fixture, struct change change, Pipit__ConversationReply **reply,
                    Pipit__MembersChanged **changed);

/* --- cursors: one update */
Pipit__CursorResult *cursor_move(struct fixture *fixture, const char *user, const char *device,
                                 const char *conversation, uint64_t delivered_seq,
                                 uint64_t read_seq);
/* A user's list in one page of 500. */
Pipit__ConversationsReply *list_all(struct fixture *fixture, const char *user);
ProtobufCBinaryData hash_make(struct fixture *fixture, const char *text);
/* Rotates a refresh token to its successor, which lives for a second; returns the store's error. */
enum err session_rotate(struct fixture *fixture, const char *token,
                        const char *successor) MUST_CHECK;

/* --- the suites */
int messages_tests(void);
int history_tests(void);
int cursors_tests(void);
int conversations_tests(void);
int list_tests(void);
int members_tests(void);
int accounts_tests(void);
int sessions_tests(void);
int admin_tests(void);
int groups_tests(void);
int concurrency_tests(void);
int instances_tests(void);
int repair_tests(void); /* MongoDB alone: SQLite's own are unit tests */
int races_tests(void);
int account_repair_tests(void); /* of the files of accounts */

#endif
