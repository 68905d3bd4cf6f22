/* tokens: keys and revocations, kept true by auth's stream and by snapshots.
 *
 * A snapshot is asked for at start until it comes, after any trouble of a stream, when an auth
 * instance is lost (it may have died between storing a revocation and publishing it: another one
 * reads it from storage, now, and again when its stream falls silent), when auth says
 * that the keys changed, when a token names a key we do not know (at most once a second: strangers
 * can make such tokens), and every few minutes in any case. Its keys replace ours as a whole; its
 * revocations are added to ours, never in place of them, because events that came after it was
 * taken may be here already. Revocations end by their own time.
 *
 * Until the first snapshot nobody can be let in: the answer is "unavailable, come again", and the
 * process is not ready. Later failures of auth are not noticed here at all: tokens stay checkable.
 */
#include "services/connection/tokens.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/connection/revocations.h"
#include "services/connection/token_cache.h"
#include "services/connection/users.h"
#include <string.h>

struct auth_peer {
    struct list_node node;
    struct hub *hub;
    struct rpc_peer *peer;
    struct stream_subscriber *stream;
};
struct hub_tokens {
    struct token_keys *keys; /* NULL before the first snapshot */
    atomic_bool has_keys;
    struct hub_token_cache *cache;
    struct hub_revocations *revocations;
    struct list peers;
    uint64_t fingerprint; /* of keys */
    uint64_t asked_us;    /* last request; 0 = never */
    bool due, in_flight;
};

enum err hub_tokens_create(struct hub *hub) {
    struct hub_tokens *tokens = mem_zalloc(1, sizeof *tokens);
    if (tokens == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&tokens->peers);
    tokens->due = true;
    hub->tokens = tokens;
    enum err error = hub_token_cache_create(HUB_TOKEN_CACHE_MAX, &tokens->cache);
    return error == ERR_OK ? hub_revocations_create(HUB_REVOCATIONS_MAX, &tokens->revocations)
                           : error;
}

static void free_peer(struct hub_tokens *tokens, struct auth_peer *peer) {
    list_remove(&tokens->peers, &peer->node);
    stream_subscriber_destroy(&peer->stream);
    mem_free(peer);
}

void hub_tokens_destroy(struct hub *hub) {
    struct hub_tokens *tokens = hub->tokens;
    if (tokens == NULL) {
        return;
    }
    struct list_node *node = NULL;
    while ((node = list_first(&tokens->peers)) != NULL) {
        free_peer(tokens, CONTAINER_OF(node, struct auth_peer, node));
    }
    token_keys_destroy(&tokens->keys);
    hub_token_cache_destroy(&tokens->cache);
    hub_revocations_destroy(&tokens->revocations);
    mem_free(tokens);
    hub->tokens = NULL;
}

/* --- revocations */

enum reason hub_tokens_check_session(const struct hub *hub, const struct session *session) {
    return hub_revocations_check(hub->tokens->revocations, session->user->id, session->token_device,
                                 session->token_issued_ms);
}

static void end_sessions(struct hub *hub, const char *user_id) {
    struct hub_user *user = hub_user_find(hub, user_id);
    if (user == NULL) {
        return;
    }
    struct session_walk walk;
    struct session *session = session_walk_first(hub, &user->sessions, &walk);
    for (; session != NULL; session = session_walk_next(&walk)) {
        enum reason reason = hub_tokens_check_session(hub, session);
        if (reason != REASON_OK) {
            session_end(session, reason);
        }
    }
}

static void revoke(struct hub *hub, Pipit__Revocation *const *revocations, size_t count) {
    uint64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < count; i++) {
        hub_revocations_add(hub->tokens->revocations, revocations[i], now_ms);
    }
    for (size_t i = 0; i < count; i++) {
        end_sessions(hub, revocations[i]->user);
    }
}

/* --- snapshots */

static uint64_t fingerprint_of(const Pipit__AuthSnapshotReply *reply) {
    uint64_t sum = map_hash(reply->issuer, strlen(reply->issuer)) * 3u +
                   map_hash(reply->audience, strlen(reply->audience));
    for (size_t i = 0; i < reply->n_keys; i++) {
        const Pipit__SigningKey *key = reply->keys[i];
        sum = sum * 31u + map_hash(key->kid, strlen(key->kid));
        sum = sum * 31u + map_hash(key->x.data, key->x.len);
        sum = sum * 31u + map_hash(key->y.data, key->y.len);
    }
    return sum;
}

static enum err take_keys(struct hub *hub, const Pipit__AuthSnapshotReply *reply) {
    struct hub_tokens *tokens = hub->tokens;
    uint64_t fingerprint = fingerprint_of(reply);
    if (tokens->keys != NULL && tokens->fingerprint == fingerprint) {
        return ERR_OK; /* the same: what was verified stays so */
    }
    struct token_keys *keys = NULL;
    enum err error = token_keys_create(reply->issuer, reply->audience, &keys);
    for (size_t i = 0; i < reply->n_keys && error == ERR_OK; i++) {
        const Pipit__SigningKey *key = reply->keys[i];
        error = ERR_INVALID;
        if (key->x.len == 32 && key->y.len == 32) {
            error = token_keys_add(keys, key->kid, key->x.data, key->y.data);
        }
    }
    if (error == ERR_OK && token_keys_count(keys) == 0) {
        error = ERR_NOT_FOUND; /* auth has no key yet */
    }
    if (error != ERR_OK) {
        token_keys_destroy(&keys);
        return error;
    }
    struct token_keys *former = tokens->keys;
    tokens->keys = keys;
    tokens->fingerprint = fingerprint;
    token_keys_destroy(&former);
    hub_token_cache_clear(tokens->cache);
    if (!atomic_exchange(&tokens->has_keys, true)) {
        log_event(LOG_INFO, "signing keys known", F_UINT("keys", token_keys_count(keys)));
    }
    return ERR_OK;
}

static void on_snapshot(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    static struct log_limit limit;
    struct hub *hub = user;
    hub->tokens->in_flight = false;
    if (hub->closing) {
        return;
    }
    Pipit__AuthSnapshotReply *reply = NULL;
    if (status == ERR_OK) {
        status =
            ENVELOPE_UNPACK_REPLY(AUTH_SNAPSHOT_REPLY, body, body_bytes, hub_arena(hub), &reply);
    }
    if (status == ERR_OK && reply->error != ERR_OK) {
        status = reply->error <= ERR_INTERNAL ? (enum err)reply->error : ERR_INTERNAL;
    }
    if (status == ERR_OK) {
        status = take_keys(hub, reply);
    }
    if (status == ERR_OK) {
        revoke(hub, reply->revocations, reply->n_revocations);
        return;
    }
    hub->tokens->due = true;
    if (log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "no signing keys from auth; asking again", F_ERR(status));
    }
}

static void ask_if_due(struct hub *hub) {
    struct hub_tokens *tokens = hub->tokens;
    uint64_t now_us = hub_now_us(hub), since_us = now_us - tokens->asked_us;
    bool due = tokens->due || since_us >= HUB_KEYS_REFRESH_US;
    bool too_soon = tokens->asked_us != 0 && since_us < HUB_KEYS_RETRY_US;
    if (!due || too_soon || tokens->in_flight || hub->auth == NULL || !rpc_available(hub->auth)) {
        return;
    }
    Pipit__AuthSnapshotRequest request = PIPIT__AUTH_SNAPSHOT_REQUEST__INIT;
    request.now_ms = clock_wall_ms();
    enum err error = hub_pack(hub, MESSAGE_AUTH_SNAPSHOT_REQUEST, &request.base);
    if (error == ERR_OK) {
        error =
            rpc_call(hub->auth, buf_data(&hub->scratch), buf_len(&hub->scratch), on_snapshot, hub);
    }
    if (error == ERR_OK) {
        tokens->in_flight = true;
        tokens->due = false;
        tokens->asked_us = now_us;
    } /* else the next tick */
}

void hub_tokens_tick(struct hub *hub) {
    ask_if_due(hub);
    hub_revocations_prune(hub->tokens->revocations, clock_wall_ms());
}

/* --- auth's instances */

static void on_event(const uint8_t *payload, size_t bytes, void *user) {
    struct auth_peer *peer = user;
    struct hub *hub = peer->hub;
    Pipit__AuthEvent *event = NULL;
    enum err error = ENVELOPE_UNPACK(AUTH_EVENT, payload, bytes, hub_arena(hub), &event);
    if (error != ERR_OK) {
        hub->tokens->due = true; /* the snapshot has it as well */
    } else {
        hub->tokens->due = hub->tokens->due || event->keys_changed;
        revoke(hub, event->revocations, event->n_revocations);
    }
    ask_if_due(hub);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    struct auth_peer *peer = user;
    if (trouble == STREAM_SILENT && boot_id != 0) {
        rpc_peer_silent(peer->hub->auth, peer->peer);
    }
    peer->hub->tokens->due = true; /* whatever it is, the snapshot repairs it */
    ask_if_due(peer->hub);
}

void hub_tokens_peer_added(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    struct auth_peer *peer = mem_zalloc(1, sizeof *peer);
    char url[BUS_URL_BYTES];
    enum err error =
        peer != NULL ? bus_url_derive(rpc_peer->address, BUS_URL_PUB, url) : ERR_NO_MEMORY;
    if (error == ERR_OK) {
        peer->hub = hub;
        peer->peer = rpc_peer;
        error = stream_subscriber_create(hub->loop, hub->bus, url, STREAM_TOPIC_ALL, on_event,
                                         on_trouble, peer, &peer->stream);
    }
    if (error != ERR_OK) {
        mem_free(peer);
        log_event(LOG_ERROR, "no revocations from this auth instance",
                  F_TEXT("auth", rpc_peer->address), F_ERR(error));
        return;
    }
    list_push_back(&hub->tokens->peers, &peer->node);
    rpc_peer->user = peer;
    rpc_peer->pulse = peer->stream;
}

void hub_tokens_peer_state(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    if (hub->closing) {
        return;
    }
    if (!rpc_peer->up) {
        hub->tokens->due = true; /* what it stored last it may not have published */
    }
    ask_if_due(hub);
}

void hub_tokens_peer_removed(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    if (rpc_peer->user != NULL) {
        rpc_peer->pulse = NULL;
        free_peer(hub->tokens, rpc_peer->user);
        rpc_peer->user = NULL;
    }
}

/* --- public */

bool hub_has_keys(const struct hub *hub) {
    return atomic_load(&hub->tokens->has_keys);
}

enum reason hub_check_token(struct hub *hub, const char *token, size_t token_bytes,
                            struct token_claims *claims) {
    struct hub_tokens *tokens = hub->tokens;
    if (tokens->keys == NULL) {
        return REASON_UNAVAILABLE;
    }
    uint64_t now_ms = clock_wall_ms();
    struct token_claims found;
    bool cached = hub_token_cache_find(tokens->cache, token, token_bytes, now_ms, &found);
    if (cached) {
        metric_add(&hub_metrics.logins_cached, 1);
    } else {
        metric_add(&hub_metrics.logins_checked, 1);
        enum err error = token_verify(tokens->keys, token, token_bytes, now_ms, &found);
        if (error == ERR_NOT_FOUND) {
            tokens->due = true;
            ask_if_due(hub);
        }
        if (error == ERR_EXPIRED) {
            return REASON_TOKEN_EXPIRED;
        }
        if (error != ERR_OK) {
            return error == ERR_NO_MEMORY ? REASON_OVERLOAD : REASON_BAD_TOKEN;
        }
        hub_token_cache_add(tokens->cache, token, token_bytes, &found);
    }
    enum reason reason =
        hub_revocations_check(tokens->revocations, found.user, found.device, found.issued_ms);
    if (reason == REASON_OK) {
        *claims = found;
    }
    return reason;
}
