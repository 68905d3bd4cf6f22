/* sessions: the order of the steps is what makes them safe.
 *
 * Beginning: the token's `iat` is read before storage is asked. If somebody disables the account or
 * changes the password meanwhile, that revocation is later than the iat and the token is born dead.
 * Ending: memory for the announcement first, then storage, then the set in memory and the stream;
 * so nothing can fail between "durable" and "told". With an unknown outcome it is told as well: the
 * client wanted it, and asks again. */
#include "services/auth/sessions.h"

#include "common/clock.h"
#include "services/auth/metrics.h"
#include "services/auth/refresh_token.h"
#include "services/auth/users.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define UNTIL_SLACK_MS                                                                             \
    60000u /* beyond the lifetime: leeway of verifiers and clocks that differ                      \
            */

static uint64_t lifetime_ms(const struct call *call) {
    return call->auth->settings->access_lifetime_us / 1000;
}

static bool bad_device(struct call *call, const char *what) {
    return call_fail(call, REASON_MALFORMED, 422, "\"device.%s\" is not allowed.", what);
}

bool session_device_read(struct call *call, struct session_device *device) {
    static const char *const known[] = {"id", "name", "platform", NULL};
    const struct json_t *object = NULL;
    const char *id = "";
    const char *name = "Unnamed device";
    const char *platform = "other";
    struct problem *problem = &call->problem;
    if (!json_in_object(call->body, "device", JSON_IN_OPTIONAL, &object, problem)) {
        return false;
    }
    if (object != NULL &&
        (!json_in_known(object, known, problem) ||
         !json_in_text(object, "id", JSON_IN_OPTIONAL, LIMIT_DEVICE_ID_BYTES, &id, problem) ||
         !json_in_text(object, "name", JSON_IN_OPTIONAL, LIMIT_DEVICE_NAME_BYTES, &name, problem) ||
         !json_in_text(object, "platform", JSON_IN_OPTIONAL, SESSION_PLATFORM_BYTES, &platform,
                       problem))) {
        return false;
    }
    if (id[0] != '\0' && !names_device_id_valid(id, strlen(id))) {
        return bad_device(call, "id");
    }
    if (!names_label_valid(name, strlen(name), LIMIT_DEVICE_NAME_BYTES)) {
        return bad_device(call, "name");
    }
    if (!names_label_valid(platform, strlen(platform), SESSION_PLATFORM_BYTES)) {
        return bad_device(call, "platform");
    }
    (void)snprintf(device->id, sizeof device->id, "%s", id); /* all three were bounded above */
    (void)snprintf(device->name, sizeof device->name, "%s", name);
    (void)snprintf(device->platform, sizeof device->platform, "%s", platform);
    return true;
}

static void write_device(struct json_writer *json, const Pipit__Device *device) {
    json_write_open(json);
    json_write_key_text(json, "id", device->id);
    json_write_key_text(json, "name", device->name);
    json_write_key_text(json, "platform", device->platform);
    json_write_close(json);
}

static void write_session(struct call *call, int status, const Pipit__User *user,
                          const Pipit__Device *device, const char *access_token,
                          const char *refresh_token) {
    struct json_writer *json = call_answer(call, status);
    json_write_open(json);
    json_write_key_text(json, "access_token", access_token);
    json_write_key_text(json, "token_type", "Bearer");
    json_write_key_text(json, "refresh_token", refresh_token);
    json_write_key_u64(json, "expires_in_ms", lifetime_ms(call));
    json_write_key(json, "user");
    users_write_self(json, user);
    json_write_key(json, "device");
    write_device(json, device);
    json_write_close(json);
}

bool session_answer(struct call *call, int status, const Pipit__User *user,
                    const Pipit__Device *device, const char *refresh_token, uint64_t issued_s) {
    char token[TOKEN_BYTES_MAX];
    char jti[32];
    if (user == NULL || device == NULL) {
        return call_fail_err(call, ERR_CORRUPT); /* storage promised both */
    }
    id_random_text("t_", jti, sizeof jti);
    struct signer_claims claims = {.user = user->id,
                                   .device = device->id,
                                   .jti = jti,
                                   .issued_s = issued_s,
                                   .expires_s = issued_s + (lifetime_ms(call) + 999) / 1000,
                                   .admin = user->admin};
    if (!call_check(call, key_ring_sign(call->auth->keys, &claims, clock_wall_ms(), token))) {
        return false;
    }
    write_session(call, status, user, device, token, refresh_token);
    sodium_memzero(token, sizeof token);
    return true;
}

/* The second that a token issued now carries: not before one that concerns a revocation. */
static uint64_t issue_second(struct call *call, const char *user, const char *device) {
    uint64_t now_ms = clock_wall_ms();
    uint64_t floor_ms = revocations_floor(call->auth->revocations, user, device);
    bool ahead = floor_ms > now_ms && floor_ms < now_ms + TOKEN_LEEWAY_MS;
    return (ahead ? floor_ms : now_ms) / 1000;
}

bool session_begin(struct call *call, const char *user, const struct session_device *chosen,
                   int status) {
    char refresh[REFRESH_TOKEN_TEXT_BYTES];
    char id[LIMIT_DEVICE_ID_BYTES + 1];
    uint8_t hash[REFRESH_TOKEN_HASH_BYTES];
    Pipit__Device device = PIPIT__DEVICE__INIT;
    Pipit__SessionCreate request = PIPIT__SESSION_CREATE__INIT;
    Pipit__SessionReply *reply = NULL;
    uint64_t now_ms = clock_wall_ms();
    if (chosen->id[0] != '\0') {
        (void)snprintf(id, sizeof id, "%s", chosen->id); /* the same size */
    } else {
        id_random_text("d_", id, sizeof id);
    }
    refresh_token_make(refresh);
    if (!call_check(call, refresh_token_hash(refresh, hash))) {
        return false;
    }
    device.user = ask_text(user);
    device.id = id;
    device.name = ask_text(chosen->name);
    device.platform = ask_text(chosen->platform);
    device.created_ms = now_ms;
    device.seen_ms = now_ms;
    request.device = &device;
    request.refresh_hash = ask_bytes(hash, sizeof hash);
    request.expires_ms = now_ms + call->auth->settings->refresh_lifetime_us / 1000;
    request.now_ms = now_ms;
    request.devices_max = (uint32_t)call->auth->settings->devices_max;
    uint64_t issued_s = issue_second(call, user, id);
    enum err error = ASK(&call->ask, SESSION_CREATE, &request, SESSION_REPLY, &reply);
    if (error == ERR_FULL && reply != NULL) {
        return call_fail(call, REASON_CONFLICT, 0,
                         "The user has the most devices allowed; remove one first.");
    }
    return call_check(call, error) &&
           session_answer(call, status, reply->user, reply->device, refresh, issued_s);
}

static bool outcome_unknown(enum err error) {
    return error == ERR_TIMEOUT || error == ERR_CLOSED || error == ERR_CORRUPT;
}

static void copy_id(char *out, size_t out_bytes, const char *id) {
    (void)snprintf(out, out_bytes, "%s", id != NULL ? id : ""); /* ids fit: limits.h */
}

enum err session_end(struct call *call, const struct session_end *end) {
    struct auth *auth = call->auth;
    struct revocation_announcement *announcement = revocation_announcement_make(auth->feed);
    struct revocation what = {.disabled = end->disabled};
    Pipit__Revoke request = PIPIT__REVOKE__INIT;
    Pipit__StatusReply *reply = NULL;
    if (announcement == NULL) {
        return ERR_NO_MEMORY;
    }
    copy_id(what.user, sizeof what.user, end->user);
    copy_id(what.device, sizeof what.device, end->device);
    copy_id(what.except, sizeof what.except, end->except);
    what.before_ms = revocation_before_ms(
        clock_wall_ms(), revocations_floor(auth->revocations, end->user, end->device));
    what.until_ms = what.before_ms + lifetime_ms(call) + UNTIL_SLACK_MS;
    request.user = what.user;
    request.device = what.device;
    request.except_device = what.except;
    request.delete_device = end->delete_device;
    request.now_ms = what.before_ms;
    request.until_ms = what.until_ms;
    enum err error = ASK(&call->ask, REVOKE, &request, STATUS_REPLY, &reply);
    if (error == ERR_OK || outcome_unknown(error)) {
        revocation_announce(&announcement, &what);
        metric_add(&auth_metrics.revocations, 1);
    } else {
        revocation_announcement_drop(&announcement);
    }
    return error;
}
