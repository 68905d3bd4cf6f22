/* support_storage: a storage instance for the tests of routing: an in-memory log with the rules of
 * services/storage/store.h that routing relies on (dense seq, unique ids, versions in the append's
 * answer), on a real bus, and with a script for what real storage does only on bad days: answers
 * that are held back or never come, refusals, appends by "another instance", lost publications. */
#ifndef PIPIT_TESTS_ROUTING_SUPPORT_STORAGE_H
#define PIPIT_TESTS_ROUTING_SUPPORT_STORAGE_H

#include "common/arena.h"
#include "common/bus.h"
#include "common/stream.h"
#include "proto/envelope.h"
#include "proto/storage.pb-c.h"
#include <stdbool.h>

#define SCRIPT_CONVERSATIONS_MAX 80
#define SCRIPT_ROWS_MAX 4096
#define SCRIPT_MEMBERS_MAX 128
#define SCRIPT_HELD_MAX 64

struct script_row {
    uint8_t id[16];
    char sender[64], device[128], body[64];
    uint64_t ts_ms, target_seq;
    Pipit__MessageKind kind;
    char origin_device[64];
    uint32_t origin_packet;
    uint8_t origin_hash[16];
    bool has_origin;
};
struct script_member {
    char user[64];
    Pipit__MemberRole role;
    Pipit__MemberState state;
    uint64_t joined_seq, delivered_seq, read_seq;
};
struct script_conversation {
    char id[64];
    Pipit__ConversationKind kind;
    uint64_t version, head;
    size_t member_count;
    struct script_member members[SCRIPT_MEMBERS_MAX];
    struct script_row *rows; /* rows[seq - 1] */
};
struct script_held {
    struct bus_request *request;
    uint8_t *body;
    size_t body_bytes;
    bool applied; /* the answer alone is held back */
    bool second;  /* the second instance has it */
    struct buf answer;
};

/* What happens to requests of a type from now on. */
enum script_action {
    SCRIPT_SERVE,
    SCRIPT_HOLD,        /* kept; nothing happens until script_release */
    SCRIPT_HOLD_ANSWER, /* done, but the answer is kept */
    SCRIPT_FAIL         /* answered with `fail_with` */
};

struct scripted_storage {
    struct loop *loop;
    struct bus *bus;
    struct bus_server *server, *second_server; /* second: script_join */
    struct stream_publisher *publisher, *second_publisher;
    struct arena arena;
    struct buf scratch;
    size_t conversation_count;
    struct script_conversation conversations[SCRIPT_CONVERSATIONS_MAX];
    enum script_action action[128]; /* by message type */
    enum err fail_with;
    enum err run_error; /* not ERR_OK: every run of an append ends with this, nothing is stored */
    unsigned requests[128]; /* by message type */
    bool serves_second;     /* the request being served came to the second instance */
    size_t held_count;
    struct script_held held[SCRIPT_HELD_MAX];
    bool forget_held; /* release answers nothing sensible: nobody waits any more */
    unsigned appended_messages, append_runs_max;
};

void script_start(struct scripted_storage *storage, struct loop *loop, struct bus *bus,
                  const char *address);
void script_finish(struct scripted_storage *storage);
/* A second instance over the same data; it has a pulse and publishes nothing else. */
void script_join(struct scripted_storage *storage, const char *address);
/* The instance that holds the newest request is lost. */
void script_lose_holder(struct scripted_storage *storage);
/* Answers requests again after the test closed storage->server. */
void script_restart_server(struct scripted_storage *storage, const char *url);

/* --- the data. members: NULL-terminated user ids; the first is the owner of a group. */
struct script_conversation *script_conversation(struct scripted_storage *storage, const char *id,
                                                const char *const *members);
struct script_conversation *script_find(struct scripted_storage *storage, const char *id);
struct script_member *script_member(struct script_conversation *conversation, const char *user);
/* Another instance appends; returns the seq. id NULL = a new one. */
uint64_t script_append(struct scripted_storage *storage, struct script_conversation *conversation,
                       const char *sender, const uint8_t *id, const char *body);
/* Changes a member and the version. publish: routing is told by the stream. */
void script_change_member(struct scripted_storage *storage,
                          struct script_conversation *conversation, const char *user,
                          Pipit__MemberState state, bool publish);
/* Publishes a change of nothing with this version. */
void script_publish_version(struct scripted_storage *storage, const char *conversation,
                            uint64_t version);
/* Publishes a change that cannot be read: to routing, the same as one that was lost. */
void script_publish_garbage(struct scripted_storage *storage);

/* --- the script */
void script_on(struct scripted_storage *storage, enum message_type type, enum script_action action);
/* Serves or answers everything held, in order. */
void script_release(struct scripted_storage *storage);

#endif
