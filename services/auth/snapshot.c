/* snapshot: the revocations come from storage each time, not from memory. A connection instance
 * asks because it may have missed something, perhaps another auth instance's event that this one
 * missed as well; storage has all of them. While storage is away the answer is "unavailable", and
 * connection asks again: an incomplete snapshot taken for a whole one would let a dead token live.
 */
#include "services/auth/snapshot.h"

#include "common/log.h"
#include "common/mem.h"

#define SNAPSHOT_REQUESTS_MAX 64 /* unanswered at once */
#define SNAPSHOT_ARENA_BLOCK_BYTES 4096u
#define SNAPSHOT_ARENA_CAP_BYTES (64u * 1024u) /* for at most eight public keys */

struct snapshot_server {
    struct auth *auth;
    struct bus_server *server;
};
struct pending {
    struct auth *auth;
    struct bus_request *request;
};

static void reply(struct bus_request *request, const Pipit__AuthSnapshotReply *message) {
    struct buf packed;
    buf_init(&packed, ENVELOPE_RAW_BYTES_MAX + ENVELOPE_BYTES);
    enum err error = envelope_pack(MESSAGE_AUTH_SNAPSHOT_REPLY, &message->base, true, &packed);
    if (error != ERR_OK) {
        log_event(LOG_WARN, "a snapshot could not be packed", F_ERR(error));
        buf_clear(&packed); /* an empty answer is no envelope: the asker tries again */
    }
    bus_reply(request, buf_data(&packed), buf_len(&packed));
    buf_finish(&packed);
}

static void answer(enum err error, const Pipit__RevocationsReply *revocations, void *user) {
    struct pending *pending = user;
    struct auth *auth = pending->auth;
    Pipit__AuthSnapshotReply message = PIPIT__AUTH_SNAPSHOT_REPLY__INIT;
    struct arena arena;
    arena_init(&arena, SNAPSHOT_ARENA_BLOCK_BYTES, SNAPSHOT_ARENA_CAP_BYTES);
    if (error == ERR_OK) {
        error = key_ring_public(auth->keys, &arena, &message.keys, &message.n_keys);
    }
    if (error == ERR_OK) {
        message.revocations = revocations->revocations;
        message.n_revocations = revocations->n_revocations;
        message.issuer = ask_text(auth->settings->issuer);
        message.audience = ask_text(auth->settings->audience);
    }
    message.error = error == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
    reply(pending->request, &message);
    arena_finish(&arena);
    mem_free(pending);
}

static void refuse(struct bus_request *request, enum err error) {
    Pipit__AuthSnapshotReply message = PIPIT__AUTH_SNAPSHOT_REPLY__INIT;
    message.error = (uint32_t)error;
    reply(request, &message);
}

static void on_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    struct snapshot_server *server = user;
    struct pending *pending = NULL;
    if (envelope_type(body, body_bytes) != MESSAGE_AUTH_SNAPSHOT_REQUEST) {
        refuse(request, ERR_UNSUPPORTED);
        return;
    }
    pending = mem_zalloc(1, sizeof *pending);
    if (pending == NULL) {
        refuse(request, ERR_NO_MEMORY);
        return;
    }
    *pending = (struct pending){server->auth, request};
    revocation_feed_ask(server->auth->feed, answer, pending);
}

enum err snapshot_server_create(struct auth *auth, const char *url, struct snapshot_server **out) {
    struct snapshot_server *server = mem_zalloc(1, sizeof *server);
    if (server == NULL) {
        return ERR_NO_MEMORY;
    }
    server->auth = auth;
    enum err error = bus_server_create(auth->bus, url, SNAPSHOT_REQUESTS_MAX, on_request, server,
                                       &server->server);
    if (error != ERR_OK) {
        mem_free(server);
        return error;
    }
    *out = server;
    return ERR_OK;
}

void snapshot_server_destroy(struct snapshot_server **server) {
    if (*server != NULL) {
        bus_server_close(&(*server)->server);
        mem_free(*server);
        *server = NULL;
    }
}
