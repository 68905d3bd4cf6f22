/* invites: made by administrators, by every member when the settings say so, and once by the server
 * itself, so that nobody needs a default password. A code is shown when it is made and never again;
 * lists name invites by their hash, which is of no use for registering. */
#include "services/auth/invites.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define USES_MAX 1000
#define NOTE_BYTES_MAX 128
#define LIFETIME_MS_MAX (366ull * 24u * 3600u * 1000u)
#define HEX_BYTES (2 * INVITE_HASH_BYTES + 1)

void invite_make(char code[INVITE_CODE_BYTES]) {
    id_random_text("pi_", code, INVITE_CODE_BYTES);
}

void invite_hash(const char *code, uint8_t hash[INVITE_HASH_BYTES]) {
    (void)crypto_hash_sha256(hash, (const uint8_t *)code, strlen(code)); /* always 0 */
}

struct wanted {
    uint64_t uses, lifetime_ms;
    bool admin;
    const char *note;
};

static enum err create(struct ask *ask, const char *code, const char *created_by,
                       const struct wanted *wanted, bool only_if_empty, uint64_t now_ms) {
    uint8_t hash[INVITE_HASH_BYTES];
    Pipit__Invite invite = PIPIT__INVITE__INIT;
    Pipit__InviteCreate request = PIPIT__INVITE_CREATE__INIT;
    Pipit__StatusReply *reply = NULL;
    invite_hash(code, hash);
    invite.hash = ask_bytes(hash, sizeof hash);
    invite.created_by = ask_text(created_by);
    invite.created_ms = now_ms;
    invite.expires_ms = now_ms + wanted->lifetime_ms;
    invite.uses_left = (uint32_t)wanted->uses;
    invite.admin = wanted->admin;
    invite.note = ask_text(wanted->note);
    request.invite = &invite;
    request.only_if_empty = only_if_empty;
    return ASK(ask, INVITE_CREATE, &request, STATUS_REPLY, &reply);
}

/* --- the first start */

/* Is our code, whose making had an unknown outcome, among the live invites? */
static enum err find_own(struct ask *ask, const char *code, uint64_t now_ms, bool *found) {
    uint8_t hash[INVITE_HASH_BYTES];
    Pipit__InvitesRequest request = PIPIT__INVITES_REQUEST__INIT;
    Pipit__InvitesReply *reply = NULL;
    request.now_ms = now_ms;
    enum err error = ASK(ask, INVITES_REQUEST, &request, INVITES_REPLY, &reply);
    *found = false;
    invite_hash(code, hash);
    for (size_t i = 0; error == ERR_OK && i < reply->n_invites; i++) {
        const ProtobufCBinaryData *have = &reply->invites[i]->hash;
        *found = *found || (have->len == sizeof hash && memcmp(have->data, hash, sizeof hash) == 0);
    }
    return error;
}

static void print_code(const char *code) {
    if (printf("Admin invite (valid once, 7 days): %s\n", code) < 0 || fflush(stdout) != 0) {
        log_event(LOG_ERROR, "the admin invite could not be printed to standard output");
    }
}

enum err invite_first_start(struct invite_first *first, struct ask *ask, uint64_t now_ms) {
    const struct wanted wanted = {
        .uses = 1, .lifetime_ms = INVITE_LIFETIME_MS, .admin = true, .note = "first start"};
    bool again = first->code[0] != '\0';
    if (!again) {
        invite_make(first->code);
    }
    enum err error = create(ask, first->code, "", &wanted, true, now_ms);
    bool ours = error == ERR_OK;
    if (error == ERR_CONFLICT || error == ERR_EXISTS) {
        error = again ? find_own(ask, first->code, now_ms, &ours) : ERR_OK;
    }
    if (error == ERR_OK && ours) {
        print_code(first->code);
    }
    return error;
}

/* --- over REST */

static void format_id(const uint8_t *hash, size_t bytes, char id[HEX_BYTES]) {
    id[0] = '\0';
    if (bytes == INVITE_HASH_BYTES) {
        (void)sodium_bin2hex(id, HEX_BYTES, hash, bytes); /* returns id */
    }
}

static void answer_new(struct call *call, const char *code, const struct wanted *wanted,
                       uint64_t now_ms) {
    uint8_t hash[INVITE_HASH_BYTES];
    char id[HEX_BYTES];
    invite_hash(code, hash);
    format_id(hash, sizeof hash, id);
    call_audit(call, call->self.user, "invite_made", id, wanted->admin ? "administrator" : "");
    struct json_writer *json = call_answer(call, 201);
    json_write_open(json);
    json_write_key_text(json, "invite", code);
    json_write_key_text(json, "id", id);
    json_write_key_u64(json, "uses_left", wanted->uses);
    json_write_key_bool(json, "admin", wanted->admin);
    json_write_key_time(json, "expires_at", now_ms + wanted->lifetime_ms);
    json_write_close(json);
}

static void make(struct call *call, const struct wanted *wanted) {
    char code[INVITE_CODE_BYTES];
    uint64_t now_ms = clock_wall_ms();
    invite_make(code);
    if (call_check(call, create(&call->ask, code, call->self.user, wanted, false, now_ms))) {
        answer_new(call, code, wanted, now_ms);
    }
}

/* The fields that every inviter may set. */
static bool read_common(struct call *call, struct wanted *wanted) {
    if (!json_in_u64(call->body, "expires_in_ms", JSON_IN_OPTIONAL, 1000, LIFETIME_MS_MAX,
                     &wanted->lifetime_ms, NULL, &call->problem) ||
        !json_in_text(call->body, "note", JSON_IN_OPTIONAL, NOTE_BYTES_MAX, &wanted->note,
                      &call->problem)) {
        return false;
    }
    if (wanted->note[0] != '\0' &&
        !names_label_valid(wanted->note, strlen(wanted->note), NOTE_BYTES_MAX)) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"note\" must be text without control characters.");
    }
    return true;
}

void invites_post(struct call *call) {
    static const char *const known[] = {"expires_in_ms", "note", NULL};
    struct wanted wanted = {.uses = 1, .lifetime_ms = INVITE_LIFETIME_MS, .note = ""};
    if (!call->auth->settings->members_may_invite && !call->self.admin) {
        (void)call_fail(call, REASON_FORBIDDEN, 0,
                        "Only administrators may invite on this server.");
    } else if (call_body_known(call, known) && read_common(call, &wanted)) {
        make(call, &wanted);
    }
}

void admin_invites_post(struct call *call) {
    static const char *const known[] = {"uses", "expires_in_ms", "admin", "note", NULL};
    struct wanted wanted = {.uses = 1, .lifetime_ms = INVITE_LIFETIME_MS, .note = ""};
    if (call_body_known(call, known) &&
        json_in_u64(call->body, "uses", JSON_IN_OPTIONAL, 1, USES_MAX, &wanted.uses, NULL,
                    &call->problem) &&
        json_in_bool(call->body, "admin", JSON_IN_OPTIONAL, &wanted.admin, NULL, &call->problem) &&
        read_common(call, &wanted)) {
        make(call, &wanted);
    }
}

void admin_invites_get_all(struct call *call) {
    Pipit__InvitesRequest request = PIPIT__INVITES_REQUEST__INIT;
    Pipit__InvitesReply *reply = NULL;
    char id[HEX_BYTES];
    request.now_ms = clock_wall_ms();
    if (!call_check(call, ASK(&call->ask, INVITES_REQUEST, &request, INVITES_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_invites; i++) {
        const Pipit__Invite *invite = reply->invites[i];
        format_id(invite->hash.data, invite->hash.len, id);
        json_write_open(json);
        json_write_key_text(json, "id", id);
        json_write_key_text(json, "created_by", invite->created_by);
        json_write_key_time(json, "created_at", invite->created_ms);
        json_write_key_time(json, "expires_at", invite->expires_ms);
        json_write_key_u64(json, "uses_left", invite->uses_left);
        json_write_key_bool(json, "admin", invite->admin);
        json_write_key_text(json, "note", invite->note);
        json_write_close(json);
    }
    json_write_close_array(json);
    json_write_close(json);
}

void admin_invites_delete(struct call *call) {
    const char *id = call_param(call, 0);
    uint8_t hash[INVITE_HASH_BYTES];
    size_t hash_bytes = 0;
    const char *end = NULL;
    Pipit__InviteDelete request = PIPIT__INVITE_DELETE__INIT;
    Pipit__StatusReply *reply = NULL;
    if (!call_body_none(call)) {
        return;
    }
    if (sodium_hex2bin(hash, sizeof hash, id, strlen(id), NULL, &hash_bytes, &end) != 0 ||
        *end != '\0' || hash_bytes != sizeof hash) {
        (void)call_fail(call, REASON_NOT_FOUND, 0, "There is no such invite.");
        return;
    }
    request.hash = ask_bytes(hash, sizeof hash);
    if (call_check(call, ASK(&call->ask, INVITE_DELETE, &request, STATUS_REPLY, &reply))) {
        call_audit(call, call->self.user, "invite_deleted", id, "");
        call_answer_empty(call);
    }
}
